#!/usr/bin/env python3
"""Checks that every *_test.cc is registered: named in the CMakeLists.txt of its own folder, and that this
folder is reached by the build.

    tools/check_tests.py [ROOT]
"""

import pathlib
import re
import sys

TEST_CALL = re.compile(r"cohort_test\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)")


def registered(lists_file):
    """Names of the source files that the cohort_test calls of one CMakeLists.txt list."""
    text = re.sub(r"#[^\n]*", "", lists_file.read_text(encoding="utf-8"))
    words = [word for call in TEST_CALL.findall(text) for word in call.split()]
    # foreach(_name a b) + cohort_test(... SRCS ${_name}_test.cc ...) names files by their stem.
    loops = [word for loop in re.findall(r"foreach\s*\(([^()]*)\)", text) for word in loop.split()[1:]]
    patterns = [word for word in words if "${" in word and word.endswith(".cc")]
    expanded = [re.sub(r"\$\{[^}]*\}", stem, pattern) for pattern in patterns for stem in loops]
    return {word.strip('"') for word in words + expanded}


def check(root):
    failures = []
    for area in ("common", "services", "tests", "bench"):
        for test in sorted((root / area).rglob("*_test.cc")):
            lists_file = test.parent / "CMakeLists.txt"
            if not lists_file.exists():
                failures.append(f"{test.relative_to(root)}: its folder has no CMakeLists.txt")
            elif test.name not in registered(lists_file):
                failures.append(f"{test.relative_to(root)}: no cohort_test in {lists_file.relative_to(root)} lists it")
    return failures


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1]).resolve()
    failures = check(root)
    print("\n".join(failures) if failures else "test registration: ok")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

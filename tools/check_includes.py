#!/usr/bin/env python3
"""Checks that every folder includes only what the layer rule allows (AGENTS.md: "Layers").

    tools/check_includes.py [ROOT]

A folder may include what stands after its arrow below, what those may include, and base. Folders without
the LibTorch mark include nothing of LibTorch; services do not include each other; common includes no
service. tests/ and bench/ may include anything.
"""

import pathlib
import re
import sys

DIRECT = {
    "base": [],
    "concurrency": [],
    "config": ["proto", "rl"],
    "supervise": [],
    "telemetry": [],
    "run_folder": ["config", "telemetry"],
    "html": [],
    "rpc": ["concurrency", "telemetry", "proto"],
    "rank_store": ["rpc"],
    "kube": ["rpc"],
    "text": [],
    "tasks": ["text"],
    "rewards": ["text", "rl"],
    "reward_service": ["rewards", "rpc", "supervise"],
    "rl": [],
    "wire": ["rl", "rpc"],
    "run_files": ["wire"],
    "dispatch": ["rl", "concurrency"],
    "tensor": [],
    "model": ["tensor"],
    "generate": ["model", "text", "rl"],
    "scoring": ["model", "rewards"],
    "run_rewards": ["config", "reward_service", "scoring"],
    "objective": ["tensor", "rl"],
    "collective": ["tensor", "rank_store"],
    "weights": ["tensor", "wire"],
    "train": ["objective", "model", "collective", "scoring", "rl"],
}
LIBTORCH = {"tensor", "model", "generate", "scoring", "run_rewards", "objective", "collective", "weights",
            "train"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
TORCH_PREFIXES = ("ATen/", "c10/", "torch/", "caffe2/")


def reachable(folder):
    seen, todo = {"base"}, [folder]
    while todo:
        current = todo.pop()
        if current not in seen:
            seen.add(current)
            todo.extend(DIRECT.get(current, []))
    return seen | {folder}


def part_of(path):
    """("common", "rl") for common/rl/x.h, ("services", "cli") likewise, ("other", None) elsewhere."""
    parts = path.parts
    if len(parts) >= 3 and parts[0] in ("common", "services"):
        return parts[0], parts[1]
    return "other", None


def complaint(area, folder, delimiter, target):
    """What is wrong with one include line, or None."""
    if target == "torch/torch.h" or target == "torch/extension.h":
        return f"<{target}> costs 20 s per file: use narrow headers"
    if area == "other":
        return None
    if target.startswith(TORCH_PREFIXES):
        if area == "common" and folder not in LIBTORCH:
            return f"common/{folder} is built without LibTorch"
        return None
    if delimiter == "<":
        return None
    owner = target.split("/")
    if owner[0] == "services":
        if area == "common":
            return "common includes no service"
        return None if owner[1] == folder else "services do not include each other"
    if area == "services":
        return None
    if owner[0] == "cohort":
        return None if "proto" in reachable(folder) else f"common/{folder} may not include proto"
    if owner[0] != "common":
        return None
    if owner[1] not in DIRECT:
        return f"common/{owner[1]} is not a known folder"
    if owner[1] not in reachable(folder):
        return f"common/{folder} may include {', '.join(sorted(reachable(folder)))}"
    return None


def check(root):
    failures = []
    files = [p for area in ("common", "services", "tests", "bench") for p in sorted((root / area).rglob("*"))]
    for path in files:
        if path.suffix not in (".h", ".cc") or "target" in path.parts:
            continue
        relative = path.relative_to(root)
        area, folder = part_of(relative)
        if area == "common" and folder not in DIRECT:
            failures.append(f"{relative}: common/{folder} is not in the layer table of tools/check_includes.py")
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            reason = complaint(area, folder, *match.groups())
            if match.group(1) == '"' and (path.parent / match.group(2)).exists():
                reason = "expected a path from the root of the tree, as in common/base/log.h"
            if reason:
                failures.append(f"{relative}:{number}: includes {match.group(2)}: {reason}")
    return failures


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1]).resolve()
    failures = check(root)
    print("\n".join(failures) if failures else "include direction: ok")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

"""Rules of our own for docker/Dockerfile, beside what a linter knows.

    check_dockerfile.py FILE
"""
import re
import sys

# Targets that are run; the other stages only make something.
TARGETS = ("learner", "rollout", "cli", "rollout-python", "learner-cuda", "rollout-cuda", "cli-cuda", "model-smollm2")


def stages(text):
    """Name to (parent, instructions) of each stage."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.M)
    text = re.sub(r"\\\n", " ", text)
    result, name = {}, None
    for line in filter(None, (line.strip() for line in text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            parent, _, name = re.fullmatch(r"(\S+)( AS (\S+))?", rest).groups()
            result[name] = (parent, [])
        elif name is not None:
            result[name][1].append((word, rest))
    return result


def last(found, name, word):
    """The value of an instruction that holds at the end of a stage, its parents' included."""
    while name in found:
        parent, instructions = found[name]
        values = [rest for key, rest in instructions if key == word]
        if values:
            return values[-1]
        name = parent
    return None


def problems(text):
    found = stages(text)
    for name, (parent, instructions) in found.items():
        if parent not in ("scratch", "${BASE}") and parent.split("$")[0].rstrip("-") not in found and "${PROGRAMS}" not in parent:
            yield f"stage {name}: expected a stage of this file, scratch or ${{BASE}} (which may name a digest), found {parent}"
        for word, rest in instructions:
            if word == "ADD":
                yield f"stage {name}: expected COPY, found ADD"
            if word == "RUN" and re.search(r"\b(curl|wget)\b", rest):
                yield f"stage {name}: downloads without a package manager: {rest[:60]}"
    for target in TARGETS:
        if target not in found:
            yield f"expected a target {target}"
            continue
        if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", last(found, target, "USER") or ""):
            yield f"target {target}: expected a numeric USER that is not root"
        if not (last(found, target, "ENTRYPOINT") or "").startswith("["):
            yield f"target {target}: expected an ENTRYPOINT that needs no shell"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        texts = list(problems(file.read()))
    for text in texts:
        print(f"{sys.argv[1]}: {text}")
    sys.exit(1 if texts else 0)


if __name__ == "__main__":
    main()

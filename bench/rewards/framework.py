"""What a row is, and how the classes of rows are registered and drawn."""

import dataclasses
import hashlib
import random

SENTENCES = (
    "The answer is \\boxed{%s}.",
    "Therefore $\\boxed{%s}$.",
    "So we get \\[\\boxed{%s}\\]",
    "Hence the result is \\boxed{%s}",
    "Adding up, $x$ drops out and what is left is\n$$\\boxed{%s}.$$",
    "**Final answer:** $\\boxed{%s}$",
)
MAX_TRIES = 60  # times the rows asked for: a class with few forms has fewer rows


@dataclasses.dataclass(frozen=True)
class Row:
    verifier: str
    kind: str  # the class
    answer: object  # the gold answer, any JSON value
    completion: str
    expected: str  # correct, wrong, unparsable, unscorable
    columns: tuple = ()
    options: tuple = ()

    @property
    def right(self):
        return self.expected == "correct"


CLASSES = {}


def rows(kind, verifier="rule_math"):
    """Registers a function of a random.Random that returns draws: (gold, right answers, wrong answers).
    Answers are texts for the box; a Row stands for itself."""

    def register(function):
        assert kind not in CLASSES, kind
        CLASSES[kind] = (verifier, function)
        return function

    return register


def boxed(answer, r):
    return r.choice(SENTENCES) % answer


def verdict(right):
    return "correct" if right else "wrong"


def judged(judge, gold, candidates):
    """Splits [(text, value)] by a judge of values; what it cannot tell is dropped."""
    right, wrong = [], []
    for text, value in candidates:
        same = judge(gold, value)
        if same is not None:
            (right if same else wrong).append(text)
    return right, wrong


def draw_rows(kind, function, verifier, r):
    """The rows of one draw: at most two right and two wrong answers of a gold answer."""
    for draw in as_list(function(r)):
        if isinstance(draw, Row):
            yield draw
            continue
        gold, right, wrong = draw
        for texts, expected in ((right, "correct"), (wrong, "wrong")):
            texts = sorted(set(texts))
            for text in r.sample(texts, min(2, len(texts))):
                yield Row(verifier, kind, gold, boxed(text, r), expected)


def as_list(result):
    if isinstance(result, (tuple, Row)):
        return [result]
    return list(result)


def generate(seed, per_class, only=None):
    """About `per_class` distinct rows of every class, half of them right where it can be. Each class has a
    stream of its own, so that a new class changes no other."""
    for kind, (verifier, function) in CLASSES.items():
        if only and kind not in only:
            continue
        digest = hashlib.sha256(f"{seed} {kind}".encode()).digest()
        r = random.Random(int.from_bytes(digest[:8], "big"))
        seen, counts = set(), {True: 0, False: 0}
        for _ in range(MAX_TRIES * per_class):
            if sum(counts.values()) >= per_class:
                break
            for row in draw_rows(kind, function, verifier, r):
                key = repr(row)
                if key in seen or counts[row.right] >= per_class * 2 // 3:
                    continue
                seen.add(key)
                counts[row.right] += 1
                yield row


# Numbers that look alike.


def near(n, r):
    """An integer that is easily taken for n."""
    choices = {-n, n + 1, n - 1, n * 10, n + 10, 2 * n}
    digits = str(abs(n))
    if len(digits) > 1:
        choices.add(int(digits[::-1]) * (-1 if n < 0 else 1))
        choices.add(int(digits[:-1]))
    return r.choice(sorted(choices - {n}))


def natural(r, low=2, high=999):
    """Small numbers more often than large ones."""
    top = r.choice([low + 8, low + 30, low + 90, high])
    return r.randint(low, min(high, top))

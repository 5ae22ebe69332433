"""Intervals, inequalities and unions of them. sympy's sets decide."""

import sympy

from expressions import same_object
from framework import judged, rows

ENDS = [sympy.Rational(n, d) for n in range(-12, 13) for d in (1, 1, 1, 2, 3)]


def number(q, r):
    if q == sympy.oo:
        return r.choice(["\\infty", "\\infty", "+\\infty", "∞"])
    if q == -sympy.oo:
        return r.choice(["-\\infty", "-\\infty", "-∞"])
    if q.is_Rational and q.q != 1:
        top = f"\\frac{{{abs(q.p)}}}{{{q.q}}}" if r.random() < 0.7 else f"{abs(q.p)}/{q.q}"
        return ("-" if q < 0 else "") + top
    return sympy.latex(q)


def interval_text(s, r):
    left, right = "(" if s.left_open else "[", ")" if s.right_open else "]"
    if r.random() < 0.25:
        left, right = "\\left" + left, "\\right" + right
    return left + number(s.start, r) + r.choice([",", ", ", ",\\,", ",\\ "]) + number(s.end, r) + right


LESS = {True: ["<", " < ", "\\lt "], False: ["\\le ", " \\leq ", "\\leqslant ", "≤"]}
MORE = {True: [">", " > ", "\\gt "], False: ["\\ge ", " \\geq ", "\\geqslant ", "≥"]}


def inequality_text(s, r, x="x"):
    """An interval as a condition on x, from either side."""
    if s.start == -sympy.oo and s.end == sympy.oo:
        return f"{x} \\in \\mathbb{{R}}"
    if s.start == -sympy.oo:
        return r.choice([
            x + r.choice(LESS[s.right_open]) + number(s.end, r),
            number(s.end, r) + r.choice(MORE[s.right_open]) + x
        ])
    if s.end == sympy.oo:
        return r.choice([
            x + r.choice(MORE[s.left_open]) + number(s.start, r),
            number(s.start, r) + r.choice(LESS[s.left_open]) + x
        ])
    up = number(s.start, r) + r.choice(LESS[s.left_open]) + x + r.choice(LESS[s.right_open]) + number(
        s.end, r)
    down = number(s.end, r) + r.choice(MORE[s.right_open]) + x + r.choice(MORE[s.left_open]) + number(
        s.start, r)
    return up if r.random() < 0.8 else down


def set_text(s, r, x="x"):
    """In braces, or as two conditions joined by a word."""
    if r.random() < 0.6 or sympy.oo in (s.end, -s.start):
        bar = r.choice(["\\mid ", " : ", "|", "\\ |\\ "])
        return f"\\{{{x}{bar}{inequality_text(s, r, x)}\\}}"
    low = sympy.Interval(s.start, sympy.oo, s.left_open, True)
    high = sympy.Interval(-sympy.oo, s.end, True, s.right_open)
    return r.choice([" \\text{ and } ", " and ",
                     "\\text{ and }"]).join(inequality_text(p, r, x) for p in (low, high))


def member_text(text, r, x="x"):
    return x + r.choice([" \\in ", "\\in ", "∈", " ∈ "]) + text


def draw_interval(r, bounded=None):
    a, b = sorted(r.sample(ENDS, 2))
    if a == b:
        b += 1
    kind = r.choice(["both", "both", "below", "above"]) if bounded is None else "both"
    opens = r.random() < 0.5, r.random() < 0.5
    if kind == "below":
        return sympy.Interval(-sympy.oo, b, True, opens[1])
    if kind == "above":
        return sympy.Interval(a, sympy.oo, opens[0], True)
    return sympy.Interval(a, b, *opens)


def changed(s, r):
    """Another interval: an end is closed instead of open, moved or mirrored, or a side is left out."""
    a, b, left, right = s.start, s.end, s.left_open, s.right_open
    choices = [(a, b, not left, right), (a, b, left, not right), (a + 1, b + 1, left, right),
               (-b, -a, right, left)]
    choices += [(a - 1, b, left, right), (-sympy.oo, b, True, right), (a, sympy.oo, left, True),
                (b, b + 3, left, right)]
    while True:
        start, end, open_left, open_right = r.choice(choices)
        other = sympy.Interval(start, end, open_left, open_right)
        if other != s and isinstance(other, sympy.Interval):
            return other


@rows("interval-inequality")
def intervals(r):
    s = draw_interval(r)
    x = r.choice(["x", "x", "t", "a", "k"])
    gold = r.choice([
        lambda: interval_text(s, r), lambda: inequality_text(s, r, x),
        lambda: member_text(interval_text(s, r), r, x)
    ])()
    candidates = []
    for v in (s, s, s, changed(s, r), changed(s, r), changed(s, r)):
        candidates += [(interval_text(v, r), v), (inequality_text(v, r, x), v),
                       (member_text(interval_text(v, r), r, x), v), (set_text(v, r, x), v)]
    right, wrong = judged(same_object, s, candidates)
    return (gold, right, [w for w in wrong if w != gold])


def union_text(parts, r, x):
    parts = r.sample(parts, len(parts))
    if r.random() < 0.6:
        joined = r.choice([" \\cup ", "\\cup", "∪", " ∪ "]).join(interval_text(p, r) for p in parts)
        return joined if r.random() < 0.7 else member_text(joined, r, x)
    return r.choice([" \\text{ or } ", "\\text{ or }", " or ",
                     "\\ \\text{or}\\ "]).join(inequality_text(p, r, x) for p in parts)


@rows("interval-union")
def unions(r):
    a, b = sorted(r.sample(range(-12, 12), 2))
    left = r.choice([
        sympy.Interval(-sympy.oo, a, True,
                       r.random() < 0.5),
        sympy.Interval(a - 4, a,
                       r.random() < 0.5,
                       r.random() < 0.5)
    ])
    right = r.choice([
        sympy.Interval(b, sympy.oo,
                       r.random() < 0.5, True),
        sympy.Interval(b, b + 5,
                       r.random() < 0.5,
                       r.random() < 0.5)
    ])
    parts = [left, right]
    if r.random() < 0.25:
        parts.append(sympy.Interval(b + 7, sympy.oo, True, True)) if right.end != sympy.oo else None
    whole = sympy.Union(*parts)
    if not isinstance(whole, sympy.Union):
        return []
    x = r.choice(["x", "x", "t", "k"])
    candidates = []
    for v in (parts, parts, parts, [changed(left, r),
                                    *parts[1:]], [*parts[:-1], changed(parts[-1],
                                                                       r)], [changed(left, r), *parts[1:]]):
        candidates.append((union_text(v, r, x), sympy.Union(*v)))
    candidates += [(interval_text(left, r), left), (inequality_text(right, r, x), right)]
    good, wrong = judged(same_object, whole, candidates)
    wrong.append(r.choice([" \\text{ and } ", " and "]).join(inequality_text(p, r, x) for p in parts))
    wrong.append("\\cap ".join(interval_text(p, r) for p in parts))
    return (union_text(parts, r, x), good, wrong)


@rows("set-names")
def set_names(r):
    families = {
        "empty": ["\\emptyset", "\\varnothing", "∅", "\\{\\}", "\\{ \\}"],
        "reals": [
            "\\mathbb{R}", "(-\\infty,\\infty)", "ℝ", "(-\\infty, +\\infty)", "x \\in \\mathbb{R}",
            "\\mathbf{R}"
        ],
        "integers": ["\\mathbb{Z}", "ℤ", "\\mathbb Z", "n \\in \\mathbb{Z}"],
        "naturals": ["\\mathbb{N}", "ℕ", "\\mathbb N"],
        "without": [
            "\\mathbb{R} \\setminus \\{%d\\}", "\\mathbb{R}\\setminus\\{%d\\}",
            "(-\\infty, %d) \\cup (%d, \\infty)", "(%d,\\infty)\\cup(-\\infty,%d)"
        ],
    }
    n = r.randint(-9, 9)
    texts = {key: [t.replace("%d", str(n)) for t in values] for key, values in families.items()}
    key = r.choice(list(texts))
    wrong = [t for other, values in texts.items() if other != key for t in values]
    wrong += {
        "empty": ["\\{\\emptyset\\}", "0", "\\{0\\}"],
        "reals": ["(0,\\infty)", "[0,\\infty)", "\\mathbb{R}^2", "\\mathbb{R}^+"]
    }.get(key, [])
    wrong += [t.replace(str(n), str(n + 1)) for t in texts["without"]] if key == "without" else []
    gold = r.choice(texts[key][:3])
    return (gold, texts[key], wrong)

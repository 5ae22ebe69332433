"""Numerals: repeating decimals, powers of ten, characters that stand for roots, fractions and signs."""

import sympy

import expressions as ex
from expressions import Style, Writer, integer, rational, same_number
from framework import judged, rows

SQUAREFREE = [2, 3, 5, 6, 7, 10, 11, 13, 15, 19, 21, 30, 101]


@rows("number-repeating")
def repeating(r):
    digits = "".join(r.choice("0123456789") for _ in range(r.choice([1, 1, 2, 2, 3, 6])))
    before = "".join(r.choice("0123456789") for _ in range(r.choice([0, 0, 1, 2])))
    whole = r.choice([0, 0, 0, r.randint(1, 30)])
    if set(digits) in ({"0"}, {"9"}):
        return []
    exact = repeated(whole, before, digits)
    mark = lambda w, b, d: (f"{w}.{b}" + r.choice(
        ["\\overline{%s}", "\\overline{%s}", "\\bar{%s}", "\\dot{%s}"][:3 +
                                                                       (len(d) == 1)]) % d, repeated(w, b, d))
    plain = f"{whole}.{before}{digits}"
    candidates = [
        mark(whole, before, digits),
        mark(whole, before, digits + digits),
        mark(whole + 1, before, digits)
    ]
    candidates += [
        mark(whole, before, near_digits(digits, r)),
        mark(whole, before + "0", digits),
        mark(whole, before + digits, digits)
    ]
    candidates += [(plain, sympy.Rational(plain)), (plain + digits, sympy.Rational(plain + digits))]
    other = r.choice([exact + sympy.Rational(1, exact.q), exact])
    candidates.append((Writer(Style.draw(r), r)(ex.tree(other)), other))
    if r.random() < 0.6:
        return (Writer()(ex.tree(exact)), *judged(same_number, exact, candidates))
    return (mark(whole, before, digits)[0], *judged(same_number, exact, candidates))


def repeated(whole, before, digits):
    shift = sympy.Integer(10)**len(before)
    tail = sympy.Rational(int(digits), 10**len(digits) - 1)
    return whole + (sympy.Integer(int(before or "0")) + tail) / shift


def near_digits(digits, r):
    if len(digits) > 1 and digits != digits[::-1]:
        return digits[::-1]
    return str((int(digits[0]) + r.randint(1, 7)) % 9) + digits[1:]


@rows("number-scientific")
def scientific(r):
    digits, exponent = r.choice([str(r.randint(1, 9)),
                                 f"{r.randint(1, 9)}.{r.randint(1, 99)}"]), r.randint(-9, 14)
    q = sympy.Rational(digits) * sympy.Integer(10)**exponent
    texts = []
    for m, e in ((digits, exponent), (digits, exponent - 1), (digits, -exponent),
                 (shifted(digits), exponent - 1), (digits, exponent + 3)):
        v = sympy.Rational(m) * sympy.Integer(10)**e
        texts += [(f"{m} \\times 10^{{{e}}}", v), (f"{m}\\cdot 10^{{{e}}}", v), (f"{m}e{e}", v),
                  (f"{m}E{e}", v)]
        texts += [(f"{m}*10^{e}", v) if 0 <= e < 10 else (f"{m}*10^({e})", v), (f"{m} × 10^{{{e}}}", v)]
        texts += [(f"{m}\\mathrm{{e}}{e}", v), (decimal(v), v)] if e >= 0 else [(decimal(v), v)]
    texts = [t for t in texts if "mathrm" not in t[0]]
    gold = r.choice([decimal(q), f"{digits} \\times 10^{{{exponent}}}"])
    return (gold, *judged(same_number, q, texts))


def shifted(digits):
    return decimal(sympy.Rational(digits) * 10)


def decimal(q):
    """A rational number whose denominator is a power of ten, in full."""
    q = sympy.Rational(q)
    places = 0
    while (q * 10**places).q != 1:
        places += 1
    text = str(abs(q.p * 10**places // q.q)).rjust(places + 1, "0")
    text = text if not places else f"{text[:-places]}.{text[-places:]}"
    return ("-" if q < 0 else "") + text


VULGAR = {
    (1, 2): "½",
    (1, 3): "⅓",
    (2, 3): "⅔",
    (1, 4): "¼",
    (3, 4): "¾",
    (1, 5): "⅕",
    (2, 5): "⅖",
    (1, 6): "⅙",
    (5, 6): "⅚",
    (1, 8): "⅛",
    (3, 8): "⅜",
    (5, 8): "⅝",
    (7, 8): "⅞"
}


@rows("number-unicode")
def unicode_numbers(r):
    kind = r.randrange(5)
    if kind == 0:
        a, b = r.randint(2, 15), r.choice(SQUAREFREE)
        texts = [(f"{a}√{b}", a * sympy.sqrt(b)), (f"√{a * a * b}", a * sympy.sqrt(b)),
                 (f"√{a * b}", sympy.sqrt(a * b))]
        texts += [(f"{a}·√{b}", a * sympy.sqrt(b)), (f"{a}√({b})", a * sympy.sqrt(b)),
                  (f"−{a}√{b}", -a * sympy.sqrt(b))]
        return (f"{a}\\sqrt{{{b}}}", *judged(same_number, a * sympy.sqrt(b), texts))
    if kind == 1:
        a, b = r.randint(2, 40), r.randint(2, 12)
        texts = [(f"{a}π", a * sympy.pi), (f"{a}π/{b}", sympy.pi * a / b), (f"π/{b}", sympy.pi / b),
                 (f"π·{a}", a * sympy.pi), (f"π+{a}", a + sympy.pi)]
        gold = r.choice([(f"{a}\\pi", a * sympy.pi), (f"\\frac{{{a}\\pi}}{{{b}}}", sympy.pi * a / b)])
        return (gold[0], *judged(same_number, gold[1], texts))
    if kind == 2:
        (p, q), mark = r.choice(list(VULGAR.items()))
        whole = r.choice([0, 0, r.randint(1, 12)])
        v = whole + sympy.Rational(p, q)
        texts = [(f"{whole or ''}{m}", whole + sympy.Rational(*k)) for k, m in VULGAR.items()]
        texts += [(f"{mark}", sympy.Rational(p, q)), (f"{whole * q + p}⁄{q}", v), (f"{whole * q + p}/{q}", v)]
        return (Writer()(rational(v.p, v.q)), *judged(same_number, v, texts))
    if kind == 3:
        a, b = r.randint(2, 20), r.randint(2, 20)
        ops = [(f"{a} × {b}", a * b), (f"{a}·{b}", a * b), (f"{a} ÷ {b}", sympy.Rational(a, b)),
               (f"{a} − {b}", a - b), (f"{a * b} ÷ {b}", a), (f"{a}⋅{b}", a * b)]
        gold = r.choice(ops)[1]
        return (Writer()(rational(gold.p, gold.q) if hasattr(gold, "p") else integer(gold)),
                *judged(same_number, gold, ops))
    n = r.randint(2, 999)
    texts = [(f"−{n}", -n), (f"–{n}", -n), (f"{n}", n), (f"－{n}", -n), (f"﹣{n}", -n)]
    gold = r.choice([n, -n])
    return (str(gold), *judged(same_number, gold, texts))

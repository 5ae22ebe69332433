"""Numbers: every way to write a value, and values beside it. sympy decides."""

import sympy

import expressions as ex
from expressions import Style, Writer, integer, mul, rational, root, same_number, value
from framework import judged, rows
from rows_numerals import decimal

SQUAREFREE = [2, 3, 5, 6, 7, 10, 11, 13, 15, 19, 21, 30, 101]


def fraction(r, low=-60, high=60):
    while True:
        q = sympy.Rational(r.randint(low, high), r.randint(2, 48))
        if q.q > 1:
            return q


def draw(r, gold, candidates, style=None):
    """A draw from trees: the gold one plainly written, each candidate in its own style."""
    writer = lambda: Writer(style or Style.draw(r), r)
    texts = [(writer()(node), value(node)) for node in candidates]
    return (Writer(Style.plain())(gold), *judged(same_number, value(gold), texts))


@rows("number-roots")
def roots(r):
    n, a, b = r.choice([2, 3, 3, 4, 5, 6]), r.randint(2, 6), r.choice(SQUAREFREE)
    if r.random() < 0.4:
        candidates = [root(integer(a**n), n), root(integer(a**n), n + 1), root(integer(a**(n - 1)), n)]
        candidates += [root(("frac", integer((a * b)**n), integer(b**n)), n), mul(integer(n), integer(a))]
        candidates += [root(root(integer(a**(2 * n)), n)), ("neg", root(integer(a**n), n))]
        return draw(r, integer(a), candidates)
    gold = mul(integer(a), root(integer(b), n))
    inside = root(integer(a**n * b), n)
    candidates = [inside, mul(root(integer(a**n), n), root(integer(b), n)), gold, root(integer(a * b), n)]
    candidates += [root(integer(a**n * b), n + 1), mul(integer(b), root(integer(a), n)), root(integer(b), n)]
    candidates += [mul(integer(a), root(integer(b + 1), n)), ("add", [inside, integer(1)])]
    return draw(r, gold, candidates)


@rows("number-rationalise")
def rationalise(r):
    a, b, c = r.randint(1, 6), r.choice(SQUAREFREE), r.randint(1, 9)
    s = root(integer(b))
    other = root(integer(r.choice([x for x in SQUAREFREE if x != b])))
    first = r.choice([integer(a), other, mul(integer(r.randint(2, 4)), s)])
    below = ex.add(first, s) if first != s and first[0] != "mul" else ex.add(first, integer(a))
    flipped = ex.add(below[1][0], ("neg", below[1][1]))
    if value(flipped) == 0:
        return []
    exact = sympy.radsimp(c / value(below))
    candidates = [("frac", integer(c), below), ("frac", integer(c), flipped), ("frac", integer(c + 1), below)]
    candidates += [("frac", mul(integer(c), flipped), rational(*ratio(value(below) * value(flipped))))]
    candidates += [("frac", integer(2 * c), mul(integer(2), below)), ("frac", below, integer(c)), below]
    candidates += [ex.tree(sympy.expand(exact)), ex.tree(-exact)]
    return draw(r, ex.tree(exact), candidates)


def ratio(q):
    q = sympy.nsimplify(sympy.expand(q))
    return (q.p, q.q) if q.is_Rational else (1, 1)


@rows("number-powers")
def powers(r):
    kind = r.randrange(4)
    if kind == 0:  # 27^{2/3}
        a, p, q = r.randint(2, 7), r.randint(1, 4), r.choice([2, 3, 4])
        gold = integer(a**p)
        candidates = [power(a**q, p, q), power(a**q, q, p), power(a**q, p + 1, q), power(a**p, 1, 1)]
        candidates += [mul(integer(q), integer(a**p)), ("frac", integer(1), power(a**q, -p, q))]
        return draw(r, gold, candidates)
    if kind == 1:  # c \cdot 11^{1/2}
        b, c = r.choice(SQUAREFREE), r.randint(2, 12)
        gold = mul(integer(c), root(integer(b)))
        candidates = [
            mul(integer(c), power(b, 1, 2)),
            power(b * c * c, 1, 2),
            mul(integer(c), power(b, 3, 2))
        ]
        candidates += [("frac", integer(c * b), power(b, 1, 2)),
                       mul(integer(c), power(b, 1, 3)),
                       power(b * c, 1, 2)]
        return draw(r, gold, candidates)
    if kind == 2:  # a power of a fraction
        p, q, n = r.randint(1, 9), r.randint(2, 9), r.randint(11, 120)
        if p == q:
            return []
        base = ("frac", integer(p), integer(q))
        gold = ("pow", base, integer(n))
        candidates = [gold, ("frac", ("pow", integer(p), integer(n)), ("pow", integer(q), integer(n)))]
        candidates += [("pow", base, integer(n + 1)), ("pow", ("frac", integer(q), integer(p)), integer(-n))]
        candidates += [("pow", ("frac", integer(q), integer(p)), integer(n)),
                       ("frac", ("pow", integer(p), integer(n)), integer(q))]
        candidates += [
            mul(base, ("pow", base, integer(n - 1))),
            ("pow", ("frac", integer(p), integer(q + 1)), integer(n))
        ]
        return draw(r, gold, candidates)
    a, n = r.randint(2, 12), r.randint(10, 150)
    gold = ("pow", integer(a), integer(n))
    candidates = [
        gold, mul(integer(a), ("pow", integer(a), integer(n - 1))),
        integer(a**n),
        integer(a**n + 1)
    ]
    candidates += [("pow", integer(a * a), rational(n, 2)), ("pow", integer(a), integer(n - 1)),
                   mul(integer(a), integer(n))]
    candidates += [("add", [gold, integer(1)])]
    return draw(r, gold, candidates)


def power(base, p, q):
    return ("pow", integer(base), rational(p, q))


@rows("number-binomial")
def binomials(r):
    n = r.randint(4, 16)
    k = r.randint(1, n - 1)
    c = int(sympy.binomial(n, k))
    b = lambda m, j: ("binom", integer(m), integer(j))
    candidates = [
        b(n, k),
        b(n, n - k),
        b(n, k + 1),
        b(n + 1, k),
        ex.add(b(n - 1, k - 1), b(n - 1, k)),
        b(k, n)
    ]
    candidates += [("frac", ("fact", integer(n)), mul(("fact", integer(k)), ("fact", integer(n - k))))]
    candidates += [("frac", integer(n), integer(k)), mul(integer(2), b(n, k)), ex.add(b(n, k), integer(1))]
    gold = r.choice([integer(c), integer(c), b(n, k)])
    if r.random() < 0.3:
        total = int(sympy.binomial(n + 3, 4))
        gold = rational(c, total)
        candidates = [("frac", b(n, k), b(n + 3, 4)), ("frac", b(n, k), b(n + 3, 3)),
                      ("frac", integer(c), b(n + 3, 4))]
        candidates += [("frac", b(n, n - k), integer(total)), ("frac", b(n + 3, 4), b(n, k))]
    return draw(r, gold, candidates)


@rows("number-factorial")
def factorials(r):
    n = r.randint(3, 13)
    f = lambda m: ("fact", integer(m))
    if r.random() < 0.5:
        gold = integer(int(sympy.factorial(n)))
        candidates = [
            f(n), mul(integer(n), f(n - 1)),
            f(n - 1),
            f(n + 1),
            integer(n),
            ex.add(f(n), integer(1))
        ]
        candidates += [("frac", f(n + 1), integer(n + 1)), mul(integer(2), f(n)), ("neg", f(n))]
        return draw(r, gold, candidates)
    m = r.randint(1, min(4, n - 2))
    gold = integer(int(sympy.ff(n, m)))
    candidates = [("frac", f(n), f(n - m)), ("frac", f(n), f(m)), ("frac", f(n), integer(n - m)), f(m)]
    candidates += [("frac", f(n), f(n - m - 1)), ("frac", f(n - m), f(n)), f(n)]
    return draw(r, gold, candidates)


@rows("number-fraction-forms")
def fraction_forms(r):
    q = fraction(r)
    p, d = abs(q.p), q.q
    sign = "-" if q < 0 else ""
    top = lambda a, b: (sympy.Rational(a, b), f"{{{a}}}{{{b}}}")
    texts = []
    for a, b in {(p, d), (d, p or 1), (2 * p, 2 * d), (p + 1, d), (3 * p, 3 * d)}:
        v, body = top(a, b)
        for name in ("frac", "dfrac", "tfrac", "cfrac"):
            texts.append((f"{sign}\\{name}{body}", v if q > 0 else -v))
        texts += [(f"{sign}{{{a} \\over {b}}}", v if q > 0 else -v), (f"{sign}{a}/{b}", v if q > 0 else -v)]
        texts += [(f"\\frac{{{sign}{a}}}{{{b}}}", v if q > 0 else -v),
                  (f"\\frac{{{a}}}{{{sign}{b}}}", v if q > 0 else -v)]
        texts += [(f"\\frac{{-{a}}}{{-{b}}}", v),
                  (f"\\left({sign}\\frac{{{a}}}{{{b}}}\\right)", v if q > 0 else -v)]
        texts += [(f"{{{{\\frac{{{{{a}}}}}{{{{{b}}}}}}}}}", v), (f"{sign}({a})/({b})", v if q > 0 else -v)]
        if len(str(a)) == len(str(b)) == 1:
            texts += [(f"\\frac{a}{b}", v), (f"\\frac {a} {b}", v), (f"\\frac{a}{{{b}}}", v),
                      (f"\\frac{{{a}}}{b}", v)]
        if a > b:
            texts.append((f"{sign}{a // b}\\frac{{{a % b}}}{{{b}}}", v if q > 0 else -v))
            texts.append((f"{a // b}+\\frac{{{a % b}}}{{{b}}}", v))
    return (Writer()(rational(q.p, q.q)), *judged(same_number, q, texts))


@rows("number-functions")
def functions(r):
    kind = r.randrange(5)
    if kind == 0:
        b, n = r.choice([2, 3, 5, 6, 7, 10, 12]), r.randint(2, 6)
        gold = integer(n)
        candidates = [("log", b, integer(b**n)), ("log", b, integer(b**(n + 1))),
                      integer(b**n), ("neg", ("log", b, rational(1, b**n)))]
        name = r.choice(["ln", "log"])
        candidates += [("frac", ("func", name, integer(b**n)), ("func", name, integer(b)))]
        candidates += [("log", b**2, integer(b**(2 * n))), ("log", b**2, integer(b**n)),
                       ("log", b, rational(1, b**n))]
        return draw(r, gold, candidates)
    if kind == 1:
        n = r.randint(2, 500)
        q = r.choice([integer(n), rational(n, 7), mul(integer(n), ("const", "pi")), root(integer(n))])
        candidates = [("abs", ("neg", q)), ("abs", q), ("neg", ("abs", q)),
                      ("abs", ex.add(integer(1), ("neg", q)))]
        return draw(r, q, candidates)
    if kind == 2:
        q = fraction(r, -400, 400)
        node = r.choice([rational(q.p, q.q), ("dec", decimal(sympy.Rational(int(q * 10) * 10 + 5, 100)))])
        if node[0] == "dec" and node[1].startswith("-"):
            return []
        v = value(node)
        candidates = [("floor", node), ("ceil", node),
                      integer(int(sympy.floor(v))),
                      integer(int(sympy.ceiling(v)))]
        return draw(r, integer(int(sympy.floor(v))), candidates) if r.random() < 0.5 else draw(
            r, integer(int(sympy.ceiling(v))), candidates)
    if kind == 3:
        part, name = r.choice([(6, "sin"), (3, "cos"), (4, "tan"), (3, "tan"), (4, "sin"), (6, "cos"),
                               (2, "sin"), (3, "sin")])
        node = ("func", name, ("frac", ("const", "pi"), integer(part)))
        gold = ex.tree(value(node))
        other = ("func", {
            "sin": "cos",
            "cos": "sin",
            "tan": "sin"
        }[name], ("frac", ("const", "pi"), integer(part)))
        return draw(r, gold, [
            node, other, ("neg", node),
            mul(integer(2), ("frac", node, integer(2))), ("frac", integer(1), node)
        ])
    a = r.randint(2, 30)
    node = ("func", "ln", integer(a))
    candidates = [
        node, ("neg", ("func", "ln", rational(1, a))), ("func", "ln", integer(a + 1)),
        ("frac", ("func", "ln", integer(a * a)), integer(2))
    ]
    candidates += [
        ex.add(("func", "ln", integer(2 * a)), ("neg", ("func", "ln", integer(2)))),
        mul(integer(2), node), ("func", "ln", ("pow", ("const", "e"), integer(a)))
    ]
    return draw(r, node, candidates)


@rows("number-exact")
def exact(r):
    q = fraction(r, -500, 500)
    gold = rational(q.p, q.q)
    texts = [(f"\\frac{{{q.p * k}}}{{{q.q * k}}}", q) for k in (2, 3, 7)
            ] + [(f"\\frac{{{q.p + 1}}}{{{q.q}}}", q + sympy.Rational(1, q.q))]
    ten = sympy.Integer(10)**6
    rounded = sympy.Rational(int(q * ten), ten)
    if rounded == q:
        texts.append((decimal(q), q))
    texts += [(f"\\frac{{{q.p * 1000 + 1}}}{{{q.q * 1000}}}", q + sympy.Rational(1, q.q * 1000)),
              (f"\\frac{{{q.q}}}{{{q.p}}}", 1 / q)] if q else []
    big = r.randint(10**18, 10**30)
    if r.random() < 0.4:
        return (str(big), *judged(same_number, big, [(str(big), big), (str(big + 1), big + 1),
                                                     (f"{big:,}", big), (f"{big - 1}+1", big),
                                                     (str(big)[:-1], big // 10), (f"{big - 1}", big - 1)]))
    return (Writer()(gold), *judged(same_number, q, texts))


@rows("sums-of-everything")
def sums(r):
    """Sums and products of roots, pi and fractions, in another form: the labels come from sympy alone."""
    pieces = [rational(r.randint(-9, 9) or 1, r.randint(1, 6)) for _ in range(2)]
    s = root(integer(r.choice(SQUAREFREE)), r.choice([2, 2, 2, 3]))
    last = r.choice([("const", "pi"), root(integer(r.choice(SQUAREFREE))), mul(s, ("const", "pi"))])
    gold = ex.add(pieces[0], mul(integer(r.randint(2, 9)), s), mul(integer(r.randint(2, 5)), last))
    v = value(gold)
    forms = [
        v,
        sympy.expand(v),
        sympy.together(v),
        sympy.factor(v), v + sympy.Rational(1, 12), -v,
        v.subs(sympy.pi, 3), 2 * v
    ]
    texts = [(Writer(Style.draw(r), r)(ex.tree(form)), form) for form in forms]
    k = r.randint(2, 4)
    grown = ex.tree(sympy.expand(v * k))
    texts.append((Writer(Style.draw(r), r)(("frac", grown, integer(k))), v))
    texts.append((Writer(Style.draw(r), r)(mul(rational(1, k), grown)), v))
    return (Writer()(ex.tree(v)), *judged(same_number, v, texts))

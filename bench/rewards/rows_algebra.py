"""Formulas: polynomials, rational functions, equations, complex numbers, matrices, vectors. sympy decides."""

import sympy

import expressions as ex
from expressions import Style, Writer, integer, same_equation, same_function, same_number, same_object
from framework import judged, natural, rows

LETTERS = "xynkmtabpzrs"


def write(expression, r, style=None):
    return Writer(style or Style.draw(r), r)(ex.tree(expression))


def coefficient(r):
    return r.choice([-1, 1, 1]) * r.randint(1, 12)


def polynomial(r, letters=None):
    """A polynomial in up to three letters, as a sympy object."""
    letters = letters or r.sample(LETTERS, r.choice([1, 1, 1, 2, 3]))
    symbols = [sympy.Symbol(name) for name in letters]
    terms = [
        coefficient(r) * sympy.Mul(*(s**r.randint(0, 3) for s in symbols)) for _ in range(r.randint(2, 4))
    ]
    return sympy.Add(*terms, symbols[0] * coefficient(r))


def factored(r):
    x = sympy.Symbol(r.choice(LETTERS))
    y = r.choice([sympy.Symbol(r.choice([c for c in LETTERS if c != x.name])), sympy.Integer(1)])
    factors = [r.randint(1, 4) * x + coefficient(r) * y for _ in range(r.randint(1, 3))]
    return r.choice([1, 2, 3, -1, -5, x]) * sympy.Mul(*factors)


def changed(e, r):
    """A formula that is easily taken for e: a sign, a coefficient, a letter or a power of it differs."""
    symbols = sorted(e.free_symbols, key=str)
    x = r.choice(symbols)
    other = sympy.Symbol(r.choice([c for c in LETTERS if sympy.Symbol(c) not in symbols]))
    terms = list(sympy.Add.make_args(e))
    terms[r.randrange(len(terms))] *= -1
    return r.choice([
        sympy.Add(*terms),
        e + 1,
        e - x,
        2 * e,
        -e,
        e.subs(x, other),
        e.subs(x, x + 1),
        e.subs(x, 2 * x),
        e * x,
        e.subs(x, sympy.Symbol(x.name.upper())),
    ])


@rows("poly-order")
def order(r):
    e = sympy.expand(polynomial(r))
    if not e.free_symbols or len(sympy.Add.make_args(e)) < 2:
        return []
    candidates = [(write(f, r), f) for f in (e, e, e, *(changed(e, r) for _ in range(4)))]
    return (write(e, r, Style.plain()), *judged(same_function, e, candidates))


@rows("poly-expand")
def expand(r):
    e = factored(r) if r.random() < 0.8 else factored(r) + factored(r)
    full = sympy.expand(e)
    if not full.free_symbols:
        return []
    forms = [full, sympy.factor(full), e, sympy.collect(full, r.choice(sorted(full.free_symbols, key=str)))]
    forms += [changed(full, r), changed(sympy.factor(full), r), changed(e, r), changed(e, r)]
    gold = r.choice([full, sympy.factor(full)])
    return (write(gold, r, Style.plain()),
            *judged(same_function, gold, [(write(f, r), f) for f in forms if f.free_symbols]))


@rows("rational-function")
def rational_function(r):
    x = sympy.Symbol(r.choice(LETTERS))
    y = r.choice([x, x, sympy.Symbol(r.choice(LETTERS))])
    line = lambda z: r.randint(1, 3) * z + coefficient(r)
    e = r.choice([
        line(x) / line(x),
        line(x) / (line(x) * line(y)), (x * x + coefficient(r)) / line(y), 1 / line(x) + 1 / line(y),
        x / y + y / line(x)
    ])
    e = sympy.cancel(sympy.together(e))
    if not e.free_symbols or e.is_polynomial():
        return []
    forms = [e, sympy.together(e), sympy.factor(e)]
    if len(e.free_symbols) == 1:
        forms += [sympy.apart(e), -sympy.factor(-e)]
    forms += [changed(e, r), changed(e, r), 1 / e, sympy.factor(changed(e, r))]
    top, below = sympy.fraction(sympy.together(e))
    k, z = r.choice([2, 3, x, x + 1, -1]), Style.draw(r)
    forms_text = [(write(f, r), f) for f in forms if f.free_symbols]
    grown = ("frac", ex.tree(sympy.expand(k * top)), ex.tree(sympy.expand(k * below)))
    flat = Writer(Style(), r)(ex.tree(top)) + "/" + Writer(Style(), r)(ex.tree(below))
    forms_text += [(Writer(z, r)(grown), e), (Writer(z, r)(("frac", ex.tree(below), ex.tree(top))), 1 / e)]
    first, *rest = flat_parts(top, below)
    forms_text.append((flat, sympy.Add(*rest, first)))
    return (write(e, r, Style.plain()), *judged(same_function, e, forms_text))


def flat_parts(top, below):
    """What top/below means without brackets: the last term of the one over the first of the other."""
    tops = list(top.as_ordered_terms()) if top.is_Add else [top]
    belows = list(below.as_ordered_terms()) if below.is_Add else [below]
    divisor = belows[0]
    parts = divisor.as_ordered_factors()
    quotient = tops[-1] / parts[0] * sympy.Mul(*parts[1:])
    return [quotient, *tops[:-1], *belows[1:]]


@rows("symbol-powers")
def symbol_powers(r):
    x, n = sympy.Symbol(r.choice("abxyz")), sympy.Symbol(r.choice("nkm"))
    k, c = r.randint(2, 12), r.randint(2, 9)
    if r.random() < 0.35:
        name, other = r.choice("abcxy"), r.choice("uvwz")
        right = [f"{name}_{k}", f"{name}_{{{k}}}"] if k < 10 else [f"{name}_{{{k}}}", f"{name}_{{ {k} }}"]
        wrong = [f"{name}^{{{k}}}", f"{name}_{{{k + 1}}}", f"{other}_{{{k}}}", f"{k}{name}", name]
        return (right[0], right, wrong)
    e = r.choice([
        c**n, c**(n + 1), c * x**k, x**k + n, c**n + k, (x + 1)**n, c**(2 * n - 1), c * k**n, x**n,
        n * x**(n - 1)
    ])
    forms = [e, e, sympy.expand(e), sympy.powsimp(e), changed(e, r), changed(e, r)]
    forms += [e.subs(n, n + 1), e.subs(n, n - 1), e.subs(c, c + 1)]
    if r.random() < 0.5:
        forms += [sympy.expand_power_base(sympy.expand(e.subs(n, n + 1))), c * e]
    return (write(e, r, Style.plain()),
            *judged(same_function, e, [(write(f, r), f) for f in forms if f.free_symbols]))


@rows("functions-of-x")
def functions_of_x(r):
    x = sympy.Symbol(r.choice(["x", "t", "y"]))
    names = ["sin", "cos", "tan", "ln", "cot", "sec"]
    name, other = r.sample(names, 2)
    node = ("func", name, ex.symbol(x.name))
    k, c = r.randint(2, 9), r.randint(2, 9)
    shapes = [
        lambda f: f,
        lambda f: ex.add(ex.mul(integer(k), f), integer(c)),
        lambda f: ("mul", [integer(k), ex.symbol(x.name), f]),
        lambda f: ("frac", f, integer(c)),
        lambda f: ex.add(("pow", ex.symbol(x.name), integer(2)), f),
        lambda f: ("pow", ("const", "e"), ex.mul(integer(k), ex.symbol(x.name))) if name == "sin" else f,
    ]
    shape = r.choice(shapes)
    if r.random() < 0.25:
        a, b = r.randint(2, 19), r.randint(2, 9)
        node, x = ("func", "ln", integer(a)), None
        forms = [
            ex.add(node, integer(b)),
            ex.add(integer(b), node),
            ex.add(("func", "ln", integer(a + 1)), integer(b)),
            ex.add(node, integer(b + 1)), ("func", "ln", integer(a + b))
        ]
        return (Writer()(forms[0]), *judged(same_number, ex.value(forms[0]),
                                            [(Writer(Style.draw(r), r)(f), ex.value(f)) for f in forms]))
    inner = ("mul", [integer(k), ex.symbol(x.name)])
    forms = [
        shape(node),
        shape(node),
        shape(node),
        shape(("func", other, node[2])),
        shape(("func", name, inner)), ("neg", shape(node))
    ]
    forms += [ex.mul(integer(2), shape(node)), ex.symbol(x.name)]
    candidates = [(Writer(Style.draw(r), r)(f), ex.value(f)) for f in forms]
    return (Writer()(shape(node)), *judged(same_function, ex.value(shape(node)), candidates))


def equation_text(left, right, r, style=None):
    side = lambda e: write(e, r, style) if e != 0 else "0"
    return side(left) + r.choice(["=", " = "]) + side(right)


@rows("equation-factor")
def equations(r):
    x, y = (sympy.Symbol(c) for c in r.choice(["xy", "xy", "ab", "pq", "mn"]))
    kind = r.randrange(4)
    if kind == 0:
        left, right = r.randint(1, 9) * x + coefficient(r) * y, sympy.Integer(coefficient(r))
    elif kind == 1:
        left, right = y, sympy.Rational(coefficient(r), r.randint(1, 4)) * x + coefficient(r)
    elif kind == 2:
        left, right = (x + coefficient(r))**2 + (y + coefficient(r))**2, sympy.Integer(r.randint(2, 60))
    else:
        left, right = y**2, r.randint(2, 12) * x
    k = r.choice([2, 3, -1, -2, sympy.Rational(1, 2)])
    moved = sympy.expand(left - right)
    pairs = [(right, left), (moved, 0), (0, moved), (sympy.expand(k * left), sympy.expand(k * right)),
             (left, right)]
    pairs += [(left - right + y, y), (sympy.expand(left) - right - 1, sympy.Integer(-1)),
              (sympy.expand(left), right)]
    pairs += [(left, -right), (left + 1, right), (sympy.expand(k * left), right), (left, right + x),
              (left.subs(y, -y), right)]
    candidates = [
        (equation_text(*pair, r), pair) for pair in pairs if sympy.sympify(pair[0]) != sympy.sympify(pair[1])
    ]
    right_texts, wrong = judged(same_equation, (left, right), candidates)
    return (equation_text(left, right, r, Style.plain()), right_texts, wrong + [write(moved, r)])


@rows("function-definition")
def definitions(r):
    x = sympy.Symbol(r.choice("xtn"))
    e = sympy.expand(polynomial(r, [x.name]))
    name = r.choice("fgPh")
    if x not in e.free_symbols:
        return []
    forms = [e, e, sympy.factor(e), changed(e, r), changed(e, r)]
    head = lambda: r.choice([
        f"{name}({x}) = ", f"{name}({x})=", f"{name}\\left({x}\\right)=", "", "y = " if x.name == "x" else ""
    ])
    candidates = [(head() + write(f, r), f) for f in forms]
    candidates = [c for c in candidates if not (c[1] != e and "y = " in c[0])]
    right, wrong = judged(same_function, e, candidates)
    right = [text for text in right if not text.startswith("y")]
    return (f"{name}({x})=" + write(e, r, Style.plain()), right, wrong)


@rows("complex")
def complex_numbers(r):
    a, b = coefficient(r) * r.choice([1, 1, 5]), coefficient(r)
    i = sympy.I
    e = r.choice([
        a + b * i, a + b * i, b * i,
        sympy.Rational(a, 7) + sympy.Rational(b, 2) * i, a + b * sympy.sqrt(3) * i
    ])
    texts = []
    for v in (e, e, sympy.conjugate(e), -e, sympy.im(e) + sympy.re(e) * i, e + 1, sympy.re(e), 2 * e):
        style = Style.draw(r)
        style.upright = r.choice(["", "", "", "\\mathrm", "\\text", "\\mathbf"][:5])
        texts.append((Writer(style, r)(ex.tree(v)), v))
    n, d = a + b * i, r.choice([1 + i, 2 - i, 3 + 2 * i, i])
    if r.random() < 0.3:
        e = sympy.simplify(sympy.expand_complex(n / d))
        quotient = ("frac", ex.tree(n), ex.tree(d))
        product = ("mul", [ex.tree(sympy.expand(1 + i)), ex.tree(n)])
        texts = [(Writer(Style.draw(r), r)(quotient), n / d), (Writer(Style.draw(r),
                                                                      r)(product), (1 + i) * n),
                 (write(e, r), e), (write(sympy.conjugate(e), r), sympy.conjugate(e))]
    return (write(e, r, Style.plain()), *judged(same_number, e, texts))


ENVIRONMENTS = [
    "\\begin{pmatrix}%s\\end{pmatrix}",
    "\\begin{bmatrix}%s\\end{bmatrix}",
    "\\left[\\begin{matrix}%s\\end{matrix}\\right]",
    "\\left(\\begin{matrix}%s\\end{matrix}\\right)",
    "\\begin{psmallmatrix}%s\\end{psmallmatrix}",
    "\\left(\\begin{array}{%c}%s\\end{array}\\right)",
    "\\left[\\begin{array}{%c}%s\\end{array}\\right]",
    "\\left(\\begin{smallmatrix}%s\\end{smallmatrix}\\right)",
    "\\begin{bsmallmatrix}%s\\end{bsmallmatrix}",
]


def matrix_text(m, r, environment=None, style=None):
    gap = r.choice([" \\\\ ", "\\\\", " \\\\\n", "\\\\[4pt] ", "\\\\[2mm]"]) if style is None else " \\\\ "
    lines = [
        " & ".join(Writer(style or Style.draw(r), r)(ex.tree(v)) for v in m.row(i)) for i in range(m.rows)
    ]
    body = " " + gap.join(lines) + r.choice([" ", " ", "\\\\ " if style is None else " "])
    environment = environment or r.choice(ENVIRONMENTS)
    return environment.replace("%c", "c" * m.cols).replace("%s", body)


def entry(r):
    return r.choice([
        sympy.Integer(r.randint(-9, 9)),
        sympy.Integer(r.randint(-9, 9)),
        sympy.Rational(r.randint(-9, 9), r.randint(2, 7))
    ])


def altered(m, r):
    other = m.as_mutable()
    i, j = r.randrange(m.rows), r.randrange(m.cols)
    other[i, j] = r.choice([-m[i, j], m[i, j] + 1])
    return other.as_immutable()


@rows("matrix")
def matrices(r):
    h, w = r.choice([(2, 2), (2, 2), (3, 3), (2, 3), (3, 2)])
    m = sympy.ImmutableMatrix(h, w, lambda *_: entry(r))
    shapes = [m, m, m, altered(m, r), altered(m, r), m.T, -m]
    candidates = [
        (r.choice(["", "", "", "A = ", "\\mathbf{M}=", "A^{-1} = "]) + matrix_text(s, r), s) for s in shapes
    ]
    k = r.choice([2, 3, -1])
    candidates += [(f"\\frac{{1}}{{{k}}}" + matrix_text(k * m, r), m), (f"{k}" + matrix_text(m, r), k * m)]
    right, wrong = judged(same_object, m, candidates)
    if h == w:
        wrong.append(matrix_text(m, r, "\\begin{vmatrix}%s\\end{vmatrix}"))
    return (matrix_text(m, r, ENVIRONMENTS[0], Style.plain()), right, wrong)


@rows("vector")
def vectors(r):
    v = sympy.ImmutableMatrix(r.choice([2, 3]), 1, lambda *_: entry(r))
    if v.is_zero_matrix:
        return []
    k = r.choice([2, 3, -1, sympy.Rational(1, 2)])
    scaled = lambda m: (write(sympy.sympify(1) / k, r) + r.choice(["", "\\cdot ", "\\,"]) + matrix_text(
        k * m, r), m)
    if r.random() < 0.35:
        angle = lambda m: "\\langle " + ", ".join(write(e, r) for e in m) + " \\rangle"
        other = altered(v, r)
        texts = [(angle(v), v), (angle(other), other), (angle(v[::-1]), sympy.ImmutableMatrix(v[::-1])),
                 ("\\left" + angle(v).replace("\\rangle", "\\right\\rangle"), v)]
        return (angle(v), *judged(same_object, v, texts))
    shapes = [v, v, altered(v, r), altered(v, r), sympy.ImmutableMatrix(v[::-1]), -v, v.T]
    candidates = [
        (r.choice(["", "", "\\mathbf{v} = ", "\\vec{u} = ", "v="]) + matrix_text(s, r), s) for s in shapes
    ]
    candidates += [scaled(v), scaled(altered(v, r))]
    return (matrix_text(v, r, ENVIRONMENTS[0], Style.plain()), *judged(same_object, v, candidates))


@rows("base")
def bases(r):
    b = r.randint(2, 9)
    n = natural(r, 9, 900)
    digits = lambda k, base: "".join(str(d) for d in sympy.ntheory.digits(k, base)[1:])
    text = digits(n, b)
    right = [
        f"{text}_{b}", f"{text}_{{{b}}}", f"({text})_{b}", f"({text})_{{{b}}}", f"{text} _ {b}",
        f"{{{text}}}_{b}"
    ]
    wrong = [
        f"{text}_{b % 9 + 1 if b < 9 else 8}", f"{text[::-1]}_{{{b}}}", f"{digits(n + 1, b)}_{b}",
        f"{digits(n + b, b)}_{{{b}}}", f"{text}^{b}"
    ]
    wrong = [w for w in wrong if w.split("_")[0] != text or not w.endswith((f"_{b}", f"_{{{b}}}"))]
    return (r.choice([f"{text}_{b}", f"{text}_{{{b}}}"]), right, wrong)

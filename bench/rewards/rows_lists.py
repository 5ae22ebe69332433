"""Several values, and values with names: lists, pairs, plus-minus, chains, left sides."""

import sympy

import expressions as ex
from expressions import Style, Writer, integer
from framework import natural, near, rows


def small(r):
    """A value as (plain text, sympy object)."""
    kind = r.randrange(6)
    if kind < 3:
        n = r.randint(-40, 60)
        return str(n), sympy.Integer(n)
    if kind < 5:
        q = sympy.Rational(r.randint(-30, 30), r.randint(2, 9))
        return Writer()(ex.tree(q)), q
    a, b = r.randint(2, 6), r.choice([2, 3, 5, 7])
    return f"{a}\\sqrt{{{b}}}", a * sympy.sqrt(b)


def distinct(r, count):
    values = {}
    while len(values) < count:
        text, v = small(r)
        values[v] = text
    return [(text, v) for v, text in values.items()]


def again(v, r):
    """The value in another style."""
    return Writer(Style.draw(r, fractions=("\\frac", "\\dfrac", "/")), r)(ex.tree(v))


def altered(values, r):
    """A list in which one element differs."""
    out = list(values)
    i = r.randrange(len(out))
    out[i] = r.choice([out[i] + 1, -out[i], 2 * out[i]])
    return None if sorted(map(str, out)) == sorted(map(str, values)) or len(set(out)) < len(out) else out


COMMAS = [", ", ",", ",\\ ", ",\\,", ",~", ",\\quad ", "; ", ";\\ "]
ANDS = [
    " \\text{ and } ", "\\text{ and }", "\\text{ or }", " and ", " or ", " \\textrm{ and } ",
    "\\ \\text{or}\\ ", " \\mathrm{\\,and\\,} "
]


def joined(texts, r, word=None):
    """A list as people write it: commas, a word before the last one, or both."""
    word = r.random() < 0.6 if word is None else word
    if not word or len(texts) == 1:
        return r.choice(COMMAS).join(texts)
    if len(texts) == 2:
        return r.choice(ANDS).join(texts)
    return r.choice([", ", ",\\ ", ",\\,"]).join(texts[:-1]) + r.choice([",", ""]) + r.choice(
        ANDS[:6]) + texts[-1]


def list_draw(r, gold_word, answer_word):
    values = [v for _, v in distinct(r, r.choice([2, 2, 2, 3, 3, 4]))]
    shuffled = lambda vs: [again(v, r) for v in r.sample(vs, len(vs))]
    right = [joined(shuffled(values), r, answer_word) for _ in range(4)]
    wrong = [again(values[0], r), joined(shuffled(values[:-1]), r, answer_word)]
    wrong += [
        joined(shuffled(other), r, answer_word) for other in (altered(values, r), altered(values, r)) if other
    ]
    extra = max(abs(v) for v in values) + 1
    wrong.append(joined(shuffled([*values, extra]), r, answer_word))
    gold = joined([Writer()(ex.tree(v)) for v in values], r, gold_word)
    return gold.replace(";", ","), right, wrong


@rows("text-list")
def text_list(r):
    return list_draw(r, True, None)


@rows("list-in-words")
def list_in_words(r):
    values = [v for _, v in distinct(r, r.choice([2, 2, 3]))]
    gold, right, wrong = list_draw(r, False, True)
    if r.random() < 0.5:
        return gold, right, wrong
    x = r.choice(["x", "n", "t", "y", "z"])
    named = lambda vs: r.choice([
        lambda: joined([f"{x}={again(v, r)}" for v in vs], r),
        lambda: joined([f"{x}_{i + 1}={again(v, r)}" for i, v in enumerate(vs)], r),
        lambda: joined([f"{x}_{{{i + 1}}} = {again(v, r)}" for i, v in enumerate(vs)], r),
        lambda: f"{x} = " + joined([again(v, r) for v in vs], r),
        lambda: f"{x} \\in \\{{{', '.join(again(v, r) for v in vs)}\\}}",
    ])()
    other = altered(values, r)
    gold = ", ".join(Writer()(ex.tree(v)) for v in values)
    right = [named(r.sample(values, len(values))) for _ in range(4)]
    wrong = [named(values[:1]), *([named(other)] if other else [])]
    return gold, right, wrong


@rows("plus-minus")
def plus_minus(r):
    x = r.choice(["x", "x", "z", "t"])
    b = r.choice([2, 3, 5, 7, 13])
    k = r.randint(1, 5)
    a = r.choice([0, 0, r.randint(-9, 9)])
    d = r.choice([1, 1, 2, 3])
    second = r.choice([sympy.sqrt(b) * k, sympy.Integer(k + 1), k * sympy.I])
    make = lambda a, s, d: [(a + s) / sympy.Integer(d), (a - s) / sympy.Integer(d)]
    values = make(a, second, d)
    s_text = lambda s: Writer(Style.draw(r), r)(ex.tree(s))

    def pm(a, s, d):
        sign = r.choice(["\\pm", "\\pm ", "±", "\\pm "]) if not s_text(s)[0].isalpha() else "\\pm "
        inner = f"{a or ''}{' ' if r.random() < 0.3 else ''}{sign}{s_text(s)}"
        if d == 1:
            return r.choice(["", f"{x} = ", f"{x}="]) + inner
        return r.choice(["", f"{x} = "]) + r.choice(["\\frac", "\\dfrac"]) + f"{{{inner}}}{{{d}}}"

    apart = lambda vs: joined([again(v, r) for v in r.sample(vs, 2)], r)
    right = [pm(a, second, d), pm(a, second, d), apart(values), apart(values), f"{x} = " + apart(values)]
    other = r.choice([make(a + 1, second, d), make(a, second + 1, d), make(a, second, d + 1)])
    wrong = [
        again(values[0], r),
        again(values[1], r),
        pm(a + 1, second, d),
        pm(a, second * 2, d),
        apart(other)
    ]
    return (pm(a, second, d).strip(), right, wrong)


@rows("tuple-list")
def tuple_list(r):
    pairs = [tuple(v for _, v in distinct(r, 2)) for _ in range(r.choice([2, 2, 3]))]
    if len(set(pairs)) < len(pairs):
        return []
    one = lambda p: r.choice(["(%s)", "(%s)", "\\left(%s\\right)"]) % r.choice([", ", ",", ",\\,"]).join(
        again(v, r) for v in p)
    text = lambda ps: joined([one(p) for p in r.sample(ps, len(ps))], r)
    swapped = [pairs[0][::-1], *pairs[1:]]
    crossed = [(pairs[0][0], pairs[1][1]), (pairs[1][0], pairs[0][1]), *pairs[2:]]
    wrong = [
        text(other)
        for other in (swapped, crossed, pairs[:-1], [*pairs, (sympy.Integer(77), sympy.Integer(78))])
        if set(other) != set(pairs)
    ]
    return (text(pairs).replace(";", ","), [text(pairs) for _ in range(4)], wrong)


@rows("named-pair")
def named_pair(r):
    names = r.choice([("x", "y"), ("x", "y"), ("a", "b"), ("p", "q"), ("m", "n"), ("x", "y", "z"),
                      ("a", "b", "c")])
    values = [v for _, v in distinct(r, len(names))]
    assign = lambda vs, order: joined([f"{names[i]}{r.choice(['=', ' = '])}{again(vs[i], r)}"
                                       for i in order], r,
                                      r.random() < 0.4).replace(" or ", " and ").replace("{or}", "{and}")
    order = list(range(len(names)))
    mixed = lambda: r.sample(order, len(order))
    tuple_text = lambda vs, head="": head + "(" + r.choice([",", ", "]).join(again(v, r) for v in vs) + ")"
    head = lambda: r.choice([f"({','.join(names)}) = ", f"({', '.join(names)})="])
    turned = values[1:] + values[:1]
    other = [values[0] + 1, *values[1:]]
    if r.random() < 0.5:
        right = [
            assign(values, mixed()),
            assign(values, order),
            tuple_text(values, head()),
            assign(values, mixed())
        ]
        wrong = [
            assign(turned, mixed()),
            assign(other, order), f"{names[0]}={again(values[0], r)}",
            tuple_text(turned, head()),
            assign(turned, order)
        ]
        return (", ".join(f"{n}={Writer()(ex.tree(v))}" for n, v in zip(names, values)), right, wrong)
    right = [
        tuple_text(values, head()),
        tuple_text(values, head()),
        assign(values, order),
        tuple_text(values)
    ]
    wrong = [
        tuple_text(turned, head()),
        tuple_text(turned),
        tuple_text(other, head()),
        assign(turned, order),
        tuple_text(values[:-1]) if len(values) > 2 else again(values[0], r)
    ]
    return ("(" + ",".join(Writer()(ex.tree(v)) for v in values) + ")", right, wrong)


NAMES = [
    "x",
    "y",
    "n",
    "N",
    "S",
    "\\theta",
    "\\alpha",
    "\\lambda",
    "\\phi",
    "\\Delta",
    "a_1",
    "a_{10}",
    "S_n",
    "x_{\\max}",
    "r_1",
    "f(3)",
    "P(2)",
    "g(-1)",
    "f(g(2))",
    "\\text{Area}",
    "\\text{Total}",
    "\\text{Total cost}",
    "\\text{Volume}",
    "\\mathrm{Area}",
    "AB",
    "\\overline{AB}",
    "\\angle ABC",
    "\\angle A",
    "m\\angle B",
    "|AB|",
    "[ABC]",
    "P(A)",
    "\\cos \\theta",
    "\\sin A",
    "\\tan\\theta",
    "\\text{Answer}",
    "\\text{The answer}",
    "V",
    "k",
    "\\ell",
    "d",
    "\\mathbf{x}",
    "f\\left(0\\right)",
    "x'",
]


@rows("left-side-name")
def names(r):
    text, v = small(r)
    name = r.choice(NAMES)
    equals = r.choice(["=", " = ", "= ", " =\\ "])
    other = r.choice([w for w in (v + 1, -v, 2 * v + 3) if w != v])
    argument = r.randint(2, 9)
    right = [f"{name}{equals}{text}", f"{name}{equals}{again(v, r)}"]
    wrong = [f"{name}{equals}{again(other, r)}", f"{name}{equals}{again(other, r)}"]
    if v != argument:
        wrong.append(f"f({text})={argument}")
    return (text, right, wrong)


@rows("left-side-no-name")
def no_names(r):
    n = r.choice([natural(r, 2, 99), natural(r, 2, 99), r.randint(2, 12)])
    m = near(n, r)
    x = r.choice("xynt")
    k = r.randint(2, 9)
    wrong = [
        f"{k}{x}={n}", f"-{x}={n}", f"{x}^2={n}", f"{x} \\ne {n}", f"{m}={n}", f"{x}+{k}={n}",
        f"\\frac{{{x}}}{{{k}}}={n}", f"{x} \\neq {n}"
    ]
    wrong += [
        f"\\sqrt{{{x}}}={n}", f"|{x}|={n}", f"{x} > {n}", f"{x} < {n}", f"{k}^{x}={n}", f"{x}-{k}={n}",
        f"{x} \\ge {n}", f"{n + k}-{k + 1}={n}", f"{x}!={n}", f"{k}{x}+1={n}"
    ]
    right = [f"{x}={n}", f"{x} = {n}", f"{n}={x}", f"{x}={n}\\,"]
    if r.random() < 0.3:
        a, b = r.choice(["pq", "ac", "xy", "mn"])
        total = f"{n} = {a}+{b}"
        right = [f"{a}+{b}={n}", f"{n}={b}+{a}", f"{b} + {a} = {n}", total, f"{a}+{b}-{n}=0"]
        wrong = [f"{a}+{b}", f"{n}", f"{a}-{b}={n}", f"{a}+{b}={n + 1}", f"{a}={n}", f"{a}+{b}+{n}=0"]
        return (total, right, wrong)
    return (str(n), right, wrong)


@rows("equals-chain")
def chains(r):
    count = r.randint(2, 4)
    kind = r.randrange(4)
    if kind == 0:
        nodes = ex.add(*(integer(r.randint(2, 60)) for _ in range(count)))
    elif kind == 1:
        a, b = r.randint(2, 30), r.randint(2, 12)
        nodes = ("frac", integer(a * b), integer(b))
    elif kind == 2:
        nodes = ex.mul(integer(r.randint(2, 20)), integer(r.randint(2, 20)))
    else:
        nodes = ex.add(ex.mul(integer(r.randint(2, 9)), integer(r.randint(2, 12))),
                       ("neg", integer(r.randint(1, 9))))
    v = ex.value(nodes)
    show = lambda node: Writer(Style.draw(r), r)(node)
    name = r.choice(["S", "x", "N", "\\text{Total}", "a_3", "f(2)", "A", "P"])
    other = near(int(v), r)
    first = nodes[1][0] if nodes[0] in ("add", "mul") else nodes[1]
    first = first[1] if isinstance(first, tuple) and first[0] == "int" else 1
    right = [
        f"{name} = {show(nodes)} = {v}", f"{show(nodes)}={v}", f"{name}={show(nodes)}={v}", f"{v} = {name}"
    ]
    wrong = [
        f"{name} = {show(nodes)} = {other}", f"{show(nodes)}={other}", f"{v + 1}={v}",
        f"{name}={show(nodes)}={other}={v}"
    ]
    draws = [(str(v), right, wrong)]
    if first != v:
        draws.append((str(first), [], [f"{show(nodes)} = {v}", f"{name} = {show(nodes)} = {v}"]))
    return draws


@rows("ratio")
def ratios(r):
    terms = r.sample(range(2, 40), r.choice([2, 2, 2, 3]))
    if sympy.gcd(*terms[:2]) != 1:
        return []
    colon = lambda ts: r.choice([":", " : ", "{:}", "\\colon ", "∶", "\\,:\\,"]).join(map(str, ts))
    words = lambda ts: r.choice(["\\text{ to }", " \\text{ to } ", " to "]).join(map(str, ts))
    form = lambda ts: words(ts) if len(ts) == 2 and r.random() < 0.4 else colon(ts)
    other = [terms[0], terms[1] + 1, *terms[2:]]
    wrong = [form(terms[::-1]), form(other), str(terms[0]), form([terms[0] + 1, *terms[1:]]), str(terms[-1])]
    return (r.choice([":".join(map(str, terms)), form(terms)]), [form(terms) for _ in range(4)], wrong)


@rows("modulus")
def moduli(r):
    m = r.randint(3, 60)
    a = r.randint(1, m - 1)
    x = r.choice(["x", "n", "a"])

    def text(a, m):
        shapes = [
            f"{a} \\pmod{{{m}}}", f"{a}\\pmod{{{m}}}", f"{a} \\bmod {m}", f"{a}\\text{{ (mod }}{m})",
            f"{a} (mod {m})", f"{a} \\mod {m}", f"{a} \\ (\\text{{mod }} {m})",
            f"{a} \\; (\\mathrm{{mod}}\\; {m})"
        ]
        shapes += [f"{a}\\pmod {m}"] if m < 10 else []
        return r.choice(["", "", "", f"{x} \\equiv "]) + r.choice(shapes)

    wrong = [
        text(a, m + 1),
        text(a, m - 1),
        text((a + 1) % m, m),
        text(m, a),
        text(m - a, m) if 2 * a != m else text(a, m + 2)
    ]
    return (r.choice([f"{a} \\pmod{{{m}}}", f"{a}\\text{{ (mod }}{m})",
                      f"{a} \\bmod {m}"]), [text(a, m) for _ in range(4)], wrong)


LIST_WORDS = ["und", "et", "y", "e", "ou", "oder", "o", "и", "или", "和", "或", "或者", "と", "または"]
MAGNITUDES = [("万", 10**4), ("億", 10**8), ("亿", 10**8), ("千", 1000), ("百万", 10**6)]


@rows("languages")
def languages(r):
    kind = r.randrange(4)
    if kind == 0:
        values = [v for _, v in distinct(r, 2)]
        word = r.choice(LIST_WORDS)
        other = altered(values, r) or [v + 1 for v in values]
        text = lambda vs: r.choice([
            lambda: f"\\text{{ {word} }}".join(again(v, r) for v in vs), lambda: f" \\text{{ {word} }} ".join(
                f"x = {again(v, r)}" for v in vs)
        ])()
        wrong = [text(other), again(values[0], r), text(values[:1])]
        return (", ".join(Writer()(ex.tree(v)) for v in values), [text(values), text(values[::-1])], wrong)
    wide = str.maketrans("0123456789,()-.+", "０１２３４５６７８９，（）－．＋")
    if kind == 1:
        n = natural(r, 10, 99999)
        m = near(n, r)
        return (str(n), [str(n).translate(wide)], [str(m).translate(wide), str(n + 1).translate(wide)])
    if kind == 2:
        a, b = r.sample(range(-20, 40), 2)
        pair = lambda a, b: r.choice([f"({a},{b})".translate(wide), f"（{a}，{b}）", f"（{a}, {b}）"])
        return (f"({a},{b})", [pair(a, b) for _ in range(3)], [pair(b, a), pair(a, b + 1)])
    n = r.randint(2, 300)
    word, factor = r.choice(MAGNITUDES)
    value = n * factor
    units = ["个", "人", "元", "米", "Stück", "Meter", "mètres", "euros", "жителей", "本", "個"]
    if r.random() < 0.5:
        return (str(n), [f"{n}\\text{{ {u} }}" for u in r.sample(units, 3)],
                [f"{n}\\text{{{word}}}", f"{n + 1}\\text{{ {r.choice(units)} }}", f"{n}{word}"])
    return (str(value), [f"{n}\\text{{{word}}}", f"{n}{word}"],
            [str(n), f"{n + 1}\\text{{{word}}}", f"{n}\\text{{{'万' if word != '万' else '億'}}}"])

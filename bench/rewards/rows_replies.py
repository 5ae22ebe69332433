"""How a value is dressed and where it stands: styling, spaces, digit groups, boxes, types of gold answers."""

import expressions as ex
from expressions import Writer
from framework import CLASSES, Row, as_list, near, rows
from rows_lists import small


def value_and_other(r):
    """A text and one with another value."""
    text, v = small(r)
    other = v + 1 if v != -1 else v - 1
    return text, Writer()(ex.tree(
        r.choice([other, 2 * v + 1 if 2 * v + 1 != v else other, -v if v else other])))


@rows("styling")
def styling(r):
    text, other = value_and_other(r)
    bold = [
        "\\textbf{%s}", "\\mathbf{%s}", "\\boldsymbol{%s}", "\\bm{%s}", "**%s**", "\\textbf{ %s }",
        "\\underline{%s}", "\\mathbf{ %s }"
    ]
    around = [
        "\\(%s\\)", "$%s$", "\\displaystyle %s", "{%s}", "\\color{blue}{%s}", "\\mathrm{%s}", "\\text{%s}",
        "\\textbf{$%s$}", "\\boldsymbol{\\mathbf{%s}}", "\\large %s", "\\mathbf{%s}.", "\\displaystyle{%s}",
        "\\textcolor{red}{%s}", "\\ensuremath{%s}", "\\[%s\\]", "\\mathsf{%s}", "\\mathit{%s}", "\\bf %s",
        "\\left(%s\\right)", "\\textstyle %s"
    ]
    plain = text.lstrip("-").isdigit()
    forms = bold + [f for f in around if plain or not f.startswith(("\\text{", "\\textcolor"))]
    wrap = lambda t: r.choice(forms).replace("%s", t)
    wrong = [wrap(other), wrap(other), f"\\mathbf{{{text}}}+1", wrap(other)]
    return (text, [wrap(text) for _ in range(5)], wrong)


@rows("big-brackets")
def big_brackets(r):
    (a, low), (b, high) = sorted((small(r), small(r)), key=lambda pair: pair[1])
    if low == high:
        return []
    kind = r.choice([("(", ")"), ("(", ")"), ("[", "]"), ("(", "]"), ("\\{", "\\}")])

    def form(a, b, kind):
        size = r.choice([("\\bigl", "\\bigr"), ("\\Big", "\\Big"), ("\\big", "\\big"), ("\\Bigl", "\\Bigr"),
                         ("\\bigg", "\\bigg"), ("\\left", "\\right"), ("\\biggl", "\\biggr"),
                         ("\\Biggl", "\\Biggr")])
        return f"{size[0]}{kind[0]}{a}{r.choice([',', ', '])}{b}{size[1]}{kind[1]}"

    wrong = [form(a, b + "1" if b[-1].isdigit() else b + "+1", kind), form(a + "+1", b, kind)]
    if kind[0] != "\\{":
        wrong += [form(b, a, kind), form(b, a, kind)]
        wrong += [form(a, b, ("(", "]") if kind == ("(", ")") else ("(", ")"))]
    return (f"{kind[0]}{a},{b}{kind[1]}", [form(a, b, kind) for _ in range(4)], wrong)


@rows("dressed")
def dressed(r):
    """Rows of the other classes of rule_math, in dress that carries nothing whatever the value is."""
    kind, (verifier, function) = r.choice(sorted(CLASSES.items()))
    if verifier != "rule_math" or kind in ("dressed", "box-form", "gold-box", "gold-missing"):
        return []
    around = [
        "$%s$", "{%s}", "\\displaystyle %s", "%s\\,", "\\ %s", "%s.", "\\(%s\\)", "\\boldsymbol{%s}", " %s ",
        "\\displaystyle{%s}", "%s \\\\", "\\, %s \\,"
    ]
    dress = lambda text: r.choice(around).replace("%s", text)
    draws = [draw for draw in as_list(function(r)) if isinstance(draw, tuple)]
    return [(gold, [dress(t) for t in right], [dress(t) for t in wrong]) for gold, right, wrong in draws]


SPACES = [
    "\\,", "\\;", "\\quad ", "~", "\\ ", "\\qquad ", "\\:", "\\!", "\\hspace{2mm}", "\\thinspace ",
    "\\enspace "
]


@rows("spacing")
def spacing(r):
    values = [str(v) for v in r.sample(range(-30, 90), r.choice([1, 2, 2, 3]))]
    gap = lambda: r.choice(SPACES)
    if len(values) == 1:
        text, other = value_and_other(r)
        form = lambda t: r.choice([
            t + gap(),
            gap() + t, t + "\\\\", t + " " + gap(), t + gap() + gap(), "\n" + t + "\n", t + "\\,."
        ])
        return (text, [form(text) for _ in range(4)], [form(other) for _ in range(3)])
    ends = r.choice([("(", ")"), ("(", ")"), ("\\{", "\\}"), ("", "")])
    form = lambda vs: ends[0] + r.choice(["", gap()]) + ("," + gap()).join(vs) + r.choice(["", gap()]) + ends[
        1]
    changed = [*values[:-1], str(int(values[-1]) + 1)]
    wrong = [form(changed), form(values[:-1] if len(values) > 2 else [values[0], "91"])]
    wrong += [form(values[::-1])] if ends[0] == "(" else []
    return (ends[0] + ", ".join(values) + ends[1], [form(values) for _ in range(4)], wrong)


@rows("digit-groups")
def digit_groups(r):
    n = r.choice([r.randint(1000, 99999), r.randint(10**5, 10**7), r.randint(10**7, 10**11)])

    def form(n):
        sep = r.choice([",", "{,}", ",\\!", "\\,", " ", "~", "\\ ", "\\;"])
        return f"{n:,}".replace(",", sep)

    s = str(n)
    wrong = [
        form(near(n, r)),
        form(n + 1), f"{s[:-2]}\\,{s[-2:]}" if len(s) != 5 else f"{s[:2]}\\,{s[2:4]}", f"({n:,})",
        form(n * 10)
    ]
    right = [form(n) for _ in range(4)] + [f"{form(n)}\\text{{ dollars}}", f"x = {form(n)}"]
    m = r.randint(2, 999)
    right.append(f"({form(n - m)})+{m}" if n - m >= 1000 else form(n))
    return (r.choice([s, s, f"{n:,}"]), right, [w for w in wrong if w != f"({n:,})" or n >= 1000])


BOXES = [
    "\\boxed{%s}", "\\boxed {%s}", "\\fbox{%s}", "\\framebox{%s}", "\\boxed{\\boxed{%s}}", "\\boxed{ %s }",
    "\\boxed\n{%s}", "\\fbox{$%s$}", "\\boxed{$%s$}"
]


@rows("box-form")
def box_forms(r):
    text, other = value_and_other(r)
    place = lambda t, box=None: r.choice(["The result is $%s$.", "So %s", "**%s**", "Done: \\[%s\\]"]) % (
        box or r.choice(BOXES)).replace("%s", t)
    out = [
        Row("rule_math", "box-form", text, place(text), "correct"),
        Row("rule_math", "box-form", text, place(other), "wrong")
    ]
    out.append(Row("rule_math", "box-form", text, place(other) + " No: " + place(text), "correct"))
    out.append(Row("rule_math", "box-form", text, place(text) + " No: " + place(other), "wrong"))
    d = r.randint(0, 9)
    e = (d + r.randint(1, 9)) % 10
    out += [
        Row("rule_math", "box-form", str(d), f"So it is $\\boxed {d}$.", "correct"),
        Row("rule_math", "box-form", str(d), f"So it is $\\boxed {e}$.", "wrong"),
        Row("rule_math", "box-form", str(d), f"So $\\boxed{d}$.", "correct")
    ]
    a, b = r.sample(range(2, 50), 2)
    system = lambda a, b: f"\\left\\{{\\begin{{array}}{{l}}x={a}\\\\y={b}\\end{{array}}\\right."
    out += [
        Row("rule_math", "box-form", system(a, b), f"So \\boxed{{{system(a, b)}}}.", "correct"),
        Row("rule_math", "box-form", system(a, b), f"So \\boxed{{{system(a, b + 1)}}}.", "wrong")
    ]
    out.append(
        Row("rule_math", "box-form", f"\\{{{a},{b}\\}}", f"Thus \\boxed{{\\left\\{{{b},{a}\\right\\}}}}.",
            "correct"))
    return r.sample(out, 4)


@rows("box-unclosed")
def unclosed(r):
    text, other = value_and_other(r)
    tail = r.choice([
        " Let me check: \\boxed{",
        " Once more: \\boxed{%s" % other,
        " So $\\boxed{%s" % other, " Verify \\boxed",
        " \\fbox{%s" % other
    ])
    row = lambda completion, expected: Row("rule_math", "box-unclosed", text, completion, expected)
    return [
        row(f"So \\boxed{{{text}}}.{tail}", "correct"),
        row(f"So \\boxed{{{other}}}. Once more: \\boxed{{{text}", "wrong"),
        row(f"So the answer is \\boxed{{{text}", "unparsable")
    ]


@rows("no-reply")
def no_reply(r):
    text, other = value_and_other(r)
    row = lambda completion, expected: Row("rule_math", "no-reply", text, completion, expected)
    return [
        row(f"I think it is {text}.", "unparsable"),
        row("The answer is \\boxed{}.", "unparsable"),
        row(f"The answer is \\boxed{{ {text} }}.", "correct"),
        row(f"${text}$", "unparsable"),
        row(f"It is {text}, so \\boxed{{ }}.", "unparsable"),
        row("", "unparsable"),
        row(f"We get \\boxed{{\n{text}\n}}", "correct"),
        row(f"The box \\boxed{{ {other} }} it is, {text}.", "wrong")
    ]


@rows("gold-json-number")
def json_numbers(r):
    kind = r.randrange(4)
    if kind == 0:
        n = r.randint(10**17, 10**26)
        right, wrong = [str(n), f"{n:,}"], [str(n + 1), str(n - 1), str(n // 10)]
    elif kind == 1:
        d, e = r.randint(1, 9), r.randint(5, 9)
        n = float(f"{d}e-{e}")
        right, wrong = [
            f"{d}\\times 10^{{-{e}}}", "0." + "0" * (e - 1) + str(d), f"\\frac{{{d}}}{{{10**e}}}"
        ], [f"{d}\\times 10^{{-{e - 1}}}", "0." + "0" * e + str(d), f"{d}"]
    elif kind == 2:
        d, e = r.randint(1, 9), r.randint(16, 22)
        n = float(f"{d}e{e}")
        right, wrong = [str(d) + "0" * e, f"{d} \\times 10^{{{e}}}"], [
            str(d) + "0" * (e - 1), f"{d}\\times 10^{{{e + 1}}}",
            str(d) + "0" * (e - 1) + "1"
        ]
    else:
        n = r.choice([r.randint(-99, 999), r.randint(1, 99) / 4])
        right, wrong = [f"{n}", f"x = {n}"], [f"{n + 1}", f"{n}1", f"{n}\\text{{ million}}"]
        right += [f"\\frac{{{int(n * 4)}}}{{4}}"]
    return (n, right, wrong)


@rows("gold-json-bool")
def json_bools(r):
    gold = r.random() < 0.5
    form = lambda b: r.choice(["%s", "\\text{%s}", "\\textbf{%s}", "\\text{%s.}", "\\mathrm{%s}", "**%s**"]
                             ) % r.choice([str(b), str(b).lower(), str(b).upper()])
    return (gold, [form(gold) for _ in range(3)], [
        form(not gold),
        form(not gold), "0", "\\text{not " + str(gold).lower() + "}", "\\text{True or False}"
    ])


@rows("gold-list")
def gold_lists(r):
    if r.random() < 0.3:
        colours = r.sample(["red", "blue", "green", "white", "teal"], 3)
        return (colours[:2], [colours[0], f"\\text{{{colours[1].capitalize()}}}"],
                [f"\\text{{{colours[2]}}}", f"\\text{{not {colours[0]}}}"])
    values = sorted({small(r) for _ in range(3)}, key=str)
    gold = [int(t) if t.lstrip("-").isdigit() and r.random() < 0.5 else t for t, _ in values[:2]]
    texts = [f"x = {t}" if r.random() < 0.3 else t for t, _ in values[:2]]
    outside = max(abs(v) for _, v in values) + 1
    return (gold, texts, [Writer()(ex.tree(outside)), Writer()(ex.tree(-outside))])


@rows("gold-box")
def gold_boxes(r):
    text, other = value_and_other(r)
    solution = r.choice([
        "Adding gives $\\boxed{%s}$.", "Adding gives \\fbox{%s}.", "First \\boxed{77}, no: \\boxed {%s}",
        "Two steps.\n#### %s", "So it is $\\boxed{\\textbf{%s}}$.", "Thus\n\n\\[\\boxed{%s}\\]\nas claimed."
    ]) % text
    return (solution, [text, f"x={text}",
                       f"\\mathbf{{{text}}}"], [other, f"x={other}", f"\\mathbf{{{other}}}"])


@rows("gold-missing")
def gold_missing(r):
    n = r.randint(1, 500)
    row = lambda gold, expected: Row("rule_math", "gold-missing", gold, f"So we get \\boxed{{{n}}}.", expected
                                    )
    zero = Row("rule_math", "gold-missing", 0, f"It is \\boxed{{{r.choice(['0', '0.0', 'x=0'])}}}.",
               "correct")
    return [
        row("", "unscorable"),
        row(" " * r.randint(1, 4), "unscorable"),
        row(None, "unscorable"),
        row([], "unscorable"),
        row(0, "wrong"), zero
    ]

"""Verifiers that read a number from a marked line or from running text: gsm8k, dapo, number, last_integer."""

from framework import Row, natural, near, rows, verdict


def marked(kind, verifier, forms):
    """Rows of a verifier from (completion, right) pairs."""

    def convert(r):
        gold, pairs = forms(r)
        picked = [
            r.choice([p for p in pairs if p[1] == right]) for right in (True, False, False, True) if any(
                p[1] == right for p in pairs)
        ]
        return [Row(verifier, kind, gold, text, verdict(right)) for text, right in picked]

    rows(kind, verifier)(convert)


LEADS = ["So\n", "Half of 48 is 24.\nThen\n", "Let us add 3 and 4.\n\n", ""]


def gsm8k_prefix(r):
    n, m = natural(r, 2, 5000), r.randint(2, 60)
    texts = [(f"{n}/{m}", False), (f"{n}-{n + m}", False), (f"{n}*{m}", False), (f"{n}^2", False),
             (f"{n} or {n + m}", False), (f"{n} million", False), (f"{n} to {n + m}", False),
             (f"{n} + {m}", False), (f"{n}x", False), (f"{n}e3", False), (f"{n}, {m}", False),
             (f"{n} thousand", False)]
    texts += [(f"{n} {w}", True) for w in ("dollars", "apples", "km", "minutes", "square feet")
             ] + [(f"{n}.", True), (f"{n}", True), (f"{n + 1} dollars", False)]
    return str(n), [(r.choice(LEADS) + "#### " + t, right) for t, right in texts]


def gsm8k_decoration(r):
    n = r.choice([natural(r, 2, 5000), natural(r, 2, 900)])
    m = abs(near(n, r)) if abs(near(n, r)) != n else n + 1
    m = m if m != n else n + 1
    forms = [
        "$%s", "**%s**", "\\boxed{%s}", "+%s", "x = %s", "  %s", "$%s$", "\\$%s", "**$%s**", "%s", "%s ",
        "*%s*", "\\(%s\\)", "Answer: %s", "%s\n"
    ]
    mark = lambda: r.choice(["#### ", "#### ", "####", "####  "])
    pairs = [(r.choice(LEADS) + mark() + f % n, True) for f in forms
            ] + [(r.choice(LEADS) + mark() + f % m, False) for f in forms] + [(f"So\n#### -${n}", False),
                                                                              (f"So\n#### -{n}", False)]
    return str(n), pairs


def gsm8k_form(r):
    n = r.randint(1000, 99999)
    pairs = [(f"So\n#### {n:,}", True), (f"So\n#### {n}.00", True), (f"So\n#### {n}.0", True),
             (f"#### {n + 5}\nNo, again:\n#### {n}", True), (f"#### {n}\nNo, again:\n#### {n + 1}", False),
             (f"So\n#### {n}.5", False), (f"So\n#### {n + 1:,}", False), (f"So\n#### 1{n:,}", False)]
    return r.choice([str(n), f"{n:,}", f"6*4=24\n#### {n}", f"x\n####{n}"]), pairs


def gsm8k_minus(r):
    n = natural(r, 2, 900)
    minus = lambda: r.choice(["−", "-", "–", "- ", "− "])
    if r.random() < 0.5:
        return str(-n), [(f"So\n#### {minus()}{n}", True), (f"So\n#### {minus()}{n}", True),
                         (f"So\n#### {n}", False), (f"So\n#### {minus()}{n + 1}", False)]
    return str(n), [(f"So\n#### {n}", True), (f"So\n#### {minus()}{n}", False),
                    (f"So\n#### {minus()}{n}", False)]


def dapo_commas(r):
    s = str(r.randint(100, 999999))
    pairs = [("Thus\nAnswer: " + ", ".join(s), False), ("Thus\nAnswer: " + ",".join(s), False),
             (f"Thus\nAnswer: {s[:-2]},{s[-2:]}", False), (f"Thus\nAnswer: {s}", True),
             (f"Thus\nAnswer: {int(s):,}", True), (f"Thus\nAnswer: ${int(s):,}$", True),
             (f"Thus\nAnswer: {int(s) + 1:,}", False)]
    return s, pairs


def dapo_hedge(r):
    n = natural(r, 11, 999)
    m = n + r.randint(1, 9)
    a = r.randint(1, n - 1)
    pairs = [(f"${n}$ or ${m}$", False), (f"${n}$, ${m}$", False), (f"{n} or {m}", False),
             (f"{m} = {n}", False), (f"${n}$ and ${m}$", False), (f"{n}, {m}", False),
             (f"{a}+{n - a + 1} = {n}", False)]
    pairs += [(f"${a}+{n - a} = {n}$", True), (f"n = {n}", True), (f"x={n}", True), (f"$x = {n}$", True),
              (f"{n}", True)]
    return str(n), [("Thus\nAnswer: " + t, right) for t, right in pairs]


def dapo_decoration(r):
    n = natural(r, 2, 999)
    lines = [
        "**Answer:** %s", "**Answer: %s**", "Answer: **%s**", "Answer: %s.", "Answer: \\(%s\\)",
        "Answer: $%s$", "Answer: \\boxed{%s}", "Answer: $\\boxed{ %s }$", "answer: %s", "**Answer**: %s",
        "Answer: $%s$.", "Answer:%s", "Answer: \\[%s\\]", "*Answer:* %s", "Answer: %s  ", "Answer: `%s`",
        "__Answer:__ %s"
    ]
    m = r.choice([n + 1, n * 10, f"{n}.5", -n])
    return str(n), [("Thus\n" + line % n, True) for line in lines
                   ] + [("Thus\n" + line % m, False) for line in lines]


def dapo_number(r):
    n = natural(r, 2, 99)
    gold = r.choice([f"{n:03d}", str(n), f"{n}.0"])
    pairs = [(f"{n}", True), (f"{n:03d}", True), (f"{n}.0", True), (f"{n}.00", True), (f"0{n}", True),
             (f"{n}0", False), (f"{n / 10:.1f}", False), (f"{n}.01", False), (f"1{n}", False),
             (f"-{n}", False)]
    return gold, [("Thus\nAnswer: " + t, right) for t, right in pairs]


def dapo_languages(r):
    n = natural(r, 2, 999)
    pairs = [(f"Thus\nAnswer：{t}", right) for t, right in ((n, True), (f"${n}$", True), (n + 1, False))
            ] + [(f"Thus it must be {n} or so", False)]
    return str(n), pairs


def number_expression(r):
    n, k = natural(r, 2, 99), r.randint(2, 9)
    bad = [
        f"\\sqrt{{{n}}}", f"x^{{{n}}}", f"{k}x+{n}", f"{k}^{{{n}}}", f"\\frac{{{n}}}{{{k}}}",
        f"{k}\\cdot {n}", f"{n}\\pi", f"\\log_{{{k}}} {n}"
    ]
    # Those that have the value n by chance are no near misses.
    bad += [f"{k}-{n}"] if k != 2 * n else []
    bad += [f"\\frac{{{k}}}{{{n}}}", f"{k}/{n}"] if k != n * n else []
    bad += [f"{n}!"] if n > 2 else []
    pairs = [(r.choice(["So it is $%s$.", "It is \\boxed{%s}."]) % b, False) for b in bad
            ] + [(f"Of {n} boxes, it is \\boxed{{\\text{{none}}}}.", False)]
    pairs += [(f"It is \\boxed{{\\frac{{{n * k}}}{{{k}}}}}.", True), (f"It is \\boxed{{{n}}}.", True),
              (f"It is {n}.", True), (f"So $x={n}$.", True)]
    return str(n), pairs


def number_sign(r):
    n = natural(r, 2, 999)
    minus = r.choice(["−", "- ", "-", "− "])
    pairs = [(f"The answer is {minus}{n}.", -1), (f"It is $ {minus}{n}$", -1), (f"The answer is {n}.", 1),
             (f"{n + 8} - 8 = {n}", 1), (f"{n + 8} − 8 = {n}", 1), (f"The result: {minus}{n}", -1)]
    sign = r.choice([1, -1])
    return str(sign * n), [(t, s == sign) for t, s in pairs]


def number_exponent(r):
    m, e = f"{r.randint(1, 9)}.{r.randint(1, 9)}", r.randint(2, 6)
    v = int(m.replace(".", "")) * 10**(e - 1)
    texts = [
        f"The result is {m}e{e}.", f"The result is {m} × 10^{e}.", f"The result is {m}\\times 10^{{{e}}}.",
        f"The result is $ {m} \\cdot 10^{e}$.", f"The result is {m}E{e}"
    ]
    gold = r.choice([v, v, e, 10])
    n, k = natural(r, 4, 99), r.choice([2, 3])
    pairs = [(t, gold == v) for t in texts]
    if r.random() < 0.4:
        gold = r.choice([n, k])
        pairs = [(f"The area is {n} cm^{k}.", gold == n), (f"It is {n} m^{k}", gold == n),
                 (f"So {n}\\text{{ m}}^{k}", gold == n)]
    return str(gold), pairs


def number_plain(r):
    n = natural(r, 11, 99999)
    pairs = [(f"The total is {n:,} coins.", True), (f"There are {n}", True),
             (f"We have {n + 3} and then {n}.", True), (f"There are {n} red and {n + 3} blue ones.", False),
             (f"It is {n}.5.", False), (f"It is {n + 1:,}.", False), (f"**{n}**", True),
             (f"It costs ${n}.", True), (f"It is {n}.0", True)]
    return str(n), pairs


def lastint_expression(r):
    n, k = natural(r, 2, 99), r.randint(2, 9)
    pairs = [(f"It is {2 * n + 1}/{n}", False), (f"{k} + {n} = {k + n}.5", False), (f"So {n}.5", False),
             (f"{k} + {n} = {k + n}", False), (f"{n + k} - {k} = {n}", True), (f"It is **{n}**.", True),
             (f"The sum is {n}", True), (f"= {n}.", True), (f"So $ {n} $", True)]
    return str(n), pairs


def lastint_sign(r):
    n = natural(r, 2, 99)
    sign = r.choice([1, -1])
    minus = r.choice(["−", "- ", "-"])
    pairs = [(f"The result is {minus}{n}", -1), (f"{n + 7} - 7 = {n}", 1), (f"{n + 7} − 7 = {n}", 1),
             (f"So it is {n}", 1), (f"Result: {minus}{n}.", -1)]
    return str(sign * n), [(t, s == sign) for t, s in pairs]


for name, verifier, forms in (
    ("gsm8k-prefix", "rule_gsm8k", gsm8k_prefix),
    ("gsm8k-decoration", "rule_gsm8k", gsm8k_decoration),
    ("gsm8k-form", "rule_gsm8k", gsm8k_form),
    ("gsm8k-minus", "rule_gsm8k", gsm8k_minus),
    ("dapo-commas", "rule_dapo", dapo_commas),
    ("dapo-hedge", "rule_dapo", dapo_hedge),
    ("dapo-decoration", "rule_dapo", dapo_decoration),
    ("dapo-number", "rule_dapo", dapo_number),
    ("dapo-languages", "rule_dapo", dapo_languages),
    ("number-expression", "rule_number", number_expression),
    ("number-sign", "rule_number", number_sign),
    ("number-exponent", "rule_number", number_exponent),
    ("number-plain", "rule_number", number_plain),
    ("lastint-expression", "rule_last_integer", lastint_expression),
    ("lastint-sign", "rule_last_integer", lastint_sign),
):
    marked(name, verifier, forms)

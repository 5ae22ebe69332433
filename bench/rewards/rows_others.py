"""Verifiers that math-verify has no counterpart of: choices, units, countdown, sorting, patterns, exact text,
and what is looked at when the thinking is left out. Labels by construction."""

import sympy

from framework import Row, rows, verdict

CITIES = ["Oslo", "Bern", "Riga", "Lima", "Doha", "Suva", "Quito", "Accra", "Minsk", "Dakar"]


def choice_rows(kind, gold, pairs, choices, r, count=4):
    picked = r.sample(pairs, min(count, len(pairs)))
    return [
        Row("rule_choice", kind, gold, text, verdict(right), (("choices", choices),))
        for text, right in picked
    ]


def cities(r):
    choices = r.sample(CITIES, r.choice([4, 4, 5, 6]))
    i, j = r.sample(range(len(choices)), 2)
    return choices, i, j, "ABCDEF"[i], "ABCDEF"[j]


@rows("choice-sentence", "rule_choice")
def choice_sentence(r):
    choices, i, j, gold, other = cities(r)
    forms = [
        "The correct option is %s.", "The correct option is (%s).", "%s is correct.", "The answer is %s.",
        "The answer is **%s**.", "So the correct choice is %s", "Answer: %s", "The correct answer is: %s",
        "\\boxed{%s}", "<answer>%s</answer>", "Option %s is right.", "I choose %s.",
        "Therefore, the answer is ($%s$)", "The best answer is %s.", "%s", "(%s)", "Final answer: %s",
        "**Answer: %s**", "The answer is option %s.", "\\boxed{\\text{%s}}"
    ]
    pairs = [(f % gold, True) for f in forms] + [(f % other, False) for f in forms]
    negated = [
        "%s is incorrect.", "The answer is not %s.", "%s is wrong.", "It is not %s.",
        "Option %s is not correct.", "The correct option isn't %s."
    ]
    pairs += [(f % gold, False) for f in negated]
    return choice_rows("choice-sentence", gold, pairs, choices, r) + [
        Row("rule_choice", "choice-sentence", "A", "The answer is a", "wrong", (("choices", choices),))
    ]


@rows("choice-two-letters", "rule_choice")
def choice_two(r):
    choices, i, j, gold, other = cities(r)
    pairs = [(f"\\boxed{{{gold}, {other}}}", False), (f"Answer: {gold}, no wait: {other}", False),
             (f"Answer: {other} or {gold}", False),
             (f"At first I thought of {other}. The answer is {gold}.", True),
             (f"The answer is {gold} or {other}.", False),
             (f"\\boxed{{{gold} \\text{{ and }} {other}}}", False),
             (f"It could be {other}, but the correct answer is {gold}.", True),
             (f"The answer is {gold}. No, the answer is {other}.", False),
             (f"Both {gold} and {other} are correct.", False)]
    return choice_rows("choice-two-letters", gold, pairs, choices, r)


@rows("choice-label-text", "rule_choice")
def choice_label_text(r):
    choices, i, j, gold, other = cities(r)
    forms = [
        "\\boxed{%s - %s}", "\\boxed{%s %s}", "\\boxed{%s: %s}", "\\boxed{%s) %s}", "\\boxed{(%s) %s}",
        "\\boxed{%s. %s}", "The answer is %s. %s", "\\boxed{\\text{(%s) %s}}", "Answer: %s - %s",
        "\\boxed{\\text{Option %s}}", "**%s) %s**", "Option %s"
    ]
    fill = lambda f, letter, text: f % ((letter, text) if f.count("%s") == 2 else (letter,))
    pairs = [(fill(f, gold, choices[i]), True) for f in forms
            ] + [(fill(f, other, choices[j]), False) for f in forms]
    return choice_rows("choice-label-text", gold, pairs, choices, r)


@rows("choice-text", "rule_choice")
def choice_text(r):
    choices, i, j, gold, other = cities(r)
    forms = [
        "The capital is\n**%s**", "The answer is %s.", "\\boxed{\\text{%s}}", "\\boxed{%s}", "**%s**", "%s",
        "So it is:\n%s.", "Answer: %s", "<answer>%s</answer>", "\\boxed{\\textbf{%s}}",
        "The correct answer is %s."
    ]
    pairs = [(f % choices[i], True) for f in forms] + [(f % choices[j], False) for f in forms]
    pairs += [(f"It is neither {choices[i]} nor {choices[j]}.", False),
              (f"The answer is not {choices[i]}.", False)]
    return choice_rows("choice-text", gold, pairs, choices, r)


@rows("choice-index", "rule_choice")
def choice_index(r):
    choices = [str(n) for n in r.sample(range(2, 10), 4)]
    i, j = r.sample(range(4), 2)
    letter, other = "ABCD"[i], "ABCD"[j]
    pairs = [(f"The answer is {letter}.", True), (f"\\boxed{{{choices[i]}}}", True),
             (f"The answer is {other}.", False), (f"\\boxed{{{choices[j]}}}", False),
             (f"\\boxed{{\\text{{{letter}}}}}", True)]
    by_text = [(f"The answer is {letter}.", True), (f"The answer is {other}.", False),
               (f"\\boxed{{{choices[i]}}}", True), (f"\\boxed{{{choices[j]}}}", False)]
    return choice_rows("choice-index", i, pairs, choices, r, 3) + choice_rows(
        "choice-index", choices[i], by_text, choices, r, 2)


@rows("choice-labels", "rule_choice")
def choice_labels(r):
    texts = r.sample(CITIES, 4)
    labels = r.choice([list("ABCD"), ["1", "2", "3", "4"]])
    i, j = r.sample(range(4), 2)
    pairs = [(f"The capital is\n{texts[i]}", True), (f"The capital is\n{texts[j]}", False),
             (f"\\boxed{{{texts[i]}}}", True), (f"\\boxed{{{labels[i]}}}", True),
             (f"\\boxed{{{labels[j]}}}", False), (f"The answer is {texts[j]}.", False)]
    return choice_rows("choice-labels", labels[i], pairs, {"text": texts, "label": labels}, r)


@rows("choice-languages", "rule_choice")
def choice_languages(r):
    choices, i, j, gold, other = cities(r)
    forms = [
        "答案是 %s。", "La respuesta es %s.", "La réponse est %s.", "Die Antwort ist %s.", "答案：%s", "Ответ: %s",
        "答えは %s です。", "La risposta è %s.", "A resposta é %s.", "正确答案是%s"
    ]
    pairs = [(f % gold, True) for f in forms] + [(f % other, False) for f in forms]
    return choice_rows("choice-languages", gold, pairs, choices, r)


LENGTHS = {"m": 1, "cm": "1/100", "mm": "1/1000", "km": 1000, "inches": "254/10000", "feet": "3048/10000"}
MASSES = {"kg": 1, "g": "1/1000", "mg": "1/1000000", "lb": "45359237/100000000"}
TIMES = {"s": 1, "minutes": 60, "hours": 3600, "min": 60, "h": 3600, "days": 86400, "seconds": 1}
SPEEDS = {"m/s": 1, "km/h": "5/18", "kmph": "5/18", "meters per second": 1, "kilometers per hour": "5/18"}
VOLUMES = {"L": 1, "mL": "1/1000", "cc": "1/1000", "liters": 1, "cm^3": "1/1000", "m^3": 1000}
PRESSURES = {"kPa": 1000, "Pa": 1, "bar": 100000, "atm": 101325}
YEARS = {"years": 12, "months": 1, "year": 12, "month": 1}


def exact_decimal(q):
    """A rational number as a decimal of few digits, or none."""
    text = str(sympy.N(q, 12)).rstrip("0").rstrip(".")
    return text if "e" not in text and sympy.Rational(text) == q and len(text) < 9 else None


def quantity_rows(kind, units, r):
    factor = {name: sympy.Rational(v) for name, v in units.items()}
    u, v = r.choice(list(factor)), r.choice(list(factor))
    n = sympy.Rational(r.choice([r.randint(1, 40), r.randint(1, 60) * 10,
                                 r.randint(1, 90)]), r.choice([1, 1, 2, 4]))
    same = n * factor[u] / factor[v]
    gold, text = exact_decimal(n), exact_decimal(same)
    if not gold or not text:
        return []
    box = lambda t, u: r.choice([
        "\\boxed{%s \\text{ %s}}", "\\boxed{%s\\text{ %s}}", "It is\n%s %s", "\\boxed{%s\\ \\text{%s}}",
        "Answer: %s %s", "\\boxed{x = %s \\text{ %s}}"
    ]) % (t, u)
    gold_text = r.choice([f"{gold} {u}", f"{gold}\\text{{ {u}}}"])
    wrong_unit = r.choice([w for w in factor if factor[w] != factor[v]] or [v])
    out = [Row("rule_units", kind, gold_text, box(text, v), "correct")]
    if exact_decimal(same + 1):
        out.append(Row("rule_units", kind, gold_text, box(exact_decimal(same + 1), v), "wrong"))
    if factor[wrong_unit] != factor[v]:
        out.append(Row("rule_units", kind, gold_text, box(text, wrong_unit), "wrong"))
    return out


@rows("units-names", "rule_units")
def units_names(r):
    return quantity_rows("units-names", r.choice([LENGTHS, MASSES, SPEEDS, VOLUMES, PRESSURES]), r)


@rows("units-time", "rule_units")
def units_time(r):
    return quantity_rows("units-time", r.choice([TIMES, TIMES, YEARS]), r)


@rows("units-compound", "rule_units")
def units_compound(r):
    row = lambda gold, text, expected: Row("rule_units", "units-compound", gold, text, expected)
    big, small, factor = r.choice([("h", "min", 60), ("hours", "minutes", 60), ("min", "s", 60),
                                   ("ft", "in", 12), ("feet", "inches", 12), ("kg", "g", 1000),
                                   ("m", "cm", 100)])
    a, b = r.randint(1, 9), r.randint(1, factor - 1)
    form = lambda a, b: r.choice([
        "\\boxed{%d \\text{ %s } %d \\text{ %s}}", "It takes\n%d %s %d %s",
        "\\boxed{%d\\text{ %s and }%d\\text{ %s}}", "\\boxed{%d\\ \\text{%s}\\ %d\\ \\text{%s}}"
    ]) % (a, big, b, small)
    total = f"{a * factor + b} {small}"
    return [
        row(total, form(a, b), "correct"),
        row(total, form(a, b + 1), "wrong"),
        row(total, form(a + 1, b), "wrong"),
        row(total, f"\\boxed{{{a} \\text{{ {big}}}}}", "wrong")
    ]


@rows("units-temperature", "rule_units")
def units_temperature(r):
    c = r.choice([r.randint(-20, 60), 5 * r.randint(-10, 30)])
    f = exact_decimal(sympy.Rational(9 * c, 5) + 32)
    k = exact_decimal(sympy.Rational(27315, 100) + c)
    row = lambda gold, text, right: Row("rule_units", "units-temperature", gold, text, verdict(right))
    gold = r.choice([f"{c}^\\circ\\text{{C}}", f"{c}°C", f"{c} degrees Celsius"])
    pairs = [(f"{c} \\text{{ degrees Celsius}}", True), (f"{f}^\\circ\\text{{F}}", True),
             (f"{k} \\text{{ K}}", True), (f"{c} \\text{{ K}}", False), (f"{c}^\\circ\\text{{F}}", c == -40),
             (f"{c + 1}^\\circ\\text{{C}}", False), (f"{c}°C", True),
             (f"{f} \\text{{ degrees Fahrenheit}}", True), (f"{c}^{{\\circ}}\\mathrm{{C}}", True)]
    return [row(gold, "\\boxed{%s}" % text, right) for text, right in r.sample(pairs, 4)]


@rows("units-named-rate", "rule_units")
def units_named_rate(r):
    n = r.randint(2, 90)
    row = lambda gold, text, right: Row("rule_units", "units-named-rate", gold, text, verdict(right))
    name = r.choice(["x", "d", "L", "\\text{Distance}", "v"])
    out = [
        row(f"{n}\\text{{ m}}", f"\\boxed{{{name} = {n} \\text{{ m}}}}", True),
        row(f"{n}\\text{{ m}}", f"\\boxed{{{name} = {n * 100} \\text{{ cm}}}}", True),
        row(f"{n}\\text{{ m}}", f"\\boxed{{{name} = {n} \\text{{ kg}}}}", False),
        row(f"{n}\\text{{ m}}", f"\\boxed{{{name} = {n + 1} \\text{{ m}}}}", False)
    ]
    out += [
        row(f"\\${n} per hour", f"\\boxed{{{n}\\text{{ dollars}}}}", False),
        row(f"\\${n} per hour", f"\\boxed{{\\${n}\\text{{ per hour}}}}", True),
        row(f"{n} km per hour", f"\\boxed{{{n}\\text{{ km/h}}}}", True),
        row(f"{n} m/s", f"\\boxed{{{n}\\text{{ meters per second}}}}", True),
        row(f"{n} m/s", f"\\boxed{{{n}\\text{{ m}}}}", False)
    ]
    return r.sample(out, 4)


@rows("sorting", "rule_sorting")
def sorting(r):
    values = sorted(r.sample(range(-20, 60), r.randint(3, 6)))
    show = lambda vs: r.choice([" ", ", ", ","]).join(
        str(v).replace("-", r.choice(["-", "-", "−"])) for v in vs)
    gold = " ".join(map(str, values))
    swapped = values[::-1]
    row = lambda vs, right: Row("rule_sorting", "sorting", gold, show(vs), verdict(right))
    return [
        row(values, True),
        row(values, True),
        row(swapped, False),
        row(values[:-1], False),
        row([abs(v) for v in values], all(v >= 0 for v in values)),
        row([*values[:-1], values[-1] + 1], False)
    ]


@rows("countdown", "rule_countdown")
def countdown(r):
    a, b, c = r.sample(range(2, 20), 3)
    shapes = [(a * b + c, "%d %s %d + %d"), (a * b - c, "%d %s %d - %d")]
    target, shape = r.choice(shapes)
    if target < 2:
        return []
    times = lambda: r.choice(["*", "×", "\\times", "\\cdot", "·"])
    text = lambda a, b, c: shape % (a, times(), b, c)
    dress = lambda t: r.choice(["%s", "$%s$", "\\boxed{%s}", "%s = {}".format(target), "<answer>%s</answer>"]
                              ) % t
    numbers = (("numbers", r.sample([a, b, c], 3)),)
    row = lambda t, right: Row("rule_countdown", "countdown", str(target), dress(t), verdict(right), numbers)
    plain = lambda t, right: Row("rule_countdown", "countdown", str(target), t, verdict(right), numbers)
    return [
        row(text(a, b, c), True),
        row(text(b, a, c), True),
        plain(text(a, b, c + 1), False),
        plain(f"{a} {times()} {b}", False),
        plain(str(target), False),
        plain(f"{target - 1} + 1", False),
        plain(text(a, c, b), a * c + (b if "+" in shape else -b) == target)
    ]


@rows("regex", "rule_regex")
def regex(r):
    n, m = r.sample(range(2, 900), 2)
    options = (("pattern", "Final result: (-?\\d+)"),)
    row = lambda text, expected, options=options, gold=str(n): Row("rule_regex", "regex", gold, text,
                                                                   expected, (), options)
    out = [
        row(f"Final result: {n}", "correct"),
        row(f"Final result: {m}\nWait.\nFinal result: {n}", "correct"),
        row(f"Final result: {n}\nWait.\nFinal result: {m}", "wrong"),
        row(f"It is {n}.", "unparsable"),
        row(f"Final result: {m}", "wrong")
    ]
    k = r.randint(2, 5)
    number = "7" * k
    out += [
        row(f"It is \\boxed{{{number}}}.", "correct", (), f"\\d{{{k}}}"),
        row(f"It is \\boxed{{{number}1}}.", "wrong", (), f"\\d{{{k}}}"),
        row(f"It is \\boxed{{near {number}}}.", "wrong", (), f"\\d{{{k}}}")
    ]
    return out


@rows("exact", "rule_exact")
def exact(r):
    gold, other = r.sample(["teal", "blue", "maple", "17", "26", "x+1", "north", "Riga"], 2)
    row = lambda text, right: Row("rule_exact", "exact", gold, text, verdict(right))
    return [
        row(f"It is \\boxed{{{gold}}}. Check: \\boxed{{", True),
        row(f"It is \\boxed{{{other}}}. Check: \\boxed{{{gold}", False),
        row(f"<think>{other}?</think><answer>{gold}</answer>", True),
        row(f"<think>{gold}?</think><answer>{other}</answer>", False),
        row(gold, True),
        row(other, False),
        row(f"\\boxed{{{gold}}}", True),
        row(f"Answer: {gold}", True),
        row(f"\\boxed{{{gold}s}}", False)
    ]


@rows("after-thinking", "rule_math")
def after_thinking(r):
    n, m = r.sample(range(2, 400), 2)
    options = (("after_thinking", True),)

    def row(text, expected, verifier="rule_math", gold=str(n)):
        return Row(verifier, "after-thinking", gold, text, expected, (), options)

    return [
        row(f"<think>Maybe \\boxed{{{n}}}. Or", "unparsable"),
        row(f"Let me try \\boxed{{{n}}}. But wait", "unparsable"),
        row(f"<think>Maybe \\boxed{{{m}}}.</think>It is \\boxed{{{n}}}.", "correct"),
        row(f"<think>Maybe \\boxed{{{n}}}.</think>It is \\boxed{{{m}}}.", "wrong"),
        row(f"<think>a</think>So\n#### {n}", "correct", "rule_gsm8k"),
        row(f"<think>So {n}\n#### {n}\nOr is it", "unparsable", "rule_gsm8k"),
        row(f"<think>It may be {n}", "unparsable", "rule_number"),
        row(f"<think>It may be {m}</think>{n}", "correct", "rule_number"),
        row(f"<think>Answer: {n}\nor", "unparsable", "rule_dapo"),
        row(f"<think>a</think>Answer: {n}", "correct", "rule_dapo"),
        row(f"<think>Maybe \\boxed{{{n}}}.</think>So it is {m}", "unparsable"),
        row(f"</think>\\boxed{{{n}}}", "correct"),
    ]

"""Numbers with words, and words: units, money, percent, times, counts, phrases. The rules give the labels."""

from framework import natural, near, rows

THINGS = [
    "apples", "marbles", "students", "books", "tickets", "points", "days", "ways", "pages", "coins", "people",
    "games", "tiles"
]
UNITS = [
    "cm", "m", "km", "kg", "g", "inches", "feet", "meters", "miles", "hours", "minutes", "seconds", "liters",
    "mph", "pounds", "yards", "mL", "sq ft", "mm", "tons", "gallons", "km/h", "m/s", "square miles", "degrees"
]
POWERS = ["cm^2", "m^2", "cm^3", "m^3", "ft^2", "km^2", "in^2"]


def spaced_text(before, words, r):
    """A number and words behind it: inside or outside of \\text, with any space between."""
    command = r.choice(["\\text", "\\text", "\\text", "\\textrm", "\\mathrm", "\\mbox"])
    if command == "\\mathrm":
        words = words.replace(" ", "\\ ")
    return r.choice([
        f"{before}{command}{{ {words}}}",
        f"{before} {command}{{ {words}}}",
        f"{before}\\ {command}{{{words}}}",
        f"{before}\\,{command}{{{words}}}",
        f"{before}~{command}{{{words}}}",
        f"{before}\\;{command}{{{words} }}",
        f"{before} {command}{{{words}}}",
    ])


def loose(before, words, r):
    """The same, or without \\text."""
    return f"{before} {words}" if r.random() < 0.3 else spaced_text(before, words, r)


@rows("text-reply-adds")
def reply_adds(r):
    n = natural(r, 2, 400)
    m = near(abs(n) + 3, r)
    m = abs(m) + 2
    word = r.choice([
        "or", "less than", "more than", "of", "out of", "minus", "plus", "times", "and", "divided by", "over",
        "below"
    ])
    wrong = [
        f"{n}\\text{{ {word} }}{m}", f"{n} \\text{{ {word} }} {m}", f"{n}\\text{{ million}}",
        f"{n}\\text{{ or more}}", f"{n}\\text{{ dozen}}", f"{n} \\text{{ hundred}}"
    ]
    wrong += [
        f"\\text{{not }}{n}", f"\\text{{more than }}{n}", f"\\text{{at least }}{n}",
        f"{n}\\text{{ thousand}}", f"\\text{{less than }}{n}", f"{n}\\text{{ squared}}",
        f"{n} \\text{{ is not the answer}}"
    ]
    wrong += [
        f"{m}\\text{{ {r.choice(THINGS)}}}", f"{n}\\text{{ or }}{m}",
        f"\\text{{between }}{n}\\text{{ and }}{m}", f"{n}\\text{{ or fewer}}", f"{n} million", f"{n} or {m}",
        f"\\text{{twice }}{n}"
    ]
    right = [
        spaced_text(n, r.choice(THINGS), r),
        spaced_text(n, r.choice(UNITS), r),
        spaced_text(n, r.choice(THINGS), r)
    ]
    return (str(n), right, wrong)


PHRASES = [
    ("{x} \\text{{ is odd}}", "{x} \\text{{ is even}}"),
    ("{x} \\text{{ is prime}}", "{x} \\text{{ is composite}}"),
    ("{n} \\text{{ or more}}", "{n} \\text{{ or less}}"),
    ("{n} \\text{{ or fewer}}", "{n} \\text{{ or more}}"),
    ("\\text{{at least }}{n}", "\\text{{at most }}{n}"),
    ("{x} \\text{{ is a multiple of }} {n}", "{x} \\text{{ is a divisor of }} {n}"),
    ("\\text{{all }}{x} > {n}", "\\text{{no }}{x} > {n}"),
    ("{x} \\text{{ is rational}}", "{x} \\text{{ is irrational}}"),
    ("\\text{{more than }}{n}", "\\text{{less than }}{n}"),
    ("{x} \\text{{ is divisible by }} {n}", "{x} \\text{{ is not divisible by }} {n}"),
    ("f \\text{{ is increasing}}", "f \\text{{ is decreasing}}"),
]


@rows("text-phrase")
def phrases(r):
    yes, no = r.choice(PHRASES)
    x, n = r.choice("xnkm"), natural(r, 2, 60)
    fill = lambda pattern, n=n: pattern.format(x=x, n=n)
    gold = fill(yes)
    tight = lambda text: text.replace(" \\text", "\\text").replace("} ", "}")
    wide = lambda text: text.replace("\\text{", " \\text{").replace("}", "} ").strip()
    right = [
        gold,
        tight(gold),
        wide(gold),
        gold.replace("\\text", "\\textrm"),
        gold.replace("\\text", "\\mbox")
    ]
    wrong = [fill(no), tight(fill(no))]
    wrong += [x] if "{x}" in yes else []
    if "{n}" in yes:
        wrong += [fill(yes, n + 1), str(n)]
    return (gold, right, wrong)


COMPOUNDS = [("hours", "minutes", 60), ("feet", "inches", 12), ("minutes", "seconds", 60),
             ("pounds", "ounces", 16), ("weeks", "days", 7), ("years", "months", 12),
             ("dollars", "cents", 100)]


@rows("text-compound")
def compounds(r):
    if r.random() < 0.25:
        q, d = r.randint(3, 60), r.randint(2, 12)
        form = lambda q, d: r.choice([
            f"{q}\\text{{ R }}{d}", f"{q} \\text{{ R }} {d}", f"{q}\\text{{ R}}{d}",
            f"{q}\\ \\text{{R}}\\ {d}", f"{q} R {d}"
        ])
        return (f"{q}\\text{{ R }}{d}", [form(q, d) for _ in range(3)],
                [str(q), form(q, d + 1), form(q + 1, d), form(d, q)])
    first, second, limit = r.choice(COMPOUNDS)
    a, b = r.randint(2, 12), r.randint(2, limit - 1)
    form = lambda a, b: r.choice([
        f"{a}\\text{{ {first} and }}{b}\\text{{ {second}}}",
        f"{a} \\text{{ {first} and }} {b} \\text{{ {second}}}",
        f"{a}\\text{{ {first} }}{b}\\text{{ {second}}}",
        f"{a}\\text{{ {first}, }}{b}\\text{{ {second}}}",
        f"\\text{{{a} {first} and {b} {second}}}",
        f"{a}~\\text{{{first}}}~\\text{{and}}~{b}~\\text{{{second}}}",
        f"{a} {first} and {b} {second}",
    ])
    wrong = [
        f"{a}\\text{{ {first}}}",
        form(a, b + 1),
        form(a + 1, b), f"{b}\\text{{ {second}}}",
        str(a),
        form(a, b - 1)
    ]
    return (f"{a}\\text{{ {first} and }}{b}\\text{{ {second}}}", [form(a, b) for _ in range(4)], wrong)


COLOURS = [
    "red", "green", "blue", "white", "black", "yellow", "apples", "pears", "boys", "girls", "dogs", "cats"
]


@rows("text-two-colours")
def colours(r):
    c, d = r.sample(COLOURS, 2)
    a, b = r.sample(range(2, 40), 2)
    form = lambda a, b, c=c, d=d: r.choice([
        f"{a}\\text{{ {c}, }}{b}\\text{{ {d}}}",
        f"{a} \\text{{ {c}, }} {b} \\text{{ {d}}}",
        f"{a}\\text{{ {c}}}, {b}\\text{{ {d}}}",
        f"{a}\\text{{ {c} and }}{b}\\text{{ {d}}}",
        f"\\text{{{a} {c}, {b} {d}}}",
        f"{a}~\\text{{{c}}},\\ {b}~\\text{{{d}}}",
        f"{a} {c}, {b} {d}",
        f"{a}\\text{{ {c}}}\\text{{ and }}{b}\\text{{ {d}}}",
    ])
    wrong = [
        form(b, a),
        form(a, b + 1),
        form(a + 1, b), f"{a}\\text{{ {c}}}",
        form(a, b, d, c),
        str(a), f"{a}, {b + 2}"
    ]
    return (f"{a}\\text{{ {c}, }}{b}\\text{{ {d}}}", [form(a, b) for _ in range(4)], wrong)


@rows("time-of-day")
def times(r):
    h, m = r.randint(1, 12), r.randint(0, 59)
    half = r.choice(["a", "p", ""])

    def form(h, m, half):
        colon = r.choice([":", ":", "{:}", "\\!:\\!"])
        clock = f"{h}{colon}{m:02d}"
        if not half:
            return r.choice([clock, clock, f"\\text{{{h}:{m:02d}}}"])
        mark = r.choice([f"{half}.m.", f"{half}m", f"{half.upper()}M", f"{half.upper()}.M.", f"{half}.m."])
        return r.choice([
            f"{clock}\\text{{ {mark}}}", f"{clock} \\text{{ {mark}}}", f"{clock}\\ \\text{{{mark}}}",
            f"\\text{{{h}:{m:02d} {mark}}}", f"{clock}~\\mathrm{{{mark}}}", f"{h}:{m:02d} {mark}",
            f"{h}:{m:02d}{mark.replace('.', '')}"
        ])

    other = {"a": "p", "p": "a"}.get(half, "")
    wrong = [
        form(h % 12 + 1, m, half),
        form(h, (m + 10) % 60, half),
        form(h, (m + 1) % 60, half),
        str(h),
        str(m) if m != h else str(m + 61)
    ]
    wrong += [form(h, m, other), form(h, m, other)] if half else []
    gold = f"{h}:{m:02d}" + (f"\\text{{ {half}.m.}}" if half else "")
    return (gold, [form(h, m, half) for _ in range(4)], wrong)


MAGNITUDES = {
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "hundred": 100
}


@rows("magnitude-word")
def magnitudes(r):
    word, factor = r.choice(list(MAGNITUDES.items()))
    tenths = r.choice([0, 0, 0, 5, 2, 25]) if factor >= 1000 else 0
    whole = r.randint(2, 90)
    text = f"{whole}.{tenths}" if tenths else str(whole)
    value = whole * factor + (factor * tenths // 10**len(str(tenths)) if tenths else 0)
    words = lambda text, word: loose(text, word, r)
    group = lambda n, sep: f"{n:,}".replace(",", sep)
    right = [
        words(text, word),
        words(text, word),
        str(value),
        group(value, ","),
        group(value, "{,}"),
        group(value, "\\,")
    ]
    if factor > 1000:
        right += [
            f"{text} \\times 10^{{{len(str(factor)) - 1}}}", f"{text}\\cdot 10^{len(str(factor)) - 1}"
            if factor < 10**9 else f"{text} \\cdot 10^{{{len(str(factor)) - 1}}}"
        ]
    other = r.choice([w for w in MAGNITUDES if w != word])
    wrong = [
        text,
        words(text, other),
        words(whole + 1, word),
        str(value * 10),
        group(value + 1, ","),
        words(whole * 10, word),
        str(whole)
    ]
    wrong = [w for w in wrong if w != text or text != str(value)]
    gold = r.choice([f"{text}\\text{{ {word}}}", f"{text}\\text{{ {word}}}", str(value)])
    return (gold, right, wrong)


@rows("unit-plain")
def units(r):
    n = natural(r, 2, 999)
    m = near(n, r)
    unit = r.choice(UNITS)
    power = r.choice(POWERS)
    base, exponent = power.split("^")
    right = [
        f"{n} {unit}",
        spaced_text(n, unit, r),
        spaced_text(n, unit, r),
        spaced_text(n, f"square {r.choice(['meters', 'inches', 'units', 'centimeters'])}", r),
        spaced_text(n, "cubic feet", r)
    ]
    right += [
        f"{n}\\,\\mathrm{{{base}}}^{exponent}", f"{n}\\text{{ {base}}}^{exponent}",
        f"{n} \\text{{ {base}}}^{{{exponent}}}", f"{n}\\ \\mathrm{{{base}^{exponent}}}",
        f"{n}\\text{{ units}}"
    ]
    right += [
        f"{n}\\text{{ km/h}}", f"{n}\\,\\text{{m/s}}", f"{n}\\ \\mathrm{{km/h}}",
        f"{n}\\text{{ {unit} per day}}", f"{n}\\text{{ m/s}}^2", f"{n}\\,\\mathrm{{m/s^2}}", f"{n} m/s^2",
        f"{n}~\\mathrm{{kg}}\\cdot\\mathrm{{m}}", f"{n} \\frac{{\\text{{km}}}}{{\\text{{h}}}}"
    ]
    wrong = [
        f"{m} {unit}",
        spaced_text(m, unit, r), f"{n}x", f"{n}y", f"{n}\\text{{ {unit} or }}{m}\\text{{ {unit}}}",
        f"{m}\\,\\mathrm{{{base}}}^{exponent}", f"{n}x^2", f"{n}\\pi\\text{{ {unit}}}", f"{n}n",
        f"{n}\\text{{ {unit}}} + {abs(m)}"
    ]
    return (str(n), right, wrong)


@rows("degrees")
def degrees(r):
    n = r.randint(2, 359)
    m = r.choice([v for v in (180 - n, 90 - n, n + 1, n * 10, 360 - n) if v != n])
    form = lambda n: r.choice([
        f"{n} degrees", f"{n}\\degree", f"{n}^\\circ", f"{n}^{{\\circ}}", f"{n}°", f"{n}\\text{{ degrees}}",
        f"{n} \\degree", f"{n}^{{\\circ}} ", f"{n}\\,^\\circ", f"{n}^ \\circ", f"{n}\\text{{ deg}}"
    ])
    gold = r.choice([str(n), f"{n}^\\circ", f"{n}^{{\\circ}}"])
    return (gold, [form(n) for _ in range(5)] + [str(n)],
            [form(m), form(m), f"{n}^2", f"{n}^{{2}}", f"{n}^0", f"{m}"])


@rows("percent")
def percents(r):
    n = r.choice([str(r.randint(1, 99)), f"{r.randint(1, 99)}.{r.randint(1, 9)}", str(r.randint(101, 400))])
    form = lambda n: r.choice([
        f"{n} percent", f"{n}\\text{{ percent}}", f"{n}\\%", f"{n}%", f"{n} \\%", f"{n}\\,\\%",
        f"{n}\\ \\text{{percent}}", f"{n}~\\%", f"{n} per cent"
    ])
    value = f"{float(n) / 100:.4f}".rstrip("0")
    wrong = [
        form(value),
        form(f"{float(n) + 1:g}"),
        form(f"{100 - float(n):g}") if float(n) != 50 else form("51"),
        form(f"{float(n) * 10:g}"), f"{float(n) / 1000:g}"
    ]
    return (f"{n}\\%", [form(n) for _ in range(4)] + [value], wrong)


@rows("money")
def money(r):
    n = natural(r, 2, 900)
    cents = r.choice([None, None, r.randint(1, 99)])
    show = lambda n, c: f"{n}" if c is None else f"{n}.{c:02d}"

    def form(n, c):
        v = show(n, c)
        whole = [f"{v}.00", f"\\${v}.00"] if c is None else [f"\\${v}"]
        return r.choice([
            v, f"\\${v}", f"\\$ {v}", f"{v}\\text{{ dollars}}", f"{v} dollars", f"\\text{{\\${v}}}",
            f"\\$\\,{v}", *whole, f"{v}\\text{{ USD}}"
        ])

    gold = f"\\${show(n, cents)}"
    other = abs(near(n, r))
    wrong = [
        form(n + 1, cents),
        form(n * 10, cents),
        form(n, 50 if cents != 50 else 5), f"{gold}\\text{{ million}}", f"{gold}\\text{{ thousand}}",
        form(other if other != n else n + 2, cents), f"-{gold}"
    ]
    return (gold, [form(n, cents) for _ in range(5)], wrong)


WORDS = [
    "Tuesday", "Friday", "even", "odd", "ellipse", "parabola", "hyperbola", "circle", "Yes", "No", "blue",
    "green", "north", "Alice", "Carlos", "isosceles", "convergent", "divergent", "infinitely many",
    "no solution", "right triangle"
]


@rows("word")
def words(r):
    gold = r.choice(WORDS)
    other = r.choice([w for w in WORDS if w.lower() != gold.lower()])
    style = lambda w: r.choice([
        lambda: w if " " not in w else f"\\text{{{w}}}",
        lambda: f"\\text{{{w}}}",
        lambda: f"\\textbf{{{w}}}",
        lambda: f"\\text{{{w}.}}",
        lambda: f"\\text{{{w.lower()}}}",
        lambda: f"\\text{{{w.upper()}}}",
        lambda: f"\\mathrm{{{w.replace(' ', chr(92) + ' ')}}}",
        lambda: f"\\textit{{{w}}}",
        lambda: f"**{w}**",
        lambda: f"\\text{{ {w} }}",
        lambda: f"\\text{{{w.capitalize()}}}.",
        lambda: f"\\textsf{{{w}}}",
    ])()
    wrong = [
        style(other),
        style(f"not {gold}"),
        style(f"{gold} or {other}"),
        style(f"{gold} and {other}"),
        style(other), f"\\text{{{gold}}}, \\text{{{other}}}",
        style(f"non-{gold}" if " " not in gold else f"not {gold}")
    ]
    return (r.choice([f"\\text{{{gold}}}", gold if " " not in gold else f"\\text{{{gold}}}"]),
            [style(gold) for _ in range(4)], wrong)


@rows("word-letter")
def letters(r):
    gold, other = r.sample("ABCDEF", 2)

    def style(c):
        return r.choice([
            c, f"({c})", f"{c})", f"\\textbf{{({c})}}", f"\\text{{({c})}}", f"\\text{{{c}}}",
            f"\\mathbf{{{c}}}", f"{c}.", f"\\textbf{{{c}}}", f"\\mathrm{{({c})}}", f"\\text{{{c})}}",
            f"**{c}**", f"\\textbf{{{c}.}}", f"\\boldsymbol{{{c}}}"
        ])

    wrong = [
        style(other),
        style(other), f"\\text{{{other} or {gold}}}", f"{gold}, {other}", f"\\text{{{gold} and {other}}}",
        f"\\text{{not {gold}}}"
    ]
    return (r.choice([gold, gold, f"\\text{{({gold})}}", f"({gold})",
                      f"\\text{{{gold}}}"]), [style(gold) for _ in range(4)], wrong)

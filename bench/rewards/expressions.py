"""Expression trees: written as LaTeX in a random style, and valued by sympy, which decides what is equal.

A tree is a tuple whose first element names its kind, as in ("frac", ("int", 1), ("sym", "x")). Trees keep
what sympy would carry out at once, so that 3/6, \\binom{7}{3} or 2+5 can be written down.
"""

import dataclasses
import random

import sympy

FUNCTIONS = {
    name: getattr(sympy, name) for name in ("sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "exp")
}
FUNCTIONS |= {"arctan": sympy.atan, "arcsin": sympy.asin, "arccos": sympy.acos}
PRECEDENCE = {"add": 1, "neg": 1, "mul": 2, "slash": 2, "times10": 2, "pow": 3, "fact": 3, "mixed": 2}


def integer(n):
    return ("int", n) if n >= 0 else ("neg", ("int", -n))


def rational(p, q=1):
    value = sympy.Rational(p, q)
    if value.q == 1:
        return integer(value.p)
    top = ("frac", integer(abs(value.p)), integer(value.q))
    return ("neg", top) if value < 0 else top


def symbol(name):
    return ("sym", name)


def add(*parts):
    return ("add", list(parts))


def mul(*parts):
    return ("mul", list(parts))


def root(radicand, n=2):
    return ("root", n, radicand)


@dataclasses.dataclass
class Style:
    """How one text is written; every choice carries no value."""

    fraction: str = "\\frac"
    product: str = ""
    braces: bool = False  # around exponents of one character
    brackets: tuple = ("(", ")")
    spaces: bool = False  # around + and -
    root_braces: bool = True
    shuffle: bool = False  # terms and factors in another order
    unicode: bool = False
    call: str = "brackets"  # sin(x), or "space": sin x
    upright: str = ""  # around i and e

    @staticmethod
    def plain():
        return Style()

    @staticmethod
    def draw(r, fractions=("\\frac", "\\frac", "\\dfrac", "\\tfrac", "/"), shuffle=True):
        return Style(
            fraction=r.choice(fractions),
            product=r.choice(["", "", "", " ", "\\cdot ", "\\,"]),
            braces=r.random() < 0.5,
            brackets=r.choice([("(", ")"), ("(", ")"), ("\\left(", "\\right)")]),
            spaces=r.random() < 0.5,
            root_braces=r.random() < 0.6,
            shuffle=shuffle and r.random() < 0.6,
            call=r.choice(["brackets", "brackets", "space"]),
        )


class Writer:

    def __init__(self, style=None, r=None):
        self.style = style or Style.plain()
        self.r = r or random.Random(0)

    def __call__(self, node):
        return getattr(self, "write_" + node[0])(*node[1:])

    def inside(self, node, level):
        """The text of a part: in brackets where its operator binds less than `level`."""
        kind = node[0]
        if kind == "frac" and self.style.fraction in ("/", "over"):
            kind = "slash"
        text = self(node)
        if PRECEDENCE.get(kind, 9) >= level:
            return text
        return self.style.brackets[0] + text + self.style.brackets[1]

    def write_int(self, n):
        return str(n)

    def write_dec(self, text):
        return text

    def write_sym(self, name):
        return name

    def write_const(self, name):
        if name in ("i", "e") and self.style.upright:
            return f"{self.style.upright}{{{name}}}"
        if name == "pi":
            return "π" if self.style.unicode else "\\pi"
        return {"inf": "∞" if self.style.unicode else "\\infty"}.get(name, name)

    def write_neg(self, a):
        return ("−" if self.style.unicode else "-") + self.inside(a, 2)

    def write_add(self, parts):
        if self.style.shuffle:
            parts = self.r.sample(parts, len(parts))
        gap = " " if self.style.spaces else ""
        text = self(parts[0])
        for part in parts[1:]:
            sign = "-" if part[0] == "neg" else "+"
            text += gap + sign + gap + (self.inside(part[1], 2) if part[0] == "neg" else self(part))
        return text

    def write_mul(self, parts):
        """Numbers first: x2 reads badly, and 2 3 is no product without a sign."""
        parts = sorted(parts, key=lambda part: part[0] not in ("int", "dec", "frac"))
        if self.style.shuffle:
            fixed = [part for part in parts if part[0] in ("int", "dec", "frac")]
            free = [part for part in parts if part[0] not in ("int", "dec", "frac", "func")]
            # A function without brackets would take the factor behind it.
            parts = fixed + self.r.sample(free, len(free)) + [part for part in parts if part[0] == "func"]
        text = self.inside(parts[0], 2)
        for part in parts[1:]:
            piece = self.inside(part, 3)
            sign = self.style.product
            if piece[0].isdigit() or piece[0] == "-" or (not sign.strip() and self.needs_sign(text, part)):
                sign = "\\cdot "
            if sign == "" and piece[0].isalpha() and ends_in_command(text):
                sign = " "
            text += sign + piece
        return text

    def needs_sign(self, before, part):
        """A slash binds what stands right behind it, and a function takes what follows it."""
        return (self.style.fraction == "/" and part[0] == "frac") or before.endswith("!")

    def write_frac(self, a, b):
        kind = self.style.fraction
        if kind == "/":
            return f"{self.inside(a, 2)}/{self.inside(b, 3)}"
        if kind == "over":
            return f"{{{self(a)} \\over {self(b)}}}"
        top, below = self(a), self(b)
        if not self.style.braces and len(top) == len(below) == 1 and self.r.random() < 0.3:
            return f"{kind}{top}{below}" if top.isdigit() else f"{kind} {top}{below}"
        return f"{kind}{{{top}}}{{{below}}}"

    def write_pow(self, a, b):
        base = self.inside(a, 4)
        if a[0] in ("root", "frac", "func", "log") and base == self(a):
            base = self.style.brackets[0] + base + self.style.brackets[1]
        exponent = Writer(dataclasses.replace(self.style, fraction="/"),
                          self.r)(b) if b[0] == "frac" else self(b)
        if len(exponent) == 1 and not self.style.braces:
            return f"{base}^{exponent}"
        return f"{base}^{{{exponent}}}"

    def write_root(self, n, a):
        inner = self(a)
        if self.style.unicode and n == 2 and inner.isalnum():
            return "√" + inner
        index = "" if n == 2 else f"[{n}]"
        if len(inner) == 1 and inner.isdigit() and not self.style.root_braces:
            return f"\\sqrt{index}{inner}" if index or inner.isdigit() else f"\\sqrt {inner}"
        return f"\\sqrt{index}{{{inner}}}"

    def write_func(self, name, a):
        inner = self(a)
        if self.style.call == "space" and a[0] in ("sym", "int"):
            return f"\\{name} {inner}"
        return f"\\{name}{self.style.brackets[0]}{inner}{self.style.brackets[1]}"

    def write_log(self, base, a):
        under = str(base) if base < 10 and not self.style.braces else f"{{{base}}}"
        inner = self(a)
        if self.style.call == "space" and a[0] == "int":
            return f"\\log_{under} {inner}" if len(under) > 1 else f"\\log_{under}{{{inner}}}"
        return f"\\log_{under}{self.style.brackets[0]}{inner}{self.style.brackets[1]}"

    def write_abs(self, a):
        bars = ("\\left|", "\\right|") if self.style.brackets[0] == "\\left(" else ("|", "|")
        return bars[0] + self(a) + bars[1]

    def write_floor(self, a):
        return f"\\lfloor {self(a)} \\rfloor"

    def write_ceil(self, a):
        return f"\\lceil {self(a)} \\rceil"

    def write_binom(self, n, k):
        name = self.r.choice(["\\binom", "\\dbinom", "\\tbinom", "choose"
                             ]) if self.style.shuffle else "\\binom"
        if name == "choose":
            return f"{{{self(n)} \\choose {self(k)}}}"
        return f"{name}{{{self(n)}}}{{{self(k)}}}"

    def write_fact(self, a):
        return self.inside(a, 4) + "!"

    def write_mixed(self, whole, p, q):
        return f"{whole}\\frac{{{p}}}{{{q}}}"

    def write_times10(self, mantissa, exponent):
        sign = "×" if self.style.unicode else ("\\cdot" if self.style.product == "\\cdot " else "\\times")
        return f"{mantissa} {sign} 10^{{{exponent}}}"


def ends_in_command(text):
    end = len(text)
    while end and text[end - 1].isalpha():
        end -= 1
    return end < len(text) and end and text[end - 1] == "\\"


def value(node):
    """The sympy object of a tree, exact."""
    kind, parts = node[0], node[1:]
    if kind == "int":
        return sympy.Integer(parts[0])
    if kind == "dec":
        return sympy.Rational(parts[0].replace(",", ""))
    if kind == "sym":
        return sympy.Symbol(parts[0])
    if kind == "const":
        return {"pi": sympy.pi, "i": sympy.I, "e": sympy.E, "inf": sympy.oo}[parts[0]]
    if kind in ("add", "mul"):
        values = [value(part) for part in parts[0]]
        return sympy.Add(*values) if kind == "add" else sympy.Mul(*values)
    if kind == "root":
        return sympy.root(value(parts[1]), parts[0])
    if kind == "func":
        return FUNCTIONS[parts[0]](value(parts[1]))
    if kind == "log":
        return sympy.log(value(parts[1])) / sympy.log(parts[0])
    if kind == "mixed":
        return parts[0] + sympy.Rational(parts[1], parts[2])
    if kind == "times10":
        return sympy.Rational(parts[0]) * sympy.Integer(10)**parts[1]
    values = [value(part) for part in parts]
    return {
        "neg": lambda a: -a,
        "frac": lambda a, b: a / b,
        "pow": lambda a, b: a**b,
        "abs": sympy.Abs,
        "floor": sympy.floor,
        "ceil": sympy.ceiling,
        "binom": sympy.binomial,
        "fact": sympy.factorial,
    }[kind](*values)


def tree(expression):
    """The tree of a sympy object: numbers, symbols, sums, products, powers, functions."""
    e = sympy.sympify(expression)
    if e.is_Rational:
        return rational(e.p, e.q)
    if e.is_Symbol:
        return symbol(e.name)
    for constant, name in ((sympy.pi, "pi"), (sympy.I, "i"), (sympy.E, "e")):
        if e == constant:
            return ("const", name)
    if e.is_Add:
        return ("add", [tree(part) for part in e.as_ordered_terms()])
    if e.is_Mul:
        return product_tree(e)
    if e.is_Pow:
        return power_tree(e.base, e.exp)
    return ("func", e.func.__name__, tree(e.args[0]))


def product_tree(e):
    top, below = sympy.fraction(e)
    if below != 1:
        sign, top = (-1, -top) if top.could_extract_minus_sign() else (1, top)
        quotient = ("frac", tree(top), tree(below))
        return ("neg", quotient) if sign < 0 else quotient
    factors = list(e.as_ordered_factors())
    negative = factors[0].is_Rational and factors[0] < 0
    if negative:
        factors[0] = -factors[0]
        factors = factors[1:] if factors[0] == 1 else factors
    trees = [tree(factor) for factor in factors]
    product = trees[0] if len(trees) == 1 else ("mul", trees)
    return ("neg", product) if negative else product


def power_tree(base, exponent):
    if exponent.is_Rational and exponent.p == 1 and exponent.q > 1:
        return root(tree(base), exponent.q)
    if exponent.is_Rational and exponent < 0:
        inverse = tree(base) if exponent == -1 else tree(base**-exponent)
        return ("frac", integer(1), inverse)
    if base == sympy.E:
        return ("pow", ("const", "e"), tree(exponent))
    return ("pow", tree(base), tree(exponent))


# The judges: True, False, or None where sympy cannot tell. A row without a verdict is not used.


def same_number(a, b):
    difference = sympy.sympify(a) - sympy.sympify(b)
    if difference == 0:
        return True
    size = max(1, abs(complex(sympy.N(a, 15))))
    if abs(sympy.N(difference, 60)) > size * sympy.Float("1e-40"):
        return False
    return True if sympy.simplify(difference) == 0 or difference.equals(0) else None


def same_function(a, b):
    """As functions of their letters: rational ones for certain, others by simplification and by value."""
    if a.free_symbols != b.free_symbols and sympy.simplify(a).free_symbols != sympy.simplify(b).free_symbols:
        return False
    if sympy.cancel(sympy.together(a - b)) == 0 or sympy.simplify(a - b) == 0:
        return True
    point = {s: sympy.Rational(7 + 4 * i, 5 + i) for i, s in enumerate(sorted(a.free_symbols, key=str))}
    return False if abs(sympy.N((a - b).subs(point), 40)) > sympy.Float("1e-20") else None


def same_equation(a, b):
    """Pairs (left, right): the same up to moving terms and a factor that is a number."""
    left, right = (sympy.expand(left - right) for left, right in (a, b))
    if left == 0 or right == 0:
        return None
    ratio = sympy.cancel(left / right)
    return bool(ratio.is_number and ratio != 0)


def same_object(a, b):
    """Sets and matrices, which sympy normalises."""
    return bool(a == b)

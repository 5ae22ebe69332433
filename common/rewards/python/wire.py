"""Values between a program under test and its judge: two interpreters, one channel, lines of JSON.

Plain data travels by value: numbers, text, the built-in containers and what the standard library counts
as values. Containers of a request that the receiver changed are sent back changed, so that a
function that works in place is seen to. Everything else stays where it is and travels as a number
by which its owner can be asked to act on it ("do"). Nothing here runs what the other side sends.
"""
import builtins
import collections
import datetime
import decimal
import fractions
import json

LONGEST = 16 << 20  # bytes of one message
SMALL = 1 << 63     # integers above it travel in hexadecimal: the decimal form is slow, and limited

MUTABLE = {list: "l", dict: "d", set: "s", bytearray: "a", collections.deque: "q",
           collections.OrderedDict: "od", collections.Counter: "n", collections.defaultdict: "dd"}
TYPES = {tag: kind for kind, tag in MUTABLE.items()}
# Classes that can be handed over as such. Not `type`: who can make classes can make one that equals all.
KINDS = frozenset("bool int float complex str bytes bytearray list tuple dict set frozenset range".split())
MOMENTS = {kind.__name__: kind for kind in
           (datetime.date, datetime.datetime, datetime.time)}


class Lost(BaseException):
    """The other side has gone, or speaks nonsense: no `except Exception` of a test hides it."""


class Peer:
    def __init__(self, channel):
        self.channel = channel  # a binary file, unbuffered for writing
        self.lost = False
        self.owned = []         # what the other side may name
        self.numbers = {}       # id -> number in `owned`

    # --- messages

    def send(self, message):
        try:
            self.channel.write(json.dumps(message).encode() + b"\n")
            self.channel.flush()
        except OSError as error:
            self.lost = True
            raise Lost("the channel is closed") from error

    def receive(self):
        if self.lost:
            raise Lost("the channel is closed")
        try:
            line = self.channel.readline(LONGEST + 1)
            if line.endswith(b"\n"):
                return json.loads(line)
        except (OSError, ValueError, RecursionError):
            pass
        self.lost = True
        raise Lost("the program ended, or spoke out of turn")

    def ask(self, op, /, *args, **kwargs):
        """Has the other side do `op`; meanwhile it may ask for something itself."""
        seen = {}
        named = [[name, self.encode(value, seen)] for name, value in kwargs.items()]
        self.send(["do", op, [self.encode(value, seen) for value in args], named])
        lent = [value for _, value in seen.values()]
        message = self.receive()
        while message[0] == "do":
            self.serve(message)
            message = self.receive()
        kind, value, updates, printed = message
        table = list(lent)
        unpack = self.unpack_error if kind == "raise" else self.decode
        try:
            result = unpack(value, table)
            self.refill([(lent[number], content) for number, content in updates or []], table)
        except Exception as error:
            raise ValueError(f"what came back cannot be read: {error}") from error
        self.heard(printed)
        if kind == "raise":
            raise result
        return result

    def serve(self, message):
        _, op, args, named = message
        table = []
        try:
            values = [self.decode(value, table) for value in args]
            kwargs = {name: self.decode(value, table) for name, value in named}
        except Exception as error:
            raise ValueError(f"what was asked cannot be read: {error}") from error
        lent = list(table)
        try:
            kind, value = "ok", self.perform(op, values, kwargs)
        except Lost:
            raise
        except BaseException as error:
            kind, value = "raise", error
        seen = {id(container): (number, container) for number, container in enumerate(lent)}
        pack = self.pack_error if kind == "raise" else self.encode
        reply = pack(value, seen)
        again = {}
        now = [[name, self.encode(value, again)] for name, value in kwargs.items()]
        changed = [self.encode(value, again) for value in values] != args or now != named
        updates = [[n, self.content(c, seen)] for n, c in enumerate(lent)] if changed else None
        self.send([kind, reply, updates, self.printed()])

    # --- values

    def encode(self, value, seen):
        kind = type(value)
        if value is None or kind in (bool, str, float):
            return value
        if kind is int:
            return value if -SMALL < value < SMALL else ["i", hex(value)]
        if kind in MUTABLE:
            known = seen.get(id(value))
            if known is not None:
                return ["=", known[0]]
            number = len(seen)
            seen[id(value)] = (number, value)
            return [MUTABLE[kind], number, self.content(value, seen)]
        if kind is tuple:
            return ["t", [self.encode(item, seen) for item in value]]
        if kind is frozenset:
            return ["f", [self.encode(item, seen) for item in value]]
        if kind is bytes:
            return ["b", value.hex()]
        if kind is complex:
            return ["c", value.real, value.imag]
        if kind is range:
            return ["r", value.start, value.stop, value.step]
        if kind is decimal.Decimal:
            return ["D", str(value)]
        if kind is fractions.Fraction:
            return ["F", hex(value.numerator), hex(value.denominator)]
        if kind.__name__ in MOMENTS and kind is MOMENTS[kind.__name__]:
            return ["m", kind.__name__, value.isoformat()]
        if kind is datetime.timedelta:
            return ["T", value.days, value.seconds, value.microseconds]
        if value is Ellipsis or value is NotImplemented:
            return ["k", repr(value)]
        if kind is type and value.__name__ in KINDS and getattr(builtins, value.__name__) is value:
            return ["y", value.__name__]
        if kind.__module__ == "numpy" and hasattr(value, "dtype") and hasattr(value, "tolist"):
            return ["np", value.dtype.str, list(value.shape), self.encode(value.tolist(), {})]
        return self.reference(value, seen)

    def content(self, value, seen):
        if isinstance(value, bytearray):
            return value.hex()
        if isinstance(value, dict):
            pairs = [[self.encode(k, seen), self.encode(v, seen)] for k, v in value.items()]
            factory = getattr(value, "default_factory", None)
            return [self.encode(factory, seen), pairs]
        return [self.encode(item, seen) for item in value]

    def refill(self, updates, table):
        fresh = [(old, type(old)(), content) for old, content in updates]
        for _, new, content in fresh:
            self.fill(new, content, table)
        for old, new, _ in fresh:
            old.clear()
            (old.update if isinstance(old, (dict, set)) else old.extend)(new)

    def decode(self, data, table):
        if not isinstance(data, list):
            return data
        tag = data[0]
        if tag in TYPES:
            value = TYPES[tag]()
            if data[1] != len(table):
                raise ValueError("containers are numbered as they come")
            table.append(value)
            self.fill(value, data[2], table)
            return value
        if tag == "=":
            return table[data[1]]
        if tag in ("t", "f"):
            return (tuple if tag == "t" else frozenset)(self.decode(x, table) for x in data[1])
        if tag == "i":
            return int(data[1], 16)
        if tag == "b":
            return bytes.fromhex(data[1])
        if tag == "c":
            return complex(float(data[1]), float(data[2]))
        if tag == "r":
            return range(int(data[1]), int(data[2]), int(data[3]))
        if tag == "D":
            return decimal.Decimal(str(data[1]))
        if tag == "F":
            return fractions.Fraction(int(data[1], 16), int(data[2], 16))
        if tag == "m":
            return MOMENTS[data[1]].fromisoformat(data[2])
        if tag == "T":
            return datetime.timedelta(*map(int, data[1:4]))
        if tag == "k":
            return {"Ellipsis": Ellipsis, "NotImplemented": NotImplemented}[data[1]]
        if tag == "y":
            if data[1] not in KINDS:
                raise ValueError("no class of plain data")
            return getattr(builtins, data[1])
        if tag == "np":
            return self.array(data, table)
        if tag == "own":
            return self.owned[data[1]]
        return self.remote(data, table)

    def array(self, data, table):
        import numpy
        if data[1].lstrip("<>|=")[:1] not in "?bBiufcU":
            raise ValueError("an array of plain numbers or text")
        made = numpy.array(self.decode(data[3], []), dtype=numpy.dtype(data[1]))
        return made.reshape(data[2]) if data[2] else made[()]

    def fill(self, value, content, table):
        """Puts what `content` wrote into an empty container."""
        if isinstance(value, bytearray):
            value.extend(bytes.fromhex(content))
        elif isinstance(value, dict):
            if isinstance(value, collections.defaultdict):
                value.default_factory = self.decode(content[0], table)
            for key, item in content[1]:
                dict.__setitem__(value, self.decode(key, table), self.decode(item, table))
        else:
            add = value.add if isinstance(value, set) else value.append
            for item in content:
                add(self.decode(item, table))

    def own(self, value):
        """The number by which the other side may name `value`."""
        number = self.numbers.get(id(value))
        if number is None:
            number = len(self.owned)
            self.owned.append(value)
            self.numbers[id(value)] = number
        return number

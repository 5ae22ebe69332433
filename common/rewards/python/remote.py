"""What the judge sees of the answer's objects that are no plain data.

The rule that keeps a verdict honest: an object of the answer is asked about itself and about other
objects of the answer, never whether it equals, precedes or contains a value of the tests. Differences
and quotients with such a value would tell what is expected, so they give an object that answers no
question any more, such as whether it is small.
"""

TESTS = "tests"  # the module that the tests are
TELLING = ("sub", "truediv", "floordiv", "mod", "divmod", "and", "or", "xor")
LOCAL = {"and": "and_", "or": "or_"}  # names that `operator` writes otherwise


class Void(Exception):
    """The tests are at fault, whatever the answer is."""


class Remote:
    """An object that the answer keeps."""

    def __init__(self, peer, number, spoiled=False):
        fields = self.__dict__
        fields["_peer"], fields["_number"], fields["_spoiled"] = peer, number, spoiled

    def __getattr__(self, name):
        if name.startswith("__") and name not in ("__name__", "__doc__", "__wrapped__"):
            raise AttributeError(name)
        return told(self, "getattr", name)

    def __setattr__(self, name, value):
        told(self, "setattr", name, value)

    def __delattr__(self, name):
        told(self, "delattr", name)

    def __call__(self, *args, **kwargs):
        return told(self, "call", *args, **kwargs)

    @property
    def __class__(self):
        kind = told(self, "class")
        return like(kind) if type(kind) is Remote else Remote

    def __instancecheck__(self, value):
        return isa(value) and self._peer.ask("isinstance", value, self) is True

    def __subclasscheck__(self, value):
        return isa(value) and self._peer.ask("issubclass", value, self) is True

    def __eq__(self, other):
        return told(self, "eq", other) is True if isa(other) else NotImplemented

    def __ne__(self, other):
        return told(self, "ne", other) is True if isa(other) else NotImplemented

    def __contains__(self, item):
        if isa(item):
            return told(self, "contains", item) is True
        return any(item is found or item == found for found in self)

    def __hash__(self):
        return of(int, told(self, "hash"))

    def __bool__(self):
        return of(bool, told(self, "bool"))

    def __len__(self):
        return of(int, told(self, "len"))

    def __deepcopy__(self, memo):
        return told(self, "deepcopy")

    def __exit__(self, kind, error, trace):
        return told(self, "exit", None, None, None)


def like(kind):
    """A class here with the name of the answer's."""
    peer, number = kind.__dict__["_peer"], kind.__dict__["_number"]
    if number not in peer.likes:
        peer.likes[number] = type(of(str, kind.__name__), (Remote,), {"_remote_class": number})
    return peer.likes[number]


async def awaited(remote):
    """A coroutine of the answer: its own event loop runs it."""
    return told(remote, "run")


def isa(value):
    return type(value) is Remote or "_remote_number" in getattr(type(value), "__dict__", ())


def of(kind, value):
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {type(value).__name__}")
    return value


def told(remote, op, /, *args, **kwargs):
    """The answer's reply; from a spoiled object only another spoiled object."""
    fields = remote.__dict__
    result = fields["_peer"].ask(op, remote, *args, **kwargs)
    if fields["_spoiled"] and op not in ("eq", "ne", "class", "repr", "setattr"):
        if type(result) is not Remote:
            raise TypeError("the difference between an object of the answer and a value of the "
                            "tests answers no question")
        return Remote(fields["_peer"], result.__dict__["_number"], spoiled=True)
    return result


def _unary(op, kind=None):
    return lambda self, *args: told(self, op, *args) if kind is None else of(
        kind, told(self, op, *args))


def _ordered(op):
    return lambda self, other: told(self, op, other) is True if isa(other) else NotImplemented


def _binary(name, swapped):
    op = LOCAL.get(name, name)
    def act(self, other):
        peer = self.__dict__["_peer"]
        spoils = self.__dict__["_spoiled"] or (name in TELLING and not isa(other)) or (
            type(other) is Remote and other.__dict__["_spoiled"])
        result = peer.ask(op, other, self) if swapped else peer.ask(op, self, other)
        if not spoils:
            return result
        if type(result) is not Remote:
            raise TypeError("the answer's object was compared with a value of the tests")
        return Remote(peer, result.__dict__["_number"], spoiled=True)
    return act


for _name in ("lt", "le", "gt", "ge"):
    setattr(Remote, f"__{_name}__", _ordered(_name))
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "matmul", "and",
              "or", "xor", "lshift", "rshift"):
    setattr(Remote, f"__{_name}__", _binary(_name, False))
    setattr(Remote, f"__r{_name}__", _binary(_name, True))
for _name in ("neg", "pos", "invert", "abs", "round", "getitem", "setitem", "delitem", "iter",
              "next", "reversed", "enter", "copy"):
    setattr(Remote, f"__{_name}__", _unary(_name))
for _name, _kind in (("int", int), ("index", int), ("float", float), ("complex", complex),
                     ("str", str), ("repr", str), ("format", str)):
    setattr(Remote, f"__{_name}__", _unary(_name, _kind))


def derived(base, value, peer, number):
    """Plain data of a class of the answer's own: the data is here, its other attributes are there."""
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return peer.ask("getattr", self, name)
    if base not in (bool, int, float, str, tuple, list, dict, set, frozenset):
        raise TypeError(f"data of {base.__name__}")
    kind = type(base.__name__, (base,), {"__getattr__": __getattr__, "_remote_number": number})
    return kind(value)

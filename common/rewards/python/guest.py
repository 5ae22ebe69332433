"""The program under test: runs the answer as a module and then does what its judge asks.

What the answer may do to this interpreter is its own affair: the judge, in another one, believes
nothing but plain data. Started with the program's file as its only argument; the channel is descriptor 3.
"""
import builtins
import copy
import importlib
import io
import operator
import os
import sys
import types

from wire import Lost, Peer

MOST_PRINTED = 256 << 10

UNARY = {name: getattr(operator, name) for name in ("neg", "pos", "invert", "index", "abs")}
BINARY = {name: getattr(operator, name) for name in
          ("eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "floordiv", "mod",
           "pow", "matmul", "and_", "or_", "xor", "lshift", "rshift", "contains", "getitem",
           "setitem", "delitem")}
ACTIONS = {
    **UNARY, **BINARY, "divmod": divmod, "getattr": getattr, "setattr": setattr,
    "delattr": delattr, "len": len, "iter": iter, "next": next, "bool": bool, "str": str,
    "repr": repr, "hash": hash, "format": format, "int": int, "float": float, "complex": complex,
    "round": round, "reversed": reversed, "isinstance": isinstance, "issubclass": issubclass,
    "class": type, "copy": copy.copy, "deepcopy": copy.deepcopy,
    "call": lambda function, *args, **kwargs: function(*args, **kwargs),
    "enter": lambda manager: type(manager).__enter__(manager),
    "exit": lambda manager, *why: type(manager).__exit__(manager, *why),
}


class Host:
    """Something that the tests handed over and keep: whatever is done to it is asked of them."""

    def __init__(self, peer, number):
        self.__dict__.update(_peer=peer, _number=number)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return self._peer.ask("getattr", self, name)

    def __setattr__(self, name, value):
        self._peer.ask("setattr", self, name, value)

    def __call__(self, *args, **kwargs):
        return self._peer.ask("call", self, *args, **kwargs)

    def __hash__(self):
        return hash(self._number)


def _asks(op):
    return lambda self, *args: self._peer.ask(op, self, *args)


for _name in ("eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "len", "iter",
              "next", "bool", "str", "repr", "getitem", "setitem", "delitem", "contains", "enter",
              "exit"):
    setattr(Host, f"__{_name}__", _asks(_name))


class Printed(io.TextIOBase):
    """Standard output: what is printed while a test waits is told to the test as well."""

    def __init__(self, stream):
        super().__init__()
        self._stream = stream
        self.kept = []
        self._size = 0

    def writable(self):
        return True

    def write(self, text):
        self._stream.write(text)
        if self._size < MOST_PRINTED:
            self.kept.append(text)
            self._size += len(text)
        return len(text)

    def flush(self):
        self._stream.flush()

    def take(self):
        self._stream.flush()
        text = "".join(self.kept)
        self.kept, self._size = [], 0
        return text

    def fileno(self):
        return self._stream.fileno()


class Guest(Peer):
    def __init__(self, channel, output):
        super().__init__(channel)
        self._output = output
        self._hosts = {}
        self.module = types.ModuleType("program")

    def run(self, path):
        message = self.receive()
        self.module.__file__ = path
        sys.modules["program"] = self.module
        sys.argv = [path]
        self.perform = self.start
        self.serve(message)
        self.perform = self.act
        while True:
            self.serve(self.receive())

    def start(self, op, args, _):
        """The module, and those of the names asked for that it has."""
        if op != "start":
            raise ValueError(op)
        builtins.input = lambda prompt="": self.ask("input", prompt)
        with open(self.module.__file__, encoding="utf-8") as file:
            code = compile(file.read(), self.module.__file__, "exec", dont_inherit=True)
        exec(code, self.module.__dict__)
        names = self.module.__dict__
        public = [name for name in names if not name.startswith("_")]
        return [self.module, public, {name: names[name] for name in args[0] if name in names}]

    def act(self, op, args, kwargs):
        if op == "run":
            import asyncio
            async def finish(awaited):
                return await awaited
            return asyncio.run(finish(args[0]))
        return ACTIONS[op](*args, **kwargs)

    def heard(self, printed):
        pass

    def printed(self):
        return self._output.take()

    # --- what is no plain data

    def reference(self, value, seen):
        if isinstance(value, Host):
            return ["own", value._number]
        if isinstance(value, types.ModuleType) and value is not self.module:
            return ["module", value.__name__]
        plain = self.plain(value)
        if plain is not None:
            return ["sub", self.encode(plain, {}), self.own(value)]
        if isinstance(value, type) and issubclass(value, BaseException):
            return ["error", self.classes(value)]
        if isinstance(value, types.CoroutineType):
            return ["wait", self.own(value)]
        return ["object", self.own(value)]

    @staticmethod
    def plain(value):
        """The data in an instance of a class derived from that of plain data."""
        for base, read in ((str, str.__str__), (bool, bool), (int, int.__int__),
                           (float, float.__float__), (tuple, tuple.__iter__),
                           (list, list.__iter__), (dict, dict.items), (set, set.__iter__),
                           (frozenset, frozenset.__iter__)):
            if isinstance(value, base) and not isinstance(value, type):
                return base(read(value))
        return None

    def classes(self, kind):
        """An exception's classes, the built-in ones by name."""
        return [[base.__module__, base.__name__,
                 self.own(base) if base.__module__ == "program" else None]
                for base in kind.__mro__ if base not in (object, BaseException)]

    def pack_error(self, error, seen):
        args = [self.encode(item, seen) for item in error.args]
        return [self.classes(type(error)), args, str(error)[:500], self.own(error)]

    def unpack_error(self, data, table):
        for module, name, _ in data[0]:
            kind = getattr(builtins, name, None) if module == "builtins" else None
            if isinstance(kind, type) and issubclass(kind, Exception):
                return kind(*[self.decode(item, table) for item in data[1]])
        return RuntimeError(data[2])

    def remote(self, data, table):
        tag, number = data[0], data[1]
        if tag == "global":
            found = importlib.import_module(data[1])
            for part in data[2].split(".") if data[2] else []:
                found = getattr(found, part)
            return found
        if number not in self._hosts:
            self._hosts[number] = Host(self, number)
        return self._hosts[number]


def main():
    channel = os.fdopen(3, "r+b", buffering=0)
    channel = io.BufferedRWPair(io.FileIO(os.dup(3), "rb"), channel)
    sys.stdout = Printed(sys.stdout)
    guest = Guest(channel, sys.stdout)
    sys.stdin = io.StringIO()
    try:
        guest.run(os.path.abspath(sys.argv[1]))
    except Lost:
        pass
    sys.stdout.flush()
    os._exit(0)


main()

"""The judge: runs the tests here, where the answer's code never runs, and asks for the answer's results.

Reads {"tests", "entry_point", "function", "cases"} from standard input and prints one line, {"verdict",
"note"}: "right", "wrong" (the tests ran), "void" (the tests test nothing or cannot be run).
"""
import builtins
import importlib
import io
import json
import operator
import os
import sys
import types

from names import PROGRAM, STANDARD, TestText
from remote import TESTS, Remote, Void, awaited, derived, of
from wire import Lost, Peer

FILE_PARTS = {"read", "readline", "readlines", "write", "writelines", "close", "closed", "seek", "tell",
              "flush", "getvalue"}
HOST_OPS = {"len": len, "iter": iter, "next": next, "bool": bool, "str": str, "repr": repr}
HOST_PAIRS = ("eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "getitem",
              "setitem", "delitem", "contains")


class Judge(Peer):
    def __init__(self, channel):
        super().__init__(channel)
        self._classes = {}  # number of an exception class of the answer -> its like here
        self._remotes = {}
        self.likes = {}  # number of a class of the answer -> one of its name here
        self.heard_of = frozenset()  # modules' names that the answer may refer to

    # --- what the answer may ask of the tests

    def perform(self, op, args, kwargs):
        if op == "input":
            if builtins.input is INPUT and sys.stdin is STDIN:
                raise EOFError("EOF when reading a line")
            return builtins.input(*args)
        target = args[0]
        if self.numbers.get(id(target)) is None:
            raise TypeError("it is not the answer's to use")
        if op == "call" and callable(target):
            return target(*args[1:], **kwargs)
        if op in HOST_OPS and (lent(target) or op in ("iter", "next")):
            return HOST_OPS[op](*args)
        if not lent(target):
            raise TypeError(f"{op}: a {type(target).__name__} of the tests can only be called")
        if op in ("getattr", "setattr"):
            name = args[1]
            known = FILE_PARTS if isinstance(target, io.IOBase) else None
            if type(name) is not str or name.startswith("_") or (known and name not in known):
                raise AttributeError(name)
            # What the tests' objects do is the tests' word.
            if op == "setattr" and (isinstance(target, type) or known
                                    or hasattr(type(target), name)):
                raise AttributeError(f"{name} of the tests' {type(target).__name__} is not to be set")
            return getattr(target, name) if op == "getattr" else setattr(target, name, args[2])
        if op == "enter":
            return type(target).__enter__(target)
        if op == "exit":
            return type(target).__exit__(target, None, None, None)
        if op in HOST_PAIRS:
            return getattr(operator, op)(*args)
        raise TypeError(op)

    def heard(self, printed):
        if printed and type(printed) is str and sys.stdout is not STDOUT:
            sys.stdout.write(printed)

    def printed(self):
        return None

    # --- what is no plain data

    def reference(self, value, seen):
        number = getattr(type(value), "__dict__", {}).get("_remote_number")
        if type(value) is Remote:
            number = value.__dict__["_number"]
        if number is None and isinstance(value, type):
            number = value.__dict__.get("_remote_class")
        if number is None and isinstance(value, BaseException):
            number = value.__dict__.get("_remote_error")
        if number is not None:
            return ["own", number]
        if isinstance(value, types.ModuleType) and value.__name__ in STANDARD:
            return ["global", value.__name__, ""]
        if isinstance(value, (type, types.BuiltinFunctionType, types.FunctionType)):
            module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
            if module in STANDARD and "<" not in name and module != "__main__":
                return ["global", module, name]
        return ["host", self.own(value)]

    def remote(self, data, table):
        tag, number = data[0], data[1]
        if tag == "sub":
            value = self.decode(data[1], [])
            return derived(type(value), value, self, of(int, data[2]))
        if tag == "error":
            return self.error_class(data[1])
        if tag == "module":
            if number not in self.heard_of or number not in STANDARD:
                raise ValueError("a module that the tests do not name")
            return importlib.import_module(number)
        if tag not in ("object", "wait"):
            raise ValueError("no value")
        if of(int, number) not in self._remotes:
            self._remotes[number] = Remote(self, number)
        return awaited(self._remotes[number]) if tag == "wait" else self._remotes[number]

    def error_class(self, classes):
        """The exception of the answer as a class here, so that tests can catch it."""
        module, name, number = classes[0]
        if number is None:
            found = getattr(builtins if module == "builtins" else sys.modules.get(module), name, None)
            known = module == "builtins" or (module.split(".")[0] in STANDARD
                                             and module.split(".")[0] not in ("unittest", "__main__"))
            if known and isinstance(found, type) and issubclass(found, Exception):
                return found
            return self.error_class(classes[1:]) if len(classes) > 1 else AnswerError
        if of(int, number) not in self._classes:
            base = self.error_class(classes[1:]) if len(classes) > 1 else AnswerError
            self._classes[number] = type(of(str, name), (base,), {
                "__module__": "program", "_remote_class": number,
                "__str__": lambda error: error.__dict__.get("_text", ""),
                "__getattr__": lambda error, name: self.error_attribute(error, name)})
        return self._classes[number]

    def error_attribute(self, error, name):
        if name.startswith("_") or "_remote_error" not in error.__dict__:
            raise AttributeError(name)
        return self.ask("getattr", error, name)

    def unpack_error(self, data, table):
        classes, args, text, number = data
        kind = self.error_class(classes)
        values = [self.decode(item, table) for item in args]
        try:
            error = kind.__new__(kind, *values)
        except TypeError:
            error = AnswerError(text)
        error.args = tuple(values)
        error.__dict__.update(_text=of(str, text), _remote_error=of(int, number),
                              _said=f"{classes[0][1]}: {text}")
        return error

    def pack_error(self, error, seen):
        classes = [[base.__module__, base.__name__, None] for base in type(error).__mro__]
        return [classes, [self.encode(item, seen) for item in error.args], str(error), None]


class AnswerError(Exception):
    """What the answer raised, where it is no exception that this side knows."""


def lent(value):
    """Whether the answer may look into it: an instance of a class of the tests', a file in memory."""
    kind = value if isinstance(value, type) else type(value)
    return (kind.__module__ == TESTS and not issubclass(kind, unittest_case())) or isinstance(
        value, (io.StringIO, io.BytesIO))


def unittest_case():
    unittest = sys.modules.get("unittest")
    return unittest.TestCase if unittest else ()


def run(judge, request):
    """The verdict on the answer that waits at the other end."""
    tests = TestText(request["tests"], request.get("entry_point")) if "tests" in request else None
    wanted = tests.wanted if tests else {request["function"], "Solution"}
    judge.heard_of = frozenset(wanted)
    try:
        program, public, said_names = judge.ask("start", sorted(wanted))
        # No more than was asked for: nothing here is the answer's to redefine.
        names = {name: said_names[name] for name in wanted if name in said_names}
    except Lost:
        return "wrong", "the program ended before its tests"
    except BaseException as error:
        return "wrong", said(error)
    try:
        if tests:
            tests.run(program, public, names)
        else:
            run_cases(request, names)
    except Void as error:
        return "void", str(error)
    except Lost:
        return "wrong", "the program ended before its tests had"
    except BaseException as error:
        own = "_said" not in getattr(error, "__dict__", {})
        if own and isinstance(error, ImportError) and (error.name or "").split(".")[0] not in PROGRAM:
            return "void", f"the tests need what is not installed: {error}"
        return "wrong", said(error)
    return ("wrong", "the program ended during its tests") if judge.lost else ("right", "")


def said(error):
    text = getattr(error, "__dict__", {}).get("_said") or f"{type(error).__name__}: {error}"
    trace, line = error.__traceback__, None
    while trace:
        if trace.tb_frame.f_code.co_filename == TESTS:
            line = trace.tb_lineno
        trace = trace.tb_next
    return text if line is None else f"{text} (line {line} of the tests)"


def as_json(value):
    """As JSON would have it: tuples are lists, keys are text."""
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): as_json(item)
                for key, item in value.items()}
    return value


def run_cases(request, names):
    function = names.get(request["function"])
    if function is None and "Solution" in names:
        function = getattr(names["Solution"](), request["function"])
    if function is None:
        raise NameError(f"the program has no function {request['function']}")
    wrapped = all(isinstance(case[1], list) and len(case[1]) == 1 for case in request["cases"])
    for args, expected in request["cases"]:
        found = as_json(function(*args))
        if not same(found, expected) and not (wrapped and same(found, expected[0])):
            raise AssertionError(f"{request['function']} gives {str(found)[:80]}")


def same(found, expected):
    """Equal, and true is not 1."""
    if isinstance(expected, bool) or isinstance(found, bool):
        return type(found) is type(expected) and found == expected
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == expected


STDOUT, STDIN, INPUT = sys.stdout, sys.stdin, builtins.input


def main():
    global STDOUT, STDIN
    request = json.loads(sys.stdin.buffer.read())
    sys.stdin.close()
    # What the tests print is nobody's verdict.
    verdict = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    channel = io.BufferedRWPair(io.FileIO(3, "rb", closefd=False), io.FileIO(3, "wb", closefd=False))
    sys.stdin = STDIN = io.StringIO()
    sys.setrecursionlimit(5000)
    STDOUT = sys.stdout
    try:
        outcome, note = run(Judge(channel), request)
    except Void as error:
        outcome, note = "void", str(error)
    verdict.write(json.dumps({"verdict": outcome, "note": note[:200]}))
    verdict.flush()
    os._exit(0)


main()

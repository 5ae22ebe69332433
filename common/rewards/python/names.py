"""Tests as people write them: statements, check(candidate), test_* functions, unittest classes.

Names that the tests do not define are the answer's, save those of Python itself and of what tests
compare with: `abs(f(2) - 1.5) < 1e-6` takes Python's own abs, whatever the answer calls so. Only
where the tests use no other name is it the answer's (a task may be to write `sum`).
"""
import ast
import builtins
import importlib
import re
import symtable
import sys
import types

from remote import TESTS, Void
from runner import pytest_module, run_all

BUILTINS = frozenset(dir(builtins))
STANDARD = getattr(sys, "stdlib_module_names", frozenset(
    "math random re string itertools functools collections datetime json copy io os sys time".split()))
ALIASES = {"np": "numpy", "numpy": "numpy", "pd": "pandas", "mock": "unittest.mock", "pytest": "pytest"}
MEMBERS = {name: module for module, names in {
    "math": "isclose isnan isinf fabs inf nan pi", "copy": "deepcopy", "io": "StringIO",
    "collections": "Counter OrderedDict defaultdict deque namedtuple", "fractions": "Fraction",
    "decimal": "Decimal", "contextlib": "redirect_stdout", "unittest": "TestCase",
    "unittest.mock": "patch Mock MagicMock", "pytest": "approx raises",
    "typing": "List Dict Tuple Set Optional Union Any Callable Iterable Iterator",
}.items() for name in names.split()}
PROGRAM = ("solution", "answer", "program", "submission", "main", "your_module")
# These would run the answer's text beside the verdict.
UNSAFE = frozenset("exec compile __import__ pickle marshal shelve dill cloudpickle ctypes runpy "
                   "subprocess".split())


def of_program(node):
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in PROGRAM
    return all(alias.name.split(".")[0] in PROGRAM for alias in node.names)


def module_names(text):
    """(bound, free): names of the module that the tests give a meaning to, and that they only use."""
    top = symtable.symtable(text, TESTS, "exec")
    bound = {name.get_name() for name in top.get_symbols() if name.is_assigned()}
    free = {name.get_name() for name in top.get_symbols() if name.is_referenced()}
    tables = list(top.get_children())
    while tables:
        table = tables.pop()
        tables.extend(table.get_children())
        for name in table.get_symbols():
            if name.is_global():
                (bound if name.is_assigned() else free).add(name.get_name())
    return bound, free - bound


class Arithmetic(ast.NodeVisitor):
    """`eval` of the tests: literals and arithmetic, for the answer's text is not run in this process."""

    ALLOWED = (ast.Expression, ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp,
               ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Load, ast.operator, ast.unaryop,
               ast.cmpop, ast.boolop)

    def generic_visit(self, node):
        if not isinstance(node, self.ALLOWED) or isinstance(node, (ast.LShift, ast.Pow)):
            raise ValueError(f"eval of the answer's text: {type(node).__name__} is not arithmetic")
        super().generic_visit(node)

    @staticmethod
    def eval(text, *_):
        tree = ast.parse(text.strip(), mode="eval")
        Arithmetic().visit(tree)
        return eval(compile(tree, "eval", "eval"), {"__builtins__": {}})


class TestText:
    """The text of the tests, and the names of the answer that it uses."""

    def __init__(self, text, entry_point):
        entry = re.fullmatch(r"\s*(\w+)(\(\))?(?:\.(\w+))?\s*", entry_point or "")
        self._entry = entry.groups() if entry else None
        try:
            self._tree = ast.parse(text)
            self._code = compile(text, TESTS, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise Void(f"the tests do not compile: {error}") from error
        self._text = text
        self._nodes = list(ast.walk(self._tree))
        self._read_names()
        self._check()

    def _read_names(self):
        self._bound, free = module_names(self._text)
        called = {n.func.id for n in self._nodes
                  if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        based = {n.value.id for n in self._nodes
                 if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)}
        self._helpers = {}
        for name in free:
            if name in MEMBERS:
                self._helpers[name] = (MEMBERS[name], name)
            elif name in ALIASES or (name in STANDARD and name in based - called):
                self._helpers[name] = (ALIASES.get(name, name), "")
        python = {name for name in free if name in BUILTINS or name in self._helpers}
        self.wanted = free - python
        if self._entry:
            self.wanted.add(self._entry[0])
            self.wanted.add("Solution")
        for node in self._nodes:
            if isinstance(node, ast.ImportFrom) and of_program(node):
                self.wanted.update(a.name for a in node.names if a.name != "*")
        uses_module = any(isinstance(n, (ast.Import, ast.ImportFrom)) and of_program(n)
                          and n.names[0].name != "*" for n in self._nodes)
        if not self.wanted and not uses_module and len(python & called) == 1:
            self.wanted = python & called
            self._helpers = {}

    def _check(self):
        names = {n.id for n in self._nodes if isinstance(n, ast.Name)}
        for node in self._nodes:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names.update(a.name.split(".")[0] for a in node.names)
            if isinstance(node, ast.ImportFrom):
                names.add((node.module or "").split(".")[0])
            for base in node.bases if isinstance(node, ast.ClassDef) else ():
                if isinstance(base, ast.Name) and base.id in self.wanted:
                    raise Void(f"the tests derive a class from the answer's {base.id}")
        if names & UNSAFE:
            raise Void(f"the tests use {min(names & UNSAFE)}, which can run the answer's text "
                       "beside the verdict")

    def run(self, program, public, names):
        """Raises what a failed test raises. `names`: of the answer, those of `wanted` that it has."""
        module = types.ModuleType(TESTS)
        sys.modules[TESTS] = module
        for alias in PROGRAM:
            sys.modules[alias] = AnswerModule(program, [
                name for name in public if name in self.wanted or not self._is_python(name)])
        sys.modules["pytest"] = pytest_module()
        space = module.__dict__
        for name, (path, member) in self._helpers.items():
            try:
                found = importlib.import_module(path)
                space[name] = getattr(found, member) if member else found
            except ImportError as error:
                raise Void(f"the tests need what is not installed: {path}") from error
        space.update(names)
        space["eval"] = Arithmetic.eval
        if any(isinstance(node, (ast.Import, ast.ImportFrom)) and "unittest" in ast.dump(node)
               for node in self._nodes):
            importlib.import_module("unittest").main = lambda *_, **__: None  # run_all does it
        exec(self._code, space)
        self._check_entry(space, names)
        run_all(space, self._called_at_the_top())

    @staticmethod
    def _is_python(name):
        """What `from solution import *` brings in no case but the one where it is what is tested."""
        return name in BUILTINS or name in MEMBERS or name in ALIASES or name in STANDARD

    def _called_at_the_top(self):
        """What the tests call themselves is not called again."""
        return {node.func.id for statement in self._tree.body
                if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
                for node in ast.walk(statement)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}

    def _check_entry(self, space, names):
        check = space.get("check")
        if not self._entry or not callable(check) or "check" in self._called_at_the_top() \
                or "check" not in self._bound:
            return
        name, called, method = self._entry
        if name not in names and "Solution" in names:
            check(getattr(names["Solution"](), name))
            return
        if name not in names:
            raise NameError(f"the program has no {name}")
        entry = names[name]() if called else names[name]
        check(getattr(entry, method) if method else entry)


class AnswerModule(types.ModuleType):
    """`from solution import f`: the answer's module."""

    def __init__(self, program, public):
        super().__init__("program")
        self.__dict__.update(_program=program, __all__=list(public), __path__=[])

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["_program"], name)

    def __setattr__(self, name, value):
        setattr(self.__dict__["_program"], name, value)

    def __delattr__(self, name):
        delattr(self.__dict__["_program"], name)

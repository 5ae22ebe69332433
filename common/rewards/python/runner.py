"""Runs the functions and classes that tests consist of; as much of pytest as they use, installed or not."""
import itertools
import re
import sys
import types

from remote import TESTS, Remote, Void


class Failed(AssertionError):
    """A test that failed or would not run."""


class Approx:
    """pytest.approx: numbers that are nearly those expected, also in lists, tuples and dictionaries."""

    def __init__(self, expected, rel=None, abs=None, nan_ok=False):
        self._expected, self._rel, self._abs, self._nan_ok = expected, rel, abs, nan_ok

    def __eq__(self, found):
        return self._near(found, self._expected)

    def __ne__(self, found):
        return not self._near(found, self._expected)

    __hash__ = None

    def _near(self, found, expected):
        if isinstance(expected, (list, tuple)):
            return (isinstance(found, (list, tuple)) and len(found) == len(expected)
                    and all(map(self._near, found, expected)))
        if isinstance(expected, dict):
            return (isinstance(found, dict) and found.keys() == expected.keys()
                    and all(self._near(found[key], expected[key]) for key in expected))
        if type(found) is Remote:
            return False
        if not isinstance(found, (int, float, complex)) or isinstance(expected, bool):
            return bool(found == expected)
        if found != found or expected != expected:
            return self._nan_ok and found != found and expected != expected
        if found == expected:
            return True
        least = 1e-12 if self._abs is None else self._abs
        relative = 0 if self._rel is None and self._abs is not None else (
            1e-6 if self._rel is None else self._rel) * abs(expected)
        difference = abs(found - expected)
        return difference <= max(least, relative) and difference != float("inf")


class Raises:
    """pytest.raises as a context."""

    def __init__(self, expected, match=None):
        self.type, self.value, self._match = expected, None, match

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            raise Failed(f"expected {self.type}, nothing was raised")
        if not issubclass(kind, self.type):
            return False
        self.value = error
        if self._match is not None and not re.search(self._match, str(error)):
            raise Failed(f"the error does not say {self._match}")
        return True


class Marks:
    """pytest.mark: parametrize counts, whatever else is a label."""

    def __getattr__(self, name):
        if name == "parametrize":
            return self._parametrize
        return lambda *args, **kwargs: args[0] if len(args) == 1 and callable(args[0]) else (
            lambda function: function)

    @staticmethod
    def _parametrize(names, values, **_):
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        rows = [value if len(names) > 1 else (value,) for value in values]

        def decorate(function):
            function.__dict__.setdefault("parametrize", []).append((names, rows))
            return function
        return decorate


def raises(expected, *call, match=None, **kwargs):
    if not call:
        return Raises(expected, match)
    with Raises(expected, match) as context:
        call[0](*call[1:], **kwargs)
    return context


def fixture(*args, **_):
    def decorate(function):
        function.fixture = True
        return function
    return decorate(args[0]) if args and callable(args[0]) else decorate


def fail(reason="", **_):
    raise Failed(reason)


def pytest_module():
    module = types.ModuleType("pytest")
    module.__dict__.update(approx=Approx, raises=raises, mark=Marks(), fixture=fixture, fail=fail,
                           skip=fail, param=lambda *values, **_: values if len(values) > 1 else values[0])
    return module


def combinations(function):
    tables = getattr(function, "parametrize", [])
    for rows in itertools.product(*[values for _, values in tables]):
        yield {name: value for (names, _), row in zip(tables, rows) for name, value in zip(names, row)}


def required(function):
    """The arguments that a test must be given; patches give those of theirs."""
    if hasattr(function, "patchings"):
        return set()
    plain = getattr(function, "__func__", function)
    plain = getattr(plain, "__wrapped__", plain)
    code = plain.__code__
    names = code.co_varnames[plain is not function:code.co_argcount]
    return set(names[:len(names) - len(plain.__defaults__ or ())])


def run_function(function, space):
    """Once for each set of parameters; what is no parameter is a fixture of this module."""
    for given in combinations(function):
        finishers = []
        for name in required(function) - given.keys():
            made = space.get(name)
            if not getattr(made, "fixture", False):
                raise Void(f"the tests ask for {name}, which nothing gives")
            value = made()
            if isinstance(value, types.GeneratorType):
                finishers.append(value)
                value = next(value)
            given[name] = value
        result = function(**given)
        if isinstance(result, types.CoroutineType):
            import asyncio
            asyncio.run(result)
        for finisher in finishers:
            next(finisher, None)


def run_class(kind, space):
    for name in [name for name in dir(kind) if name.startswith("test")]:
        instance = kind()
        for before in ("setup_method", "setUp"):
            if hasattr(instance, before):
                function = getattr(instance, before)
                function(*[None] * len(required(function)))
        run_function(getattr(instance, name), space)


def run_unittests(cases, unittest):
    result = unittest.TestResult()
    suite = unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromTestCase(case) for case in cases)
    suite.run(result)
    for _, trace in result.failures + result.errors:
        raise Failed(trace.strip().splitlines()[-1])
    if result.unexpectedSuccesses or result.skipped:
        raise Failed("a test was skipped, or passed that should not")


def run_all(space, called):
    """What the module `space` defines and has not called itself."""
    unittest = sys.modules.get("unittest")
    own = [value for value in list(space.values())
           if getattr(value, "__module__", None) == TESTS and type(value) is not Remote]
    cases = [kind for kind in own if isinstance(kind, type) and unittest
             and issubclass(kind, unittest.TestCase)]
    if cases:
        run_unittests(cases, unittest)
    for value in own:
        if isinstance(value, type) and value.__name__.startswith("Test") and value not in cases:
            run_class(value, space)
        elif isinstance(value, types.FunctionType) and value.__name__.startswith("test") \
                and value.__name__ not in called:
            run_function(value, space)

"""The type checker that `conftest.py` puts around every function of predgen while tests run."""

import ast
import dataclasses
import functools
import inspect
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from beartype import BeartypeConf, beartype
from jaxtyping import jaxtyped
from jaxtyping._storage import pop_shape_memo, push_shape_memo

# PEP 484's numeric tower: an int may stand where a float is expected, as for mypy. A wrong type is what Python calls it.
_checked = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeError))
_NAME = "_checked_in_tests_"
_FIRST = 20  # calls of a function in one test
_tests = [0]


def check_calls_of(package: str) -> None:
    """Have every function and every data class of a package checked, from its first import on."""
    sys.meta_path.insert(0, Finder(package))


class Finder(MetaPathFinder):
    """Finds the package's modules.

    jaxtyping's own import hook costs more than the tests: it binds the arguments of every call to its signature, also where no
    array is among them, makes two more functions of each one, and has torch, transformers and all else that a module of the
    package imports compiled anew in every process.
    """

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.split(".")[0] != self.package:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Puts `checked` around every function, next to it, and around every data class, after it was made one."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)  # a compiled file knows nothing of checks
        return compile(_with_checks(ast.parse(self.get_data(path), path)), path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, _NAME, checked)
        super().exec_module(module)


def _with_checks(tree: ast.Module) -> ast.Module:
    """A module's code with the decorators."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            decorator = ast.copy_location(ast.Name(_NAME, ast.Load()), node)
            is_class = isinstance(node, ast.ClassDef)
            node.decorator_list.insert(0 if is_class else len(node.decorator_list), decorator)
    return tree


def checked(made: Any) -> Any:
    """Check arguments and result of a function, or of the making of a data class, except in predgen.config.

    `RunConfig` takes what users wrote, of any type, and checks it itself with better messages: those are tested.
    What does not exist while tests run cannot be checked and counts as Any: `Self` outside a decorated class, a class that
    is being defined, and names imported for the type checker only.
    """
    if made.__module__ == "predgen.config":
        return made
    if inspect.isclass(made):
        if dataclasses.is_dataclass(made) and "__init__" in vars(made):
            made.__init__ = checked(made.__init__)
        return made
    hints = {name: _resolved(hint, made) for name, hint in made.__annotations__.items()}
    made.__annotations__ = hints
    has_shapes = any("jaxtyping" in repr(hint) for hint in hints.values())
    return _often_enough(made, jaxtyped(_checked(made), typechecker=None)) if has_shapes else _checked(made)


def begin_test() -> None:
    """Count calls anew: which of them are checked does not depend on tests before."""
    _tests[0] += 1


def _often_enough(plain: Any, checking: Any) -> Any:
    """A function whose shapes are checked in the first calls of each test and in every tenth after them.

    To check shapes costs as much as a small operation on them; a loop makes the same call a thousand times.
    """
    test = calls = 0

    @functools.wraps(plain)
    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal test, calls
        if test != _tests[0]:
            test, calls = _tests[0], 0
        calls += 1
        if calls <= _FIRST or calls % 10 == 0:
            return checking(*arguments, **named)
        push_shape_memo({})  # what it calls has sizes of its own, not those of who called it
        try:
            return plain(*arguments, **named)
        finally:
            pop_shape_memo()

    return call


def _resolved(hint: Any, function: Any) -> Any:
    """What a hint stands for; Any where that does not exist while tests run."""
    if isinstance(hint, str):
        try:
            hint = eval(hint, function.__globals__)
        except (NameError, AttributeError, TypeError, SyntaxError):  # of a base class in another file, or not there yet
            return Any
    missing = ("typing.Self", *_names_for_type_checkers(str(sys.modules[function.__module__].__file__)))
    return Any if any(word in repr(hint) for word in missing) else hint


@functools.cache
def _names_for_type_checkers(path: str) -> tuple[str, ...]:
    """Names that a file imports under `if TYPE_CHECKING:`."""
    source = Path(path).read_text(encoding="utf-8")
    tree = ast.parse(source if "TYPE_CHECKING" in source else "")
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test).endswith("TYPE_CHECKING")]
    imports = [n for block in blocks for n in ast.walk(block) if isinstance(n, ast.Import | ast.ImportFrom)]
    return tuple((alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names)

"""The type checker that `conftest.py` puts around every function of predgen while tests run."""

import ast
import functools
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from beartype import BeartypeConf, beartype
from jaxtyping import _import_hook as hook

# PEP 484's numeric tower: an int may stand where a float is expected, as for mypy.
_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check_calls_of(package: str) -> None:
    """Have every function of a package checked, from its first import on."""
    hook._JaxtypingLoader.exec_module = _run
    hook.install_import_hook(package, f"{__name__}.{checked.__name__}")


def _run(loader: Any, module: ModuleType) -> None:
    """Run a module that is being imported.

    jaxtyping's own method keeps other names for compiled files in force while the module runs, and so for everything that it
    imports: torch, transformers and sympy are compiled anew in every process, which takes half a minute.
    """
    external, names = importlib._bootstrap_external, hook._optimized_cache_from_source
    usual = external.cache_from_source
    external.cache_from_source = functools.partial(names, loader._typechecker.get_hash())
    try:
        code = loader.get_code(module.__name__)
    finally:
        external.cache_from_source = usual
    exec(code, module.__dict__)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check arguments and result of a function, except in predgen.config.

    `RunConfig` takes what users wrote, of any type, and checks it itself with better messages: those are tested.
    What does not exist while tests run cannot be checked and counts as Any: `Self` outside a decorated class, and
    names imported for the type checker only.
    """
    if function.__module__ == "predgen.config":
        return function
    missing = ("typing.Self", *_names_for_type_checkers(str(sys.modules[function.__module__].__file__)))
    for name, hint in function.__annotations__.items():
        if any(word in (hint if isinstance(hint, str) else repr(hint)) for word in missing):
            function.__annotations__[name] = Any
    return _checked(function)


@functools.cache
def _names_for_type_checkers(path: str) -> tuple[str, ...]:
    """Names that a file imports under `if TYPE_CHECKING:`."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test).endswith("TYPE_CHECKING")]
    imports = [n for block in blocks for n in ast.walk(block) if isinstance(n, ast.Import | ast.ImportFrom)]
    return tuple((alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names)

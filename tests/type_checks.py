"""The type checker that `conftest.py` puts around every function of predgen while tests run."""

import ast
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beartype import BeartypeConf, beartype

# PEP 484's numeric tower: an int may stand where a float is expected, as for mypy.
_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


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

"""From what a user gives as `model` to a folder: "embedded", a named base, a folder, a GGUF file, a hub id."""

import os
from importlib.resources import files
from pathlib import Path

from predgen import registries
from predgen.bases.fetch import base_of_gguf, named_base
from predgen.bases.hub import hub_snapshot, is_in_hub_cache
from predgen.errors import ModelError

EMBEDDED = "embedded"


def require_at_hand(name: str) -> None:
    """Raise where a base model would have to be downloaded first.

    Raises:
        ModelError: If it is not here.
    """
    known = name == EMBEDDED or name in registries.bases or Path(name).exists()
    if not known and not is_in_hub_cache(name):
        raise ModelError(f"base model {name!r} is not here yet; it is downloaded when it is first used.")


def find_base(name: str, *, trust_remote_code: bool = False) -> Path:
    """Return the local folder of a base model, downloading it from the hub if need be.

    Args:
        name: "embedded", a name of `predgen models ls`, a local folder, a GGUF file, or a hub id.
        trust_remote_code: Bring a hub model's own Python code, too.

    Raises:
        ModelError: If there is no such folder, the hub does not give it, or a GGUF file cannot be converted.
    """
    if name == EMBEDDED:
        return Path(str(files("predgen") / "assets" / "embedded"))
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise ModelError(f"base model folder {name!r} has no config.json; give the folder of a Hugging Face model.")
        return Path(name)
    if name in registries.bases:
        return named_base(name)
    if Path(name).is_file():
        return base_of_gguf(Path(name))
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or os.sep in name[-1:] or name.endswith(".gguf"):
        raise ModelError(
            f"base model {name!r} does not exist. Give an existing folder or GGUF file, a hub id, or a name of `predgen models"
            " ls`."
        )
    return hub_snapshot(name, with_code=trust_remote_code)

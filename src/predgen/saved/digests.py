"""What seals the folder of a saved model: the SHA-256 of each part, in its manifest."""

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from predgen.errors import SavedModelError, UnverifiedWarning
from predgen.saved.exchange import MANIFEST, TRAINED_ROWS
from predgen.saved.manifest import Manifest, codec_digest, data_digest
from predgen.weights import MOST_TEXT_BYTES, facts_of_file

CODEC = f"{MANIFEST}: codec"
"""Name of the digest of the codec, which lies in the manifest itself."""

CALIBRATION = f"{MANIFEST}: calibration"
"""The same of the calibration, where the model has one."""

QUESTIONS = f"{MANIFEST}: questions"
"""The same of all questions of a model with several targets, their codecs and calibrations included."""

_INSIDE = {CODEC, CALIBRATION, QUESTIONS}
_SEALED = ("adapter", "base", "head.safetensors", TRAINED_ROWS)


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a saved model that is read when it is loaded, by its path in the folder."""
    found = {}
    for name, path in _sealed(folder).items():
        with path.open("rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def digests_inside(codec: Mapping[str, Any] | None, calibration: Mapping[str, Any] | None) -> dict[str, str]:
    """SHA-256 of parts that lie in the manifest itself."""
    more = {} if calibration is None else {CALIBRATION: data_digest(calibration)}
    return {CODEC: codec_digest(codec), **more}


def _sealed(folder: Path) -> dict[str, Path]:
    """The files of a saved model that are read when it is loaded, by their path in the folder."""
    parts = [folder / part for part in _SEALED]
    paths = [path for part in parts for path in (part, *sorted(part.rglob("*"))) if path.is_file()]
    # A name that starts with a dot is such as a file manager leaves behind.
    return {path.relative_to(folder).as_posix(): path for path in paths if not path.name.startswith(".")}


def check_digests(folder: Path, stored: Manifest) -> None:
    """Refuse files that are not those that were saved; an older version kept no digests.

    Raises:
        SavedModelError: If one is missing, changed, or was not there.
    """
    if stored.digests is None:
        warnings.warn(
            f"the saved model {str(folder)!r} was written by predgen {stored.predgen_version}, which kept no digests of its"
            " files: damage to them may go unnoticed. Save it again to add them.",
            UnverifiedWarning,
            stacklevel=4,
        )
        return
    inside = digests_inside(*(None if one is None else asdict(one) for one in (stored.codec, stored.calibration)))
    check_sealed(folder, stored.digests, inside)


def check_sealed(folder: Path, stored: Mapping[str, str], inside: Mapping[str, str]) -> None:
    """Refuse files, and parts inside the manifest, that are not those that were saved.

    Args:
        folder: The saved model.
        stored: The digests that its manifest holds.
        inside: Digests of the parts that lie in the manifest itself.

    Raises:
        SavedModelError: If one is missing, changed, or was not there.
    """
    there = _sealed(folder)
    known = there.keys() == stored.keys() - _INSIDE
    _require_sizes(folder, there)
    # Where a file is missing, or one too many, their names are told; no need to read the others.
    digests = digests_of(folder) if known else {name: stored.get(name, "") for name in there}
    found = {**digests, **inside}
    wrong = [
        f"{name} is {'missing' if name not in found else 'changed' if name in stored else 'not among the files saved'}"
        for name in sorted(stored.keys() | found.keys())
        if stored.get(name) != found.get(name)
    ]
    if wrong:
        raise SavedModelError(
            f"the saved model {str(folder)!r} is damaged: {', '.join(wrong[:5])}, by the digests in {MANIFEST}. Train it"
            " again, or copy it again."
        )


def _require_sizes(folder: Path, names: Iterable[str]) -> None:
    """Refuse files that would take hours to read, before one is: a file of any size costs its author nothing.

    Raises:
        SavedModelError: If weights are larger or smaller than their header says, or another file is larger than any needs.
    """
    for name in names:
        path = folder / name
        if path.suffix == ".safetensors":
            facts_of_file(path)
        elif path.stat().st_size > MOST_TEXT_BYTES:
            raise SavedModelError(
                f"{str(path)!r} has {path.stat().st_size:,} bytes, but no such file needs more than {MOST_TEXT_BYTES:,}. The"
                " saved model is damaged or changed: copy it again."
            )

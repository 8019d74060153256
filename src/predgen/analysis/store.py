"""What an analysis has found so far, on disk: one file per run and estimator, so that a stopped analysis goes on.

OUT/states/RUN.npz               components of the rows to measure, for each representation of the run
OUT/results/RUN.ESTIMATOR.json   the settings, and one record per estimate
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from predgen.errors import ConfigError
from predgen.files import replacing, write_text

Arrays = Mapping[str, npt.NDArray[Any]]


class Store:
    """Finished parts of an analysis in a folder. Files are replaced whole, so that a kill leaves the old or the new one.

    Args:
        folder: Where to keep them; made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("states", "results"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def states(self, run: str, settings: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]] | None:
        """Return the arrays kept for a run; None where there are none.

        Raises:
            ConfigError: If they were made with other settings, or the file is damaged.
        """
        path = self.folder / "states" / f"{run}.npz"
        if not path.is_file():
            return None
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = dict(file)
            before = json.loads(str(arrays.pop("settings")))
        except (ValueError, KeyError, AttributeError, EOFError, BadZipFile) as error:
            raise _damaged(path, error) from error
        _require_same(path, before, settings)
        return arrays

    def keep_states(self, run: str, settings: Mapping[str, Any], arrays: Arrays) -> None:
        """Keep a run's arrays."""
        with replacing(self.folder / "states" / f"{run}.npz") as draft, draft.open("wb") as file:
            np.savez(file, allow_pickle=False, settings=np.array(json.dumps(settings)), **arrays)

    def results(self, run: str, estimator: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the records kept for a run and an estimator.

        Raises:
            ConfigError: If they were made with other settings, or the file is damaged.
        """
        path = self.folder / "results" / f"{run}.{estimator}.json"
        if not path.is_file():
            return []
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            before, records = data["settings"], list(data["estimates"])
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path, error) from error
        _require_same(path, before, settings)
        return records

    def keep_results(
        self, run: str, estimator: str, settings: Mapping[str, Any], records: list[dict[str, Any]]
    ) -> None:
        """Keep all records of a run and an estimator."""
        data = {"settings": settings, "estimates": records}
        write_json(self.folder / "results" / f"{run}.{estimator}.json", data)


def write_json(path: Path, data: Any) -> None:  # noqa: ANN401
    """Write plain data; the file is replaced whole."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _require_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse results that other settings gave."""
    changed = [f"{key} {before.get(key)!r} -> {now.get(key)!r}" for key in now if before.get(key) != now[key]]
    if changed:
        raise ConfigError(
            f"{str(path)!r} was made with other settings ({'; '.join(changed)}). Give those again, or choose another `out`"
            " folder."
        )


def _damaged(path: Path, error: Exception) -> ConfigError:
    """The error for a file that cannot be read."""
    return ConfigError(f"{str(path)!r} is damaged: {error}. Delete it; its part is measured again.")

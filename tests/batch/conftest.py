"""Tiny runs that batches and folders are predicted with."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tiny_runs import tiny_base, tiny_data, tiny_run


@dataclass(frozen=True)
class Saved:
    """Folders of saved models: one of labels, one of numbers."""

    label: Path
    score: Path


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Train them once."""
    folder = tmp_path_factory.mktemp("batch")
    base = tiny_base(folder / "base")
    tiny_run(base, "classification", tiny_data("classification"), folder / "label", max_steps=1)
    tiny_run(base, "regression", tiny_data("regression"), folder / "score", max_steps=1)
    return Saved(folder / "label", folder / "score")

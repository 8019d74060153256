"""The experiments that are part of the project can be read, and hold figures, not texts."""

from functools import partial
from pathlib import Path

import pytest

from predgen.findings.make import findings
from predgen.findings.paired import sign_flip_p
from predgen.records import read_records

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted(path.parent for path in ROOT.glob("experiments/*/experiment.yaml"))


@pytest.mark.parametrize("folder", EXPERIMENTS, ids=lambda folder: folder.name)
def test_experiment_of_the_project_is_whole_and_holds_no_texts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predgen.findings.make.sign_flip_p", partial(sign_flip_p, n_flips=100))
    found = findings(folder, n_resamples=50)
    assert {entry.task for entry in found.entries} == set(found.tasks)
    assert not any(shortfall.status == "failed" for shortfall in found.shortfalls)
    for record in read_records(folder):
        assert Path(record.cell["settings"]["data_dir"]).parts[0] != "/"

"""A run says after its first steps about how long it takes, and is not changed by that."""

import io
from pathlib import Path

import pytest
import torch

from predgen.terminal import PlainConsole
from predgen.training import pace as pace_module
from predgen.training.pace import measure_pace, middle_rows
from predgen.training.run import train
from tiny_runs import tiny_base, tiny_config, tiny_data, tiny_rows


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base."""
    return tiny_base(tmp_path_factory.mktemp("base"))


def test_it_is_said_once_with_its_parts_and_moves_no_weight(base: Path) -> None:
    data, stream = tiny_data("classification", n_train=16, n_validation=5), io.StringIO()
    config = tiny_config(base, "classification", batch_size=4, epochs=2.0, method="predgen", sampling="token")
    told = train(config, data=data, console=PlainConsole(file=stream))
    silent = train(config, data=data)
    lines = [line for line in stream.getvalue().splitlines() if line.startswith("About ")]
    assert len(lines) == 1
    assert "8 steps of" in lines[0]
    assert "2 x 5 validation rows while training (" in lines[0]
    weights = silent.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in told.model.state_dict().items())


def test_a_run_that_is_over_at_once_says_nothing(base: Path) -> None:
    stream = io.StringIO()
    train(tiny_config(base, "regression", max_steps=5), data=tiny_data("regression"), console=PlainConsole(file=stream))
    assert "About " not in stream.getvalue()


@pytest.mark.parametrize("method", ["predictor", "generator", "predgen"])
def test_pace_is_seconds_by_the_characters_of_rows_of_middle_length(
    base: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_once(run: object) -> float:
        assert callable(run)
        run()
        return 12.0

    monkeypatch.setattr(pace_module, "seconds_of", run_once)
    data = tiny_data("classification")
    found = measure_pace(tiny_config(base, "classification", batch_size=2, method=method), data)
    seconds = 12 / sum(len(f"{row.fields['text']} =") for row in middle_rows(data.train, 2))
    assert (found.train_s, found.predict_s) == (pytest.approx(seconds), pytest.approx(seconds))


def test_middle_rows_are_in_the_middle() -> None:
    rows = tiny_rows(9, "regression")
    lengths = sorted(len(row.fields["text"]) for row in rows)
    assert [len(row.fields["text"]) for row in middle_rows(rows, 3)] == lengths[3:6]
    assert len(middle_rows(rows, 50)) == 9

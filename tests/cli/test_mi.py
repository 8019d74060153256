"""`predgen mi`: what it needs to be told, and the self-check as table and JSON."""

import json

import pytest

from cli_runs import flat, predgen, refused
from predgen.analysis import self_check as module
from predgen.analysis.self_check import CheckRow

ROWS = [
    CheckRow("gaussian", "ksg", 1, 5000, 2.0, 2.0123, 0.0149),
    CheckRow("gaussian", "mine", 10, 500, 2.0, 1.5, 0.05),
]


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "self_check", lambda on_done: ROWS)


def test_something_to_measure_is_needed() -> None:
    assert refused(predgen("mi")).startswith("error: `predgen mi` needs to be told what to measure")


@pytest.mark.usefixtures("checked")
def test_self_check_prints_json_and_nothing_else_on_stdout() -> None:
    result = predgen("mi", "--self-check", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert rows[0] == {
        "channel": "gaussian",
        "estimator": "ksg",
        "dim": 1,
        "n": 5000,
        "true_nats": 2.0,
        "estimate_nats": 2.0123,
        "std_nats": 0.0149,
    }
    assert len(rows) == 2


@pytest.mark.usefixtures("checked")
def test_self_check_prints_a_table() -> None:
    said = flat(predgen("mi", "--self-check").stdout)
    assert "nats, mean and standard deviation over 5 seeds" in said
    assert "2.012" in said
    assert "-0.500" in said
    assert "close: the error is within 5 %" in said

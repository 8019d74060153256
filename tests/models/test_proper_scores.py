"""PredGen with directors `crps`, `nll` and `reward`: losses by whole sequences, what is predicted, a run that is saved."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import predgen
from answer_loops import codec_for, model_for, plain, rows_for
from method_cases import TOLERANCE, Case, gradients_of, plan
from tiny_runs import tiny_base, tiny_data, tiny_run

CASES = [
    Case("predgen", kind, director, "token", loss="sum")
    for director, kinds in (
        ("crps", ("classification", "regression")),
        ("nll", ("classification", "regression")),
        ("reward", ("classification",)),
    )
    for kind in kinds
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def score(case: Case, row: list[float], values: list[float], target: float, answer: int) -> float:
    """The loss of one row by hand; CRPS as E|Y - y| - E|Y - Y'| / 2."""
    if case.director == "nll":
        return -math.log(row[answer])
    if case.director == "reward":
        return math.fsum(p for a, p in enumerate(row) if a != int(target))
    pairs = list(zip(row, values, strict=True))
    among = math.fsum(p * q * abs(v - w) for p, v in pairs for q, w in pairs)
    return math.fsum(p * abs(v - target) for p, v in pairs) - among / 2


@every_case
def test_losses_equal_whole_sequences(case: Case) -> None:
    model, batch, codec = model_for(case), rows_for(case.kind), codec_for(case.kind)
    with torch.no_grad():
        rows = plain(model, batch)[0].double().exp().tolist()
    values = list(range(len(rows[0]))) if case.kind == "classification" else []
    values = values or [(float(codec.value_at(i)) - model.scale.mean) / model.scale.std for i in range(len(rows[0]))]
    found = model(batch, plan(), "example").director.tolist()
    for value, row, target, answer in zip(found, rows, batch.target.tolist(), batch.answer.tolist(), strict=True):
        assert value == pytest.approx(score(case, row, values, target, answer), abs=TOLERANCE, rel=TOLERANCE)
    assert len({round(value, 4) for value in found}) > 1
    assert gradients_of(model, [batch]).keys() == dict(model.named_parameters()).keys()


@every_case
@torch.no_grad()
def test_the_prediction_is_read_off_the_distribution(case: Case) -> None:
    model, batch, codec = model_for(case), rows_for(case.kind), codec_for(case.kind)
    rows = plain(model, batch)[0].double().exp().tolist()
    for prediction, row in zip(model.predict(batch), rows, strict=True):
        if case.kind == "classification":
            assert prediction.probabilities == pytest.approx(row, abs=TOLERANCE)
            assert prediction.value == codec.value_at(row.index(max(row)))
        else:
            mean = math.fsum(p * float(codec.value_at(a)) for a, p in enumerate(row))
            assert prediction.value == pytest.approx(mean, abs=TOLERANCE)


@every_case
def test_a_run_lowers_the_score_and_is_saved(case: Case, tmp_path: Path) -> None:
    own: dict[str, Any] = {"decimals": 1} if case.kind == "regression" else {}
    own |= {"reward_costs": "0 1; 5 0"} if case.director == "reward" else {}
    base, data = tiny_base(tmp_path / "base"), tiny_data(case.kind)
    settings = {"director": case.director, "loss": "director_only", "learning_rate": 0.02, "optimizer": "adamw", **own}
    trained = tiny_run(base, case.kind, data, tmp_path / "run", epochs=5.0, **settings)
    entries = map(json.loads, (tmp_path / "run/log.jsonl").read_text(encoding="utf-8").splitlines())
    losses = [entry["director_loss"] for entry in entries if "director_loss" in entry]
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])  # an epoch each
    rows = [{"text": "a dull book"}, {"text": "no tea and good wine"}]
    assert predgen.load(tmp_path / "run").predict(rows) == trained.predict(rows)

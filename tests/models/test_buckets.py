"""Rows of similar length run together: the same losses, gradients and trained weights as the whole batch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from method_cases import CASES, TOLERANCE, Case, assert_same_gradients, batch_of, gradients_of, make, plan
from predgen.data.buckets import OVERHEAD_TOKENS, split_by_length
from predgen.data.collate import Batch
from predgen.models.base import PredictionModel
from predgen.training.loop import PredictionTrainer
from tiny_runs import tiny_base, tiny_data, tiny_run

every_case = pytest.mark.parametrize("case", CASES, ids=str)


@every_case
def test_buckets_give_the_losses_and_gradients_of_the_whole_batch(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = make(case), batch_of(case.kind)
    monkeypatch.setitem(OVERHEAD_TOKENS, "cpu", 0)
    parts = split_by_length(batch)
    assert len(parts) >= 3
    whole, losses = model(batch, plan(), "example"), [model(part, plan(), "example") for part in parts]
    total = torch.stack([part.total for part in losses]).sum()
    torch.testing.assert_close(total, whole.total, atol=TOLERANCE, rtol=TOLERANCE)
    rows = torch.cat([part.row_id for part in parts]).argsort()
    for name in ("writer", "director"):
        found, wanted = [getattr(part, name) for part in losses], getattr(whole, name)
        if wanted is None:
            assert found == [None] * len(parts)
        else:
            torch.testing.assert_close(torch.cat(found)[rows], wanted, atol=TOLERANCE, rtol=TOLERANCE)
    assert_same_gradients(gradients_of(model, parts), gradients_of(model, [batch]))


def test_rows_of_weight_zero_add_nothing_in_any_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OVERHEAD_TOKENS, "cpu", 0)
    model, batch = make(CASES[7]), batch_of("regression")
    weight = batch.weight.clone()
    weight[[2, 7]] = 0.0
    parts = split_by_length(replace(batch, weight=weight))
    kept = batch_of("regression", [row for row in range(8) if row not in (2, 7)])
    assert_same_gradients(gradients_of(model, parts), gradients_of(model, [kept]))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


def trained_weights(model: PredictionModel) -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "predictor", "gradient_accumulation": 2, "gradient_checkpointing": True},
        {"peft": "adalora", "loss": "adaptive"},
        {"reduction": "batch"},
    ],
    ids=str,
)
def test_training_with_buckets_gives_the_weights_of_training_without(
    base: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    compute = PredictionTrainer.compute_loss

    def counting(self: PredictionTrainer, model: Any, inputs: Batch, *rest: Any, **named: Any) -> Tensor:
        sizes.append(len(inputs.row_id))
        return compute(self, model, inputs, *rest, **named)

    monkeypatch.setattr(PredictionTrainer, "compute_loss", counting)
    found, losses = [], []
    for overhead in (10**6, 0):
        monkeypatch.setitem(OVERHEAD_TOKENS, "cpu", overhead)
        run = tiny_run(base, "classification", tiny_data("classification"), max_steps=3, **settings)
        found.append(trained_weights(run.model))
        losses.append(list(sizes))
        sizes.clear()
    calls = 3 * settings.get("gradient_accumulation", 1)
    assert losses[0] == [4] * calls
    assert (losses[1] == losses[0]) == (settings.get("reduction") == "batch")
    assert sum(losses[1]) == 4 * calls
    start = trained_weights(
        tiny_run(
            base, "classification", tiny_data("classification"), max_steps=3, **{**settings, "learning_rate": 0.0}
        ).model
    )
    moved = max(float((weight - start[name]).abs().max()) for name, weight in found[0].items())
    assert moved > 1e-3
    for name, weight in found[0].items():
        assert (found[1][name] - weight).abs().max() <= 1e-4 * moved, name

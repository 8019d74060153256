"""What a run costs is counted from few probes: curves and speeds that are known come back, and other sizes follow."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cli_runs import PROMPT, flat, refused, reviews, write_csv
from cli_runs import predgen as command
from predgen.config import RunConfig
from predgen.data.collate import collate
from predgen.data.encode import Encoded
from predgen.errors import ConfigError
from predgen.inference.trained import TrainedModel
from predgen.sampling.draws import SamplingPlan
from predgen.training import cost
from predgen.training import estimate as estimate_module
from predgen.training.cost import Costs, Curve, Speed, spread, tokens_of
from predgen.training.estimate import estimate_run
from predgen.training.pace import Amounts
from predgen.training.run import zero_shot
from tiny_runs import tiny_base, tiny_config, tiny_data


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def made(base: Path) -> tuple[TrainedModel, RunConfig, Costs]:
    """A model and its costs, by a clock that ticks once a look."""
    config = tiny_config(base, "regression", batch_size=4, method="predgen", optimizer="adamw")
    data = tiny_data("regression", 24)
    trained = zero_shot(config, data)
    rows = [trained.encoder.encode(example) for example in data.train]
    ticks = iter(range(10**6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "_TIMES", 1)
        return trained, config, Costs.measured(trained, config, rows, lambda: float(next(ticks)))


def test_a_curve_comes_back_from_its_points() -> None:
    true = Curve(1e6, 2e5, 30.0)
    found = Curve.fitted([(k, n, true.of(k, n)) for k, n in ((4, 20), (4, 60), (4, 200), (1, 60))])
    assert found.of(16, 120) == pytest.approx(true.of(16, 120), rel=1e-6)
    alike = Curve.fitted([(4, 50, true.of(4, 50)), (1, 50, true.of(1, 50))])  # rows of one length
    assert alike.of(8, 50) == pytest.approx(true.of(8, 50), rel=1e-6)


def test_a_speed_comes_back_from_its_times() -> None:
    true = Speed(0.25, 4e9)
    found = Speed.fitted([(work, true.seconds(1, work)) for work in (1e9, 2e9, 8e9)])
    assert (found.call_s, found.per_s) == (pytest.approx(0.25), pytest.approx(4e9))
    assert found.seconds(3, 8e9) == pytest.approx(3 * 0.25 + 2)


def test_operations_of_other_rows_and_batches_are_those_that_are_counted(
    made: tuple[TrainedModel, RunConfig, Costs],
) -> None:
    trained, config, costs = made
    for n_rows, seed in ((8, 5), (3, 6), (1, 7)):
        rows = [trained.encoder.encode(example) for example in tiny_data("regression", 30).train[seed : seed + n_rows]]
        batch = collate(rows, trained.pad_id, torch.device("cpu"))
        with FlopCounterMode(display=False) as counter:
            trained.model.train()
            trained.model(batch, SamplingPlan(0.5, config.seed, 0), "example").total.backward()
        trained.model.zero_grad()
        guess = costs.train.work.of(n_rows, tokens_of(rows))
        assert guess == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_kept_bytes_grow_with_rows_and_tokens(made: tuple[TrainedModel, RunConfig, Costs]) -> None:
    _, config, costs = made
    longer = replace(costs, lengths=tuple(2 * n for n in costs.lengths))
    assert longer.kept_at_most(config) > costs.kept_at_most(config) > 0
    assert costs.kept_at_most(replace(config, batch_size=8)) == pytest.approx(2 * costs.kept_at_most(config))


def test_steps_looks_and_passes_are_counted(base: Path) -> None:
    config = tiny_config(base, "regression", batch_size=4, gradient_accumulation=2, epochs=1.5, eval_steps=2)
    assert Amounts.of(config, 20, 7) == Amounts(5, 5 / 3 * 20, 3 * 7)


def test_an_estimate_is_its_parts(
    base: Path, made: tuple[TrainedModel, RunConfig, Costs], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, config, costs = made
    known: Any = type("Known", (), {"measured": staticmethod(lambda *given: costs)})
    monkeypatch.setattr(estimate_module, "Costs", known)
    monkeypatch.setattr(estimate_module, "zero_shot", lambda *given: trained)
    found = estimate_run(config, tiny_data("regression", 24, 6))
    (work, calls), (row, row_calls) = costs.of_step(config), costs.of_predictions(config)
    assert found.steps == 12
    assert found.training_s == pytest.approx(12 * costs.train.speed.seconds(calls, work))
    assert found.looks_s == pytest.approx(2 * 6 * costs.predict.speed.seconds(row_calls, row))
    weights = list(trained.model.parameters())
    assert found.weights_bytes == 4 * sum(w.numel() for w in weights)
    assert found.optimizer_bytes == 12 * sum(w.numel() for w in weights if w.requires_grad)
    elsewhere = estimate_run(config, tiny_data("regression", 24, 6), tflops=1e-6)
    assert elsewhere.training_s == pytest.approx(12 * work / 1e6)
    with pytest.raises(ConfigError, match="tflops"):
        estimate_run(config, tiny_data("regression", 24), tflops=0.0)


def test_rows_that_stand_for_all_come_from_all_over() -> None:
    rows = [Encoded(i, (1,), (), (), 0.0, 1.0, False) for i in range(100)]
    assert [row.row_id for row in spread(rows, 10)] == list(range(0, 100, 10))
    assert spread(rows[:7], 10) == rows[:7]


def test_the_command_says_time_and_memory(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_TIMES", 1)
    data = write_csv(tmp_path / "in.csv", reviews(20))
    given = ["estimate", "--model", base, "--data", data, "--prompt", PROMPT, "--target", "label"]
    given += ["--kind", "classification", "--rank", "2", "--batch-size", "4"]
    result = command(*given, "--predict-rows", "1000")
    assert result.exit_code == 0, result.output
    for told in ("Training: about", "Looks at validation rows: about", "Memory: about", "Predicting 1000 rows: about"):
        assert told in flat(result.stdout)
    assert "tflops" in refused(command(*given, "--tflops", "-1"))


def test_json_holds_the_sum_of_memory() -> None:
    found = estimate_module.RunEstimate(3, 20.0, 1e9, 1e8, 30.0, 2.0, 0.1, 100, 20, 30, 4).to_dict()
    assert found["memory_bytes"] == 154
    assert json.loads(json.dumps(found)) == found

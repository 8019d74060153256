"""Runs on numbers that are large, small, skewed or bounded: what comes back is on the targets' own scale."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import predgen
from predgen.core import Decoding, Example, Target
from predgen.data.collate import collate
from predgen.data.examples import custom_task
from predgen.errors import ConfigError, DataError
from predgen.evaluation import evaluate
from predgen.inference.trained import TrainedModel
from predgen.sampling.draws import SamplingPlan
from predgen.training.prepare import make_setup
from predgen.training.rows import TrainingData
from tiny_runs import TARGET, WORDS, tiny_base, tiny_config, tiny_run

OFFSET = [1.7e9 + 10 * k for k in range(6)]
METHODS = ("predictor", "generator", "predgen")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base") / "llama")


def rows_with(targets: Sequence[float]) -> list[Example]:
    """A row per target, each with a text of its own."""
    return [Example(i, {"text": f"{WORDS[i % 6]} {i}"}, Target(target)) for i, target in enumerate(targets)]


def data_with(targets: Sequence[float], validation: Sequence[float] = ()) -> TrainingData:
    task = custom_task(prompt="{text} =", target=TARGET, kind="regression")
    return TrainingData(task, rows_with(targets), rows_with(validation))


def run_on(base: Path, targets: Sequence[float], **settings: Any) -> TrainedModel:
    """A run of one step."""
    return tiny_run(base, "regression", data_with(targets), max_steps=1, **settings)


@pytest.mark.parametrize("method", ["predictor", "predgen"])
def test_heads_learn_numbers_at_an_offset(base: Path, method: str) -> None:
    trained = run_on(base, OFFSET, method=method, sampling="off", loss="director_only")
    model = trained.model
    head = model.head if method == "predictor" else model.director.head
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    batch = collate([trained.encoder.encode(row) for row in rows_with(OFFSET)], 0)
    losses = model(batch, SamplingPlan(0.0, 0, 0), "example").director
    # A head that says the mean: the squared standardised targets. Offset 25, variance 1750 / 6.
    assert losses.tolist() == pytest.approx([(10 * k - 25) ** 2 / (1750 / 6) for k in range(6)], rel=1e-5)
    assert {p.value for p in trained.predict_examples(rows_with(OFFSET))} == {1.7e9 + 25}


@pytest.mark.parametrize("director", ["expected", "value"])
def test_losses_over_written_numbers_keep_an_offset(tmp_path: Path, director: str) -> None:
    base = tiny_base(tmp_path / "base", layers=2)
    settings: dict[str, Any] = {"sampling": "marginal"} if director == "value" else {}
    trained = run_on(base, [1e9, 1e9 + 1, 1e9 + 2], director=director, loss="director_only", **settings)
    shifted = run_on(base, [0.0, 1.0, 2.0], director=director, loss="director_only", **settings)
    found = []
    for model, offset in ((trained, 1e9), (shifted, 0.0)):
        batch = collate([model.encoder.encode(row) for row in rows_with([offset, offset + 2])], 0)
        found.append(model.model(batch, SamplingPlan(0.0, 0, 0), "example").director)
    assert torch.isfinite(found[0]).all()
    assert float(found[0].detach().std()) > 0  # the two targets differ
    assert found[0].max() < 10  # squared standard deviations


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_figures_of_numbers_are_computed_from_exact_ones(base: Path, scale: float) -> None:
    targets = [scale * k for k in (1, 2, 3, 4, 5, 6)]
    trained = tiny_run(base, "regression", data_with(targets, targets), method="predictor", max_steps=1)
    values = [p.value for p in trained.predict_examples(rows_with(targets))]
    expected = float(np.mean([(value - target) ** 2 for value, target in zip(values, targets, strict=True)]))
    assert trained.report["validation"]["mse"] == pytest.approx(expected, rel=1e-9)
    assert evaluate(trained, rows_with(targets), n_resamples=2).metrics["mse"] == pytest.approx(expected, rel=1e-9)


def test_written_numbers_at_an_offset_come_back_exactly(base: Path) -> None:
    trained = run_on(base, OFFSET, method="generator")
    numbers = trained.predict_examples(rows_with(OFFSET), decoding=Decoding(distribution=True))
    for prediction in numbers:
        assert prediction.value == int(prediction.value)
        assert prediction.answer == repr(prediction.value)
        assert 1.7e9 - 3 <= prediction.value <= 1.7e9 + 53
        assert prediction.distribution is not None
        assert (np.diff(prediction.distribution.support) == 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_prices_are_never_negative(base: Path, method: str) -> None:
    trained = run_on(base, [0.0, 1.0, 2.0, 90.0], method=method, learning_rate=0.1)
    if trained.encoder.codec is not None:
        assert trained.encoder.codec.low == 0.0
    model = trained.model
    if method != "generator":
        head = model.head if method == "predictor" else model.director.head
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.constant_(head.bias, -50.0)
    for prediction in trained.predict_examples(rows_with([1.0] * 6)):
        assert prediction.value >= 0
        assert ("clipped" in prediction.flags) == (method != "generator")


@pytest.mark.parametrize("method", METHODS)
def test_declared_range_is_saved_and_kept(base: Path, method: str, tmp_path: Path) -> None:
    trained = run_on(base, [1.0, 2.0, 4.0], method=method, minimum=-3.0, maximum=4.0, decimals=0)
    loaded = predgen.load(trained.save(tmp_path / "run"))
    assert loaded.model.scale == trained.model.scale
    assert (loaded.model.scale.low, loaded.model.scale.high) == (-3.0, 4.0)
    assert (loaded.config.minimum, loaded.config.maximum) == (-3.0, 4.0)
    if loaded.encoder.codec is not None:
        assert (loaded.encoder.codec.low, loaded.encoder.codec.high) == (-3.0, 4.0)
    assert "-3.0 to 4.0" in (tmp_path / "run" / "README.md").read_text()
    rows = rows_with([1.0] * 4)
    assert loaded.predict_examples(rows) == trained.predict_examples(rows)


def test_declared_minimum_needs_no_sign(base: Path) -> None:
    trained = run_on(base, [0.5, 2.0], method="generator", minimum=0.0)
    assert trained.encoder.codec.space.low == 0
    assert "+" not in trained.encoder.codec.space.characters


@pytest.mark.parametrize("method", ["predictor", "generator"])
def test_training_targets_outside_a_declared_range_are_refused_for_every_method(method: str) -> None:
    config = tiny_config(Path("base"), "regression", method=method, minimum=0.0, maximum=3.0)
    data = data_with([1.0, -1.0, 2.0, 9.0])
    with pytest.raises(DataError, match=r"2 of 4 .*0\.0\.\.3\.0.*-1\.0 in row 2.*`minimum`"):
        make_setup(config, data.task, data.train)


def test_measured_targets_outside_the_range_are_counted(base: Path) -> None:
    trained = run_on(base, [0.0, 1.0, 2.0], method="generator", maximum=2.0)
    found = evaluate(trained, rows_with([0.5, 2.5, -1.0]), n_resamples=2)
    assert found.counts["out_of_range"] == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minimum": 3.0, "maximum": 1.0}, r"`minimum` is 3.* `maximum`.* 1"),
        ({"minimum": 2.0, "maximum": 2.0}, "`minimum` is 2"),
        ({"minimum": float("nan")}, "`minimum` is nan"),
        ({"maximum": float("inf")}, "`maximum` is inf"),
        ({"target_transform": "lgo"}, r"'lgo'.*'log'"),
    ],
)
def test_contradictory_ranges_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config(Path("base"), "regression", **settings)


@pytest.mark.parametrize("kind", ["classification", "math"])
@pytest.mark.parametrize(("name", "value"), [("minimum", 0.0), ("maximum", 1.0), ("target_transform", "log")])
def test_settings_of_numbers_are_refused_for_other_tasks(kind: str, name: str, value: Any) -> None:
    config = tiny_config(Path("base"), kind, **{name: value})
    target = "a" if kind == "classification" else 1.0
    rows = [replace(row, target=Target(target)) for row in rows_with([0.0, 1.0])]
    with pytest.raises(ConfigError, match=f"`{name}` is {value!r}.*{kind}"):
        make_setup(config, custom_task(prompt="{text} =", target=TARGET, kind=kind), rows)


@pytest.mark.parametrize("ends", [{"minimum": 6.0}, {"maximum": 0.5}])
def test_one_end_may_contradict_the_tasks_own_range(ends: dict[str, float]) -> None:
    data = data_with([1.0, 5.0])
    config = tiny_config(Path("base"), "regression", **ends)
    with pytest.raises(ConfigError, match="`minimum` must be below `maximum`"):
        make_setup(config, replace(data.task, scale=(1.0, 5.0)), data.train)


@pytest.mark.parametrize("bias", [-4.0, -0.3, 4.0])
def test_a_directors_number_lies_inside_its_quantiles_and_is_their_mean(base: Path, bias: float) -> None:
    trained = run_on(base, [-3.0, 1.0, 2.0, 4.0], method="predgen", director="value")
    torch.nn.init.constant_(trained.model.director.head.bias, bias)
    for found in trained.predict_examples(rows_with([0.0] * 4), decoding=Decoding(distribution=True)):
        assert found.distribution is not None
        assert found.distribution.quantile(0.0) <= found.value <= found.distribution.quantile(1.0)
        assert found.distribution.mean() == pytest.approx(found.value)


PRICES = [3.99, 12.5, 45.62, 94.18, 115.46, 399.0, 2647.0, 12.5]


@pytest.mark.parametrize("transform", ["log", "quantile"])
@pytest.mark.parametrize("method", METHODS)
def test_transformed_targets_come_back(base: Path, method: str, transform: str, tmp_path: Path) -> None:
    trained = run_on(base, PRICES, method=method, target_transform=transform)
    rows = rows_with(PRICES)
    decoding = Decoding(distribution=method != "predictor", max_unexpanded=0.0)
    found = trained.predict_examples(rows, decoding=decoding)
    loaded = predgen.load(trained.save(tmp_path / "run"))
    assert loaded.model.scale == trained.model.scale
    for mine, theirs in zip(found, loaded.predict_examples(rows, decoding=decoding), strict=True):
        assert theirs.value == pytest.approx(mine.value, rel=1e-5)
        assert mine.value > 0
        if mine.distribution is None:
            continue
        assert mine.distribution.support.min() > 0
        quantiles = [mine.distribution.quantile(level) for level in (0.0, 0.5, 1.0)]
        assert quantiles == sorted(quantiles)
        assert quantiles[0] <= mine.value <= quantiles[2]
    if transform == "quantile":
        assert all(3.99 <= p.value <= 2647.0 for p in found)
    expected = float(np.mean([(p.value - price) ** 2 for p, price in zip(found, PRICES, strict=True)]))
    assert evaluate(trained, rows, n_resamples=2).metrics["mse"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("transform", ["log", "quantile"])
def test_written_support_is_mapped_and_its_probabilities_are_not(base: Path, transform: str) -> None:
    trained = run_on(base, PRICES, method="generator", target_transform=transform)
    codec, scale = trained.encoder.codec, trained.model.scale
    batch = collate([trained.encoder.encode(row) for row in rows_with(PRICES)], 0)
    exact = trained.model.answer_log_probs(batch).double().softmax(dim=1).numpy()
    means = trained.predict_examples(rows_with(PRICES), decoding=Decoding("mean", distribution=True))
    for row, prediction in zip(exact, means, strict=True):
        numbers = prediction.distribution
        assert numbers is not None
        raws = np.array([scale.raw(written) for written in codec.answers()])
        np.testing.assert_allclose(numbers.support, raws, rtol=1e-12)
        np.testing.assert_allclose(numbers.probabilities, row, atol=1e-5)
        assert prediction.value == pytest.approx(float(row @ raws), rel=1e-4)  # the mean of raw numbers
    argmax = trained.predict_examples(rows_with(PRICES))
    for row, prediction in zip(exact, argmax, strict=True):
        written = codec.value_at(int(row.argmax()))
        assert prediction.answer == repr(written)  # what was written is the transformed number
        assert prediction.value == pytest.approx(scale.raw(written))


def test_heads_learn_transformed_numbers(base: Path) -> None:
    trained = run_on(base, PRICES, method="predictor", target_transform="log")
    logs = np.log(PRICES)
    encoded = [trained.encoder.encode(row) for row in rows_with(PRICES)]
    assert [row.standardised for row in encoded] == pytest.approx(((logs - logs.mean()) / logs.std()).tolist())
    assert [row.target for row in encoded] == PRICES  # metrics compare raw numbers
    torch.nn.init.zeros_(trained.model.head.weight)
    torch.nn.init.zeros_(trained.model.head.bias)
    geometric_mean = float(np.exp(logs.mean()))
    found = [p.value for p in trained.predict_examples(rows_with(PRICES))]
    assert found == pytest.approx([geometric_mean] * len(PRICES))


def test_log_refuses_zeros_before_a_model_is_loaded() -> None:
    data = data_with([0.0, 1.0, 2.0])
    with pytest.raises(DataError, match=r"'log'.*1 of 3"):
        make_setup(tiny_config(Path("base"), "regression", target_transform="log"), data.task, data.train)


def test_measured_numbers_that_a_transform_cannot_write_are_scored_and_counted(base: Path) -> None:
    trained = run_on(base, PRICES, method="predictor", target_transform="log")
    found = evaluate(trained, rows_with([10.0, 0.0, -5.0]), n_resamples=2)
    assert found.counts["out_of_range"] == 2
    assert np.isfinite(found.metrics["mse"])

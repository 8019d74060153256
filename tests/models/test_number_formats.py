"""Models that write significant digits with an exponent: every way to a prediction agrees with one-by-one scoring."""

import csv
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import predgen
from method_cases import (
    NUMBERS,
    SCALE,
    TOLERANCE,
    Case,
    assert_same_predictions,
    encode,
    gradients_of,
    make,
    plain_log_probs,
    plan,
    sequential,
)
from predgen.codecs.number import NumberCodec
from predgen.codecs.scientific_space import ScientificSpace, needed_characters
from predgen.codecs.spelling import char_ids, separator_ids, stop_id
from predgen.core import Decoding, Example, Target
from predgen.data.collate import Batch, collate
from predgen.data.examples import custom_task
from predgen.errors import ConfigError
from predgen.inference.stream import predict_file
from predgen.models.writer import WritingModel
from predgen.training.rows import TrainingData
from tiny_runs import TARGET, tiny_base, tiny_run
from tokenizers_for_tests import char_level

CASES = (
    Case("generator", "regression"),
    Case("predgen", "regression", "value", "token"),
    Case("predgen", "regression", "ordered", "token"),
    Case("predgen", "regression", "expected", "token"),
    Case("predgen", "regression", "value", "marginal"),
)
EXPANDED = CASES[:3]


def codec() -> NumberCodec:
    """25 numbers of one significant digit: -2, -1, -0.9, .. 0.9, 1, .. 4."""
    tokenizer = char_level()
    characters = char_ids(tokenizer, needed_characters(-11, -1))
    space = ScientificSpace(-11, 13, 1, -1, characters, separator_ids(tokenizer), stop_id(tokenizer))
    return NumberCodec(space, (-2.0, 4.0), 0.0)


def rows() -> Batch:
    return collate(encode("regression", codec())[:4], char_level().pad_token_id)


def model_of(case: Case, max_tree_nodes: int = 256) -> WritingModel:
    model = make(replace(case, max_tree_nodes=max_tree_nodes), codec=codec())
    assert isinstance(model, WritingModel)
    return model


def exact(model: WritingModel) -> np.ndarray:
    """P(a|X) by a plain loop."""
    batch = rows()
    prompts = [ids[mask].tolist() for ids, mask in zip(batch.prompt_ids, batch.prompt_mask, strict=True)]
    return np.exp([plain_log_probs(model, prompt, codec())[0] for prompt in prompts])


@pytest.mark.parametrize("max_tree_nodes", [256, 4])
def test_distributions_and_points_are_those_of_one_by_one_scoring(max_tree_nodes: int) -> None:
    model = model_of(CASES[0], max_tree_nodes)
    assert (model.tree is None) == (max_tree_nodes == 4)
    wanted, grid = exact(model), codec().grid
    assert wanted.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    for how, expected in (("mean", wanted @ grid), ("argmax", grid[wanted.argmax(axis=1)])):
        found = model.predict(rows(), Decoding(how, distribution=True, max_unexpanded=0.0))
        assert [p.value for p in found] == pytest.approx(expected.tolist(), abs=1e-4)
        for prediction, probabilities in zip(found, wanted, strict=True):
            assert prediction.distribution.support.tolist() == grid.tolist()
            assert prediction.distribution.probabilities == pytest.approx(probabilities, abs=TOLERANCE)
            assert not prediction.flags


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_tree_pass_equals_writing_one_by_one(case: Case) -> None:
    model = model_of(case)
    stated = "greedy" if case.sampling != "marginal" and case.director != "expected" else "mean"
    slow = sequential(model_of(CASES[0]))
    assert_same_predictions(
        model_of(CASES[0]).predict(rows(), Decoding(stated)), slow.predict(rows(), Decoding(stated, max_unexpanded=0.0))
    )
    values = [p.value for p in model.predict(rows())]
    assert len({round(value, 4) for value in values}) > 1
    assert all(torch.isfinite(gradient).all() for gradient in gradients_of(model, [rows()]).values())


def test_the_expected_director_learns_the_exact_mean() -> None:
    model = model_of(CASES[3])
    mean = exact(model) @ codec().grid
    losses = model(rows(), plan(0.0), "example").director
    wanted = ((mean - np.array(NUMBERS[:4])) / SCALE.std) ** 2
    assert losses.tolist() == pytest.approx(wanted.tolist(), abs=1e-4)


@pytest.mark.parametrize("case", CASES[3:], ids=str)
def test_what_needs_one_pass_is_refused_beyond_it(case: Case) -> None:
    with pytest.raises(ConfigError, match="`max_tree_nodes`"):
        model_of(case, 4)


@pytest.mark.parametrize("case", EXPANDED, ids=str)
def test_a_spent_budget_is_flagged(case: Case) -> None:
    model = model_of(case, 4)
    for decoding in (Decoding(distribution=True, max_unexpanded=0.0, max_nodes=1), Decoding("mean", max_nodes=1)):
        for prediction in model.predict(rows(), decoding):
            assert "partly_expanded" in prediction.flags
            assert prediction.value is not None
            if decoding.distribution:
                assert prediction.distribution.is_cut
                assert prediction.distribution.unexpanded > 0
                assert prediction.distribution.probabilities.sum() == pytest.approx(1.0, abs=1e-9)
    assert not any(p.flags for p in model.predict(rows(), Decoding("greedy", max_nodes=1)))


def test_leading_digits_weigh_most_in_director_ordered() -> None:
    assert codec().text(codec().encode(Target(3.0))[:-1]) == "+e+0.3"
    # separator, sign, e, sign of the exponent, exponent (only 0 or 1 follow, by the sign: forced), point, digit, stop
    assert codec().weighed_positions(codec().encode(Target(3.0))) == (
        False,
        True,
        False,
        True,
        False,
        False,
        True,
        False,
    )
    batch = rows()
    assert model_of(CASES[2])(batch, plan(), "example").director.isfinite().all()


MILLIONTHS = [1e-6 + 8e-6 * i / 15 for i in range(16)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base") / "llama")


def data_of(targets: list[float]) -> TrainingData:
    task = custom_task(prompt="{text} =", target=TARGET, kind="regression")
    return TrainingData(task, [Example(i, {"text": f"row {i}"}, Target(t)) for i, t in enumerate(targets)], [])


@pytest.mark.parametrize("method", ["generator", "predgen"])
def test_runs_on_millionths_write_apart_and_come_back_from_disk(base: Path, tmp_path: Path, method: str) -> None:
    data = data_of(MILLIONTHS)
    trained = tiny_run(base, "regression", data, tmp_path / "run", method=method, max_steps=2)
    written = [trained.encoder.codec.nearest(value) for value in MILLIONTHS]
    assert len({*written}) == 16
    assert max(abs(a - b) for a, b in zip(written, MILLIONTHS, strict=True)) < 0.01 * statistics.pstdev(MILLIONTHS)
    manifest = json.loads((tmp_path / "run" / "predgen.json").read_text(encoding="utf-8"))
    facts = manifest["report"]["numbers_written"]
    assert facts["format"] == "scientific"
    assert 0 <= facts["rounding_share"] < 0.01
    assert "remark" not in facts
    loaded = predgen.load(tmp_path / "run")
    decoding = Decoding("mean", distribution=True)
    for ours, theirs in zip(
        loaded.predict_examples(data.train, decoding=decoding),
        trained.predict_examples(data.train, decoding=decoding),
        strict=True,
    ):
        assert ours.value == theirs.value
        assert ours.distribution.support.tolist() == theirs.distribution.support.tolist()
        moved = ours.distribution.shift  # what is written ends at 1.1e-5; a head moves all of it
        assert 0 <= ours.distribution.quantile(0.05) <= ours.distribution.quantile(0.95) <= 1.1e-5 + moved


@pytest.mark.parametrize("settings", [{"number_format": "fixed"}, {"decimals": 3}])
def test_a_run_that_rounds_badly_by_request_says_so_in_its_report(base: Path, settings: dict[str, Any]) -> None:
    report = tiny_run(base, "regression", data_of(MILLIONTHS), method="generator", max_steps=1, **settings).report
    facts = report["numbers_written"]
    assert facts["format"] == "fixed"
    assert facts["rounding_share"] > 0.01
    assert "number_format" in facts["remark"]


def test_saved_codecs_of_version_0_1_are_fixed() -> None:
    data = NumberCodec.fit([0.5, 9.5], char_level()).to_dict()
    assert "format" not in data
    assert NumberCodec.from_dict(data).space.format == "fixed"


def test_predicted_files_say_what_a_large_grid_leaves_unexpanded(base: Path, tmp_path: Path) -> None:
    targets = [0.0, 99999.99, *(6000.5 * i for i in range(14))]
    trained = tiny_run(base, "regression", data_of(targets), method="generator", max_steps=1, decimals=2)
    (tmp_path / "in.csv").write_text("text\nrow 1\nrow 2\n", encoding="utf-8")
    summary = predict_file(
        trained,
        tmp_path / "in.csv",
        tmp_path / "out.csv",
        quantiles=[0.05, 0.95],
        decoding=Decoding(max_unexpanded=0.0, max_nodes=20),
    )
    assert summary.flags == {"partly_expanded": 2}
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == ["text", "prediction", "q(0.05)", "q(0.95)", "unexpanded"]
    for row in rows:
        assert 0 < float(row["unexpanded"]) <= 1
        assert float(row["q(0.05)"]) <= float(row["q(0.95)"])

"""What can be asked of a model that writes: exact probabilities, points, distributions, and what is refused."""

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from method_cases import (
    NUMBERS,
    TOLERANCE,
    Case,
    assert_same_predictions,
    batch_of,
    codec_of,
    encode,
    made,
    make,
    plain_log_probs,
    sequential,
)
from predgen import registries
from predgen.codecs.label import LabelCodec
from predgen.codecs.number import NumberCodec
from predgen.core import Decoding, Prediction
from predgen.data.collate import Batch, collate
from predgen.decodings import DecodingRule
from predgen.errors import ConfigError
from predgen.models.writer import WritingModel
from predgen.settings import Settings, setting
from registered import registrations_undone
from tokenizers_for_tests import char_level

CLASSES, NUMBERED = Case("generator", "classification"), Case("generator", "regression")
HEADED = (Case("predgen", "classification", "linear", "token"), Case("predgen", "regression", "value", "token"))
HEADLESS = (Case("predgen", "regression", "ordered", "token"), Case("predgen", "regression", "expected", "token"))
FAMILIES = ("llama", "gemma3")


@functools.cache
def small_codec() -> NumberCodec:
    """61 numbers, -2.0 to 4.0."""
    return NumberCodec.fit(NUMBERS, char_level(), scale=(-2.0, 4.0), decimals=1)


@functools.cache
def small_rows() -> Batch:
    return collate(encode("regression", small_codec())[:4], char_level().pad_token_id)


@functools.cache
def small(case: Case, family: str = "llama", max_tree_nodes: int = 256) -> WritingModel:
    """A model of these numbers, all of which fit into a pass, or not."""
    model = make(replace(case, max_tree_nodes=max_tree_nodes), family, codec=small_codec())
    assert isinstance(model, WritingModel)
    return model


@functools.cache
def exact(family: str, case: Case = NUMBERED) -> tuple[np.ndarray, np.ndarray]:
    """P(a|X) of each of the four rows by a plain loop, under legal tokens and under all."""
    found = [plain_log_probs(small(case, family), prompt, small_codec()) for prompt in prompts(small_rows())]
    return np.exp([legal for legal, _ in found]), np.exp([full.numpy() for _, full in found])


def prompts(batch: Batch) -> list[list[int]]:
    return [ids[mask].tolist() for ids, mask in zip(batch.prompt_ids, batch.prompt_mask, strict=True)]


def values(predictions: list[Prediction]) -> list[Any]:
    assert len(predictions) == 4
    return [p.value for p in predictions]


def quantile_of(weights: np.ndarray, level: float) -> float:
    """The lowest number with this share at or below it, by addition."""
    total = 0.0
    for number, weight in zip(small_codec().grid, weights, strict=True):
        total += float(weight)
        if total >= level - 1e-9:
            return float(number)
    raise AssertionError(total)


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_have_the_probabilities_of_one_by_one_scoring(family: str) -> None:
    model, batch, codec = made(CLASSES, family), batch_of("classification"), codec_of("classification")
    assert isinstance(codec, LabelCodec)
    greedy = [codec.decode(ids).value for ids in model.write(batch).sequences()]
    found = {how: model.predict(batch, Decoding(how)) for how in (None, "greedy", "argmax")}
    for row, prompt in enumerate(prompts(batch)):
        wanted = np.exp(plain_log_probs(model, prompt, codec)[0])
        for predictions in found.values():
            assert predictions[row].probabilities == pytest.approx(wanted.tolist(), abs=TOLERANCE)
            assert math.fsum(predictions[row].probabilities) == pytest.approx(1.0, abs=1e-12)
        best = codec.labels[int(wanted.argmax())]
        assert (found[None][row].value, found["argmax"][row].value, found["greedy"][row].value) == (
            best,
            best,
            greedy[row],
        )
        assert found["greedy"][row].answer == greedy[row]


@pytest.mark.parametrize("family", FAMILIES)
def test_full_vocabulary_probabilities_and_legal_mass(family: str) -> None:
    batch, codec = batch_of("classification"), codec_of("classification")
    model = made(CLASSES, family)
    for prediction, prompt in zip(model.predict(batch, Decoding(full_vocabulary=True)), prompts(batch), strict=True):
        full = plain_log_probs(model, prompt, codec)[1].exp()
        assert prediction.legal_mass == pytest.approx(float(full.sum()), rel=1e-4)
        assert prediction.probabilities == pytest.approx((full / full.sum()).tolist(), abs=TOLERANCE)
        assert prediction.value == codec.labels[int(full.argmax())]
        assert 0 < prediction.legal_mass < 1
    assert all(p.legal_mass is None for p in model.predict(batch))


def test_head_that_all_answers_share_costs_nothing_but_legal_mass() -> None:
    codec = LabelCodec.fit(["yes, no", "yes, yes", "yes, maybe"], char_level())
    model = make(CLASSES, codec=codec)
    assert len(model.tree.head) == 6  # " yes, "
    rows = collate(encode_labels(codec), 0)
    for prediction, prompt in zip(model.predict(rows, Decoding(full_vocabulary=True)), prompts(rows), strict=True):
        legal, full = plain_log_probs(model, prompt, codec)
        assert math.log(prediction.legal_mass) == pytest.approx(float(full.logsumexp(0)), abs=1e-4)
        assert prediction.probabilities == pytest.approx(full.softmax(0).tolist(), abs=TOLERANCE)
    for prediction, prompt in zip(model.predict(rows), prompts(rows), strict=True):
        legal, _ = plain_log_probs(model, prompt, codec)
        assert prediction.probabilities == pytest.approx(np.exp(legal).tolist(), abs=TOLERANCE)


def encode_labels(codec: LabelCodec) -> list[Any]:
    from predgen.core import Example, Target
    from predgen.data.encode import Encoder

    encoder = Encoder(char_level(), "R: {text}\nA:", codec, labels=codec.labels)
    return [encoder.encode(Example(i, {"text": "x" * i}, Target(label))) for i, label in enumerate(codec.labels)]


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_tree_nodes", [256, 5])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_point_is_read_off_the_exact_distribution(family: str, max_tree_nodes: int) -> None:
    model, batch, grid = small(NUMBERED, family, max_tree_nodes), small_rows(), np.array(small_codec().grid)
    assert (model.tree is None) == (max_tree_nodes == 5)
    wanted, _ = exact(family)
    everything = {
        how: model.predict(batch, Decoding(how, True, 0.0)) for how in (None, "greedy", "argmax", "mean", "median")
    }
    greedy = [small_codec().decode(ids).value for ids in model.write(batch).sequences()]
    assert values(everything["greedy"]) == greedy
    assert values(everything["argmax"]) == values(everything[None]) == grid[wanted.argmax(axis=1)].tolist()
    assert values(everything["mean"]) == pytest.approx((wanted @ grid).tolist(), abs=TOLERANCE)
    assert values(everything["median"]) == [quantile_of(row, 0.5) for row in wanted]
    answers = {how: [p.answer for p in found] for how, found in everything.items()}
    assert answers["mean"] == answers["median"] == [None] * 4
    assert answers["greedy"] == [repr(value) for value in greedy]
    for how, found in everything.items():
        plain = model.predict(batch, Decoding(how, max_unexpanded=0.0))
        assert values(plain) == pytest.approx(values(found), abs=1e-9)
        assert all(p.distribution is None for p in plain)


@pytest.mark.parametrize("max_tree_nodes", [256, 5])
@pytest.mark.parametrize("family", FAMILIES)
def test_distribution_is_that_of_one_by_one_scoring(family: str, max_tree_nodes: int) -> None:
    model, (wanted, _) = small(NUMBERED, family, max_tree_nodes), exact(family)
    for found, row in zip(model.distributions(small_rows()), wanted, strict=True):
        assert found.support.tolist() == list(small_codec().grid)
        np.testing.assert_allclose(found.probabilities, row, atol=TOLERANCE)
        assert math.fsum(found.probabilities) == pytest.approx(1.0, abs=1e-12)
        assert found.mean() == pytest.approx(float(np.average(small_codec().grid, weights=row)), abs=TOLERANCE)
        assert found.mode() == small_codec().grid[int(row.argmax())]
        assert [found.quantile(q) for q in (0.05, 0.3, 0.9)] == [quantile_of(row, q) for q in (0.05, 0.3, 0.9)]
        assert (found.unexpanded, found.mean_error) == (0.0, 0.0)
        assert 0 < found.nodes < 61


@pytest.mark.parametrize("bound", [0.001, 0.1, 0.5])
@pytest.mark.parametrize("family", FAMILIES)
def test_large_grids_stay_within_the_bounds_they_state(family: str, bound: float) -> None:
    model, (wanted, _) = small(NUMBERED, family, 5), exact(family)
    grid = list(small_codec().grid)
    for found, row in zip(model.distributions(small_rows(), bound), wanted, strict=True):
        assert found.unexpanded <= bound
        assert abs(found.mean() - float(row @ np.array(grid))) <= found.mean_error + TOLERANCE
        assert found.mode() == grid[int(row.argmax())]
        cumulated = dict(zip(grid, row.cumsum(), strict=True))
        for number, mass in zip(found.support, found.probabilities.cumsum(), strict=True):
            assert abs(cumulated[float(number)] - mass) <= found.unexpanded + TOLERANCE
        assert (found.mean_error > 0) == (found.unexpanded > 0)
    costs = [sum(d.nodes for d in model.distributions(small_rows(), b)) for b in (0.0, 0.5)]
    assert costs[1] <= costs[0]


def test_a_loose_bound_leaves_something_unexpanded() -> None:
    # Guard for the test above.
    left = [d.unexpanded for f in FAMILIES for d in small(NUMBERED, f, 5).distributions(small_rows(), 0.5)]
    assert max(left) > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_full_vocabulary_of_numbers(family: str) -> None:
    _, full = exact(family)
    found = small(NUMBERED, family).predict(small_rows(), Decoding("mean", distribution=True, full_vocabulary=True))
    for prediction, row in zip(found, full, strict=True):
        assert prediction.legal_mass == pytest.approx(row.sum(), rel=1e-3)
        np.testing.assert_allclose(prediction.distribution.probabilities, row / row.sum(), atol=TOLERANCE)
        assert prediction.value == pytest.approx(float(row @ small_codec().grid / row.sum()), abs=TOLERANCE)


@pytest.mark.parametrize("case", [*HEADLESS, HEADED[1]], ids=str)
def test_predgen_gives_the_writers_distribution_beside_its_own_word(case: Case) -> None:
    model, (wanted, _) = small(case), exact("llama", case)
    plain = model.predict(small_rows())
    for max_tree_nodes in (256,) if case.director == "expected" else (256, 5):
        found = small(case, "llama", max_tree_nodes).predict(
            small_rows(), Decoding(distribution=True, max_unexpanded=0.0)
        )
        assert_same_predictions(found, plain)
        for prediction, row in zip(found, wanted, strict=True):
            np.testing.assert_allclose(prediction.distribution.probabilities, row, atol=TOLERANCE)
    # The written answer comes with what the writer says; a head moves all other points (tests/models/test_one_distribution.py).
    grid = np.array(small_codec().grid)
    if case in HEADLESS:
        assert values(model.predict(small_rows(), Decoding("argmax"))) == grid[wanted.argmax(axis=1)].tolist()
    for prediction, row in zip(model.predict(small_rows(), Decoding("greedy", distribution=True)), wanted, strict=True):
        np.testing.assert_allclose(prediction.distribution.probabilities, row, atol=TOLERANCE)
        assert prediction.distribution.support.tolist() == grid.tolist()


@torch.no_grad()
@pytest.mark.parametrize("how", ["director at the greedy answer", "tree", "no tree"])
@pytest.mark.parametrize("case", HEADED, ids=str)
def test_headed_director_reads_the_greedy_answer_on_every_path(case: Case, how: str) -> None:
    model, batch = make(case), batch_of(case.kind)
    wanted = made(case, "llama").predict(batch)
    if how == "no tree":
        sequential(model)
    assert_same_predictions(model.predict(batch), wanted)
    for prediction, prompt in zip(wanted, prompts(batch), strict=True):
        if how != "director at the greedy answer":
            continue
        ids = model.write(collate_prompt(prompt)).sequences()[0]
        states = model.lm(input_ids=torch.tensor([[*prompt, *ids]]), output_hidden_states=True).hidden_states[-1]
        output = model.director.head(states[:, len(prompt) :].mean(dim=1))[0]
        if case.kind == "classification":
            assert prediction.probabilities == pytest.approx(output.softmax(0).tolist(), abs=TOLERANCE)
        else:
            assert prediction.value == pytest.approx(float(output) * 1.75 + 1.0, abs=TOLERANCE)


@pytest.mark.parametrize("case", [CLASSES, NUMBERED, *HEADED, HEADLESS[0]], ids=str)
def test_predictions_do_not_depend_on_the_path(case: Case) -> None:
    batch = batch_of(case.kind)
    tree, paths = made(case, "llama"), make(case)
    paths.obstacle = "test"
    assert tree.engine == "tree pass"
    assert paths.way == "sequential: test"
    assert_same_predictions(paths.predict(batch), tree.predict(batch))


# --- refusals ---------------------------------------------------------------------------------------------------------

MATH = Case("predgen", "math", "ordered", "token")
PREDICTOR = Case("predictor", "regression")


@pytest.mark.parametrize(
    ("case", "decoding", "message"),
    [
        (
            CLASSES,
            Decoding("mean"),
            r"`decode` 'mean' is not for a classification model; allowed here: greedy, argmax, free",
        ),
        (HEADED[0], Decoding("median"), r"'median' is not for a classification model; allowed here: greedy, argmax\."),
        (MATH, Decoding("argmax"), r"'argmax' is not for a math model; allowed here: greedy\."),
        (MATH, Decoding("free"), r"'free' is not for a math model; allowed here: greedy\."),
        (CLASSES, Decoding("mean", distribution=True), r"'mean' is not for a classification model"),
        (
            CLASSES,
            Decoding(distribution=True),
            r"distributions and quantiles need a regression model, but this is a class",
        ),
        (MATH, Decoding(distribution=True), r"distributions and quantiles need a regression model, but this is a math"),
        (MATH, Decoding(full_vocabulary=True), r"full-vocabulary probabilities need all answers in one tree pass"),
        (PREDICTOR, Decoding("mean"), r"a predictor writes nothing\. Leave them out, or train a generator or predgen"),
        (PREDICTOR, Decoding(distribution=True), "a predictor writes nothing"),
        (PREDICTOR, Decoding(full_vocabulary=True), "a predictor writes nothing"),
    ],
    ids=str,
)
def test_what_a_model_cannot_be_asked_for_is_refused(case: Case, decoding: Decoding, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(case, "llama").check(decoding)
    made(case, "llama").check(Decoding())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"how": "men"}, r"unknown decoding 'men'\. Did you mean 'mean'"),
        ({"max_unexpanded": 1.0}, r"`max_unexpanded` is 1,"),
        ({"max_unexpanded": -0.1}, r"`max_unexpanded` is -0\.1, outside 0\.\.1"),
        ({"max_nodes": 0}, r"`max_nodes` is 0, outside 1\.\."),
        ({"how": "mean", "own": {"share": 0.1}}, r"`share` is no setting of decoding 'mean'"),
    ],
)
def test_what_no_model_can_be_asked_for_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Decoding(**asked)


@dataclass(frozen=True)
class LevelSettings(Settings):
    level: float = setting(0.5, "Share of the mass below the number.", low=0.0, high=1.0)


def at_level(settings: LevelSettings) -> DecodingRule:
    return DecodingRule("numbers", lambda numbers: numbers.quantile(settings.level))


def test_own_decodings_have_settings_and_are_asked_for_like_others() -> None:
    with registrations_undone():
        registries.decodings.register("level", f"{__name__}:at_level", "a quantile", settings=LevelSettings)
        model, rows = small(NUMBERED, "llama"), small_rows()
        found = [model.predict(rows, Decoding("level", own=own)) for own in ({}, {"level": 0.9})]
        numbers = [p.distribution for p in model.predict(rows, Decoding(distribution=True))]
        for level, predictions in zip((0.5, 0.9), found, strict=True):
            assert [p.value for p in predictions] == [n.quantile(level) for n in numbers if n is not None]
        assert values(found[0]) == values(model.predict(rows, Decoding("median")))
        with pytest.raises(ConfigError, match="`level` is 2"):
            model.predict(rows, Decoding("level", own={"level": 2.0}))


def test_full_vocabulary_needs_one_pass() -> None:
    with pytest.raises(
        ConfigError, match=r"more than `max_tree_nodes` 5 nodes, or no finite set\. Train with fewer `dec"
    ):
        small(NUMBERED, "llama", 5).check(Decoding(full_vocabulary=True))


def collate_prompt(prompt: list[int]) -> Batch:
    """One prompt as a batch."""
    row = replace(encode("regression", small_codec())[0], prompt_ids=tuple(prompt))
    return collate([row], 0)


@pytest.mark.parametrize(
    "scale", [(12.0, 18.5), (-9.5, -3.0), (0.0, 1.0), (-0.5, 20.0)], ids=["12..18.5", "-9.5..-3", "0..1", "-0.5..20"]
)
def test_grids_with_beginnings_of_their_own(scale: tuple[float, float]) -> None:
    # All numbers start with " 1" or " -", or widths and signs make the trie uneven.
    codec = NumberCodec.fit(list(scale), char_level(), scale=scale, decimals=1)
    rows = collate([replace(row, answer_ids=(), weighed=()) for row in encode("regression", small_codec())[:3]], 0)
    one_pass, many = (make(replace(NUMBERED, max_tree_nodes=nodes), codec=codec) for nodes in (2000, 3))
    assert isinstance(one_pass, WritingModel)
    assert isinstance(many, WritingModel)
    assert (one_pass.tree is None, many.tree is None or codec.size < 12) == (False, True)
    wanted = [np.exp(plain_log_probs(one_pass, prompt, codec)[0]) for prompt in prompts(rows)]
    for model in (one_pass, many):
        for found, row in zip(model.distributions(rows), wanted, strict=True):
            np.testing.assert_allclose(found.probabilities, row, atol=TOLERANCE)
            assert found.support.tolist() == list(codec.grid)
        greedy = [codec.decode(ids).value for ids in model.write(rows).sequences()]
        assert [p.value for p in model.predict(rows, Decoding("greedy"))] == greedy
    full = one_pass.predict(rows, Decoding(full_vocabulary=True))
    for prediction, prompt in zip(full, prompts(rows), strict=True):
        mass = float(plain_log_probs(one_pass, prompt, codec)[1].logsumexp(0))
        assert math.log(prediction.legal_mass) == pytest.approx(mass, abs=1e-4)

"""Whatever is read of a prediction is read off one distribution, tempered or not, moved by a head or not."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from method_cases import Case, batch_of, encode, make
from predgen.codecs.number import NumberCodec
from predgen.core import Decoding, Prediction
from predgen.data.collate import Batch, collate
from predgen.models.base import PredictionModel
from predgen.models.writer import DIRECTOR, WritingModel
from tokenizers_for_tests import char_level

NUMBERS = [Case("generator", "regression")]
NUMBERS += [Case("predgen", "regression", name, "token") for name in ("value", "ordered", "expected", "crps", "nll")]
NUMBERS += [Case("predgen", "regression", "residual", "off"), Case("predgen", "regression", "value", "marginal")]
LABELS = [Case("predictor", "classification"), Case("generator", "classification")]
LABELS += [Case("predgen", "classification", name, "token") for name in ("linear", "residual", "crps", "nll", "reward")]
WHOLE = Decoding(distribution=True, max_unexpanded=0.0)


@functools.cache
def codec() -> NumberCodec:
    """61 numbers, -2.0 to 4.0."""
    return NumberCodec.fit([0.2, -1.5], char_level(), scale=(-2.0, 4.0), decimals=1)


@functools.cache
def rows() -> Batch:
    return collate(encode("regression", codec())[:4], char_level().pad_token_id)


def at(case: Case, temperature: float, max_tree_nodes: int = 256) -> PredictionModel:
    model = make(replace(case, max_tree_nodes=max_tree_nodes), codec=codec() if case.kind == "regression" else None)
    model.temperature = temperature
    return model


def asked(how: str | None) -> Decoding:
    return replace(WHOLE, how=how)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("case", NUMBERS, ids=str)
def test_every_point_is_read_off_the_one_distribution(case: Case, temperature: float) -> None:
    model = at(case, temperature)
    assert isinstance(model, WritingModel)
    own = model.predict(rows(), WHOLE)
    for how in (None, "argmax", "mean", "median"):
        bare = model.predict(rows(), Decoding(how))
        for found, told, alone in zip(model.predict(rows(), asked(how)), own, bare, strict=True):
            numbers, whole = found.distribution, told.distribution
            assert numbers is not None
            assert whole is not None
            np.testing.assert_allclose(numbers.support, whole.support, atol=1e-9)
            np.testing.assert_allclose(numbers.probabilities, whole.probabilities, atol=1e-12)
            assert numbers.support[0] <= found.value <= numbers.support[-1]
            assert alone.value == pytest.approx(found.value, abs=1e-6)
            assert (alone.distribution, numbers.temperature) == (None, temperature)
            point = {"argmax": numbers.mode, "mean": numbers.mean, "median": numbers.median}.get(how or "mean")
            if how is not None or model.keeps_mean or model.own_decoding == DIRECTOR:
                assert found.value == pytest.approx(point(), abs=1e-9)
            elif model.own_decoding == "argmax":
                assert found.value == numbers.mode()
            else:
                assert found.value in numbers.support


@pytest.mark.parametrize("case", NUMBERS, ids=str)
def test_another_temperature_is_told_from_a_prediction_as_it_is_predicted_anew(case: Case) -> None:
    model = at(case, 1.0)
    assert isinstance(model, WritingModel)
    plain, anew = model.predict(rows(), WHOLE), at(case, 2.5).predict(rows(), WHOLE)
    for stated, wanted in zip(plain, anew, strict=True):
        told = model.retold(stated, 2.5)
        assert told is not None
        assert (told.value, told.answer, told.flags) == (wanted.value, wanted.answer, wanted.flags)
        assert told.distribution is not None
        assert wanted.distribution is not None
        assert told.distribution.to_dict() == wanted.distribution.to_dict()


def test_another_temperature_is_not_told_from_what_does_not_have_every_number() -> None:
    partly = at(NUMBERS[0], 1.0, 5)
    assert isinstance(partly, WritingModel)
    assert partly.retold(partly.predict(rows(), WHOLE)[0], 2.5) is None
    bare = at(NUMBERS[0], 1.0)
    assert isinstance(bare, WritingModel)
    assert bare.retold(bare.predict(rows())[0], 2.5) is None


@pytest.mark.parametrize("case", [NUMBERS[0], NUMBERS[1], NUMBERS[2]], ids=str)
def test_large_grids_have_the_distribution_of_small_ones_at_any_temperature(case: Case) -> None:
    for how in (None, "median", "mean"):
        pairs = zip(
            at(case, 2.0, 5).predict(rows(), asked(how)), at(case, 2.0).predict(rows(), asked(how)), strict=True
        )
        for found, wanted in pairs:
            assert found.value == pytest.approx(wanted.value, abs=1e-5)
            np.testing.assert_allclose(found.distribution.probabilities, wanted.distribution.probabilities, atol=1e-5)


@pytest.mark.parametrize("case", [*NUMBERS, *LABELS, Case("predictor", "regression")], ids=str)
def test_temperature_moves_no_answer(case: Case) -> None:
    batch = rows() if case.kind == "regression" else batch_of("classification")
    before, after = (at(case, t).predict(batch) for t in (1.0, 2.5))
    for one, other in zip(before, after, strict=True):
        if case.kind == "classification":
            assert one.value == other.value
            assert (one.temperature, other.temperature) == (1.0, 2.5)
            raised = np.array(one.probabilities) ** (1 / 2.5)
            np.testing.assert_allclose(other.probabilities, raised / raised.sum(), atol=1e-6)
        else:
            assert one.value == pytest.approx(other.value, abs=1e-6)


@pytest.mark.parametrize("case", [NUMBERS[1], NUMBERS[3], NUMBERS[0]], ids=str)
def test_a_higher_temperature_spreads_the_numbers_where_they_stand(case: Case) -> None:
    for cold, hot in zip(at(case, 1.0).predict(rows(), WHOLE), at(case, 4.0).predict(rows(), WHOLE), strict=True):
        assert cold.distribution is not None
        assert hot.distribution is not None
        cool, warm = cold.distribution.probabilities, hot.distribution.probabilities
        assert (warm * np.log(warm)).sum() < (cool * np.log(np.maximum(cool, 1e-300))).sum()
        assert hot.distribution.mean() == pytest.approx(cold.distribution.mean(), abs=1e-6) or case is NUMBERS[0]


def test_the_written_answer_comes_with_what_the_writer_says() -> None:
    case = Case("predgen", "regression", "value", "token")
    writer = at(Case("generator", "regression"), 1.0)
    headed = at(case, 1.0)
    for found in headed.predict(rows(), asked("greedy")):
        assert found.distribution is not None
        assert found.distribution.shift == 0.0
        assert found.value in found.distribution.support
    assert isinstance(headed, WritingModel)
    alone = [d.probabilities for d in headed.distributions(rows())]
    told = [p.distribution.probabilities for p in headed.predict(rows(), asked("greedy")) if p.distribution is not None]
    np.testing.assert_allclose(alone, told, atol=1e-6)
    assert len(writer.predict(rows())) == len(alone)


@pytest.mark.parametrize("director", ["linear", "residual"])
def test_a_labels_probabilities_are_the_heads_but_for_what_is_written(director: str) -> None:
    model = at(Case("predgen", "classification", director, "token"), 2.0)
    batch = batch_of("classification")
    own, argmax, greedy = (model.predict(batch, Decoding(how)) for how in (None, "argmax", "greedy"))
    assert [p.probabilities for p in argmax] == [p.probabilities for p in own]
    assert [p.value for p in argmax] == [p.value for p in own]
    assert all(p.value == model.setup.labels[int(np.argmax(p.probabilities))] for p in own)
    assert all(p.temperature == 1.0 for p in greedy)  # the head's temperature is not the writer's
    if director == "linear":
        assert [p.probabilities for p in greedy] != [p.probabilities for p in own]


def test_a_median_of_a_model_with_a_head_is_that_of_its_quantiles() -> None:
    model = at(Case("predgen", "regression", "value", "token"), 1.0)
    for found, own in zip(model.predict(rows(), Decoding("median")), model.predict(rows(), WHOLE), strict=True):
        assert own.distribution is not None
        assert found.value == own.distribution.quantile(0.5)
        assert found.answer is None  # no number that is written


def test_what_was_done_stands_in_the_prediction() -> None:
    model = at(Case("predgen", "regression", "value", "token"), 2.0)
    [first, *_] = model.predict(rows(), WHOLE)
    assert isinstance(first, Prediction)
    assert first.distribution is not None
    assert first.distribution.to_dict()["temperature"] == first.distribution.temperature == 2.0
    assert first.distribution.shift != 0.0

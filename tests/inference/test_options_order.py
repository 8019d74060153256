"""Options of a prompt in other orders: rows are asked so, and answers come back for the options they name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predgen.core import Example, Prediction, Target, TaskSpec
from predgen.errors import ConfigError
from predgen.evaluation import evaluate
from predgen.inference.options import averaged, in_orders, listed_options, orders_of
from predgen.inference.trained import TrainedModel
from predgen.training.rows import TrainingData
from tiny_runs import tiny_base, tiny_data, tiny_run

TASK = TaskSpec(
    name="custom",
    kind="classification",
    prompt="{question} One: {a} Two: {b} Three: {c} =",
    target="answer",
    metrics=("accuracy", "log_loss"),
    labels={"1": "one", "2": "two", "3": "three"},
    options=("a", "b", "c"),
)
NUMBERED = TaskSpec(
    name="custom",
    kind="classification",
    prompt="{question} {options} =",
    target="answer",
    metrics=("accuracy",),
    labels={"1": "answer1", "2": "answer2", "3": "answer3"},
    options=("option1", "option2", "option3"),
)


def rows(n: int = 12) -> list[Example]:
    labels = ("one", "two", "three")
    texts = ("warm", "cold", "kind")
    return [
        Example(
            i,
            {"question": f"{i}?", "a": texts[i % 3], "b": texts[(i + 1) % 3], "c": texts[(i + 2) % 3]},
            Target(labels[i % 3]),
        )
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    base = tiny_base(tmp_path_factory.mktemp("base") / "llama")
    return tiny_run(base, "classification", TrainingData(TASK, rows(), []), max_steps=1, method="generator")


def test_options_are_found_in_fields_of_their_own_and_in_a_numbered_one() -> None:
    own = listed_options(rows()[0], TASK)
    assert own is not None
    assert own.texts == ("warm", "cold", "kind")
    assert dict(own.inside(rows()[0], [2, 0, 1]).fields) == {"question": "0?", "a": "kind", "b": "warm", "c": "cold"}
    numbered = Example(0, {"question": "?", "options": "Answer1: fog and so on Answer2: rain"})
    found = listed_options(numbered, NUMBERED)
    assert found is not None
    assert found.texts == ("fog and so on", "rain")
    assert found.inside(numbered, [1, 0]).fields["options"] == "Answer1: rain Answer2: fog and so on"
    assert listed_options(Example(0, {"question": "Answer2: no"}), NUMBERED) is None


def test_orders_are_different_seeded_by_row_and_start_with_the_given_one() -> None:
    assert orders_of(3, 6, 0, 1)[0] == [0, 1, 2]
    assert len({tuple(order) for order in orders_of(3, 6, 0, 1)}) == 6 == len(orders_of(3, 99, 0, 1))
    assert orders_of(4, 3, 0, 1) == orders_of(4, 3, 0, 1) != orders_of(4, 3, 0, 2)


def test_answers_come_back_for_the_option_that_they_name(trained: TrainedModel) -> None:
    found = in_orders(trained, rows(4), 3)
    for row, of_row in zip(rows(4), found, strict=True):
        orders = orders_of(3, 3, 0, row.row_id)
        options = listed_options(row, TASK)
        assert options is not None
        for order, told in zip(orders, of_row, strict=True):
            [plain] = trained.predict_examples([options.inside(row, order)])
            assert plain.probabilities is not None
            assert told.probabilities is not None
            for place, option in enumerate(order):
                assert told.probabilities[option] == pytest.approx(plain.probabilities[place], abs=1e-6)
            assert told.value == trained.labels[int(np.argmax(told.probabilities))]


def test_evaluation_tells_how_many_answers_change_and_averages_them_away(trained: TrainedModel) -> None:
    plain = evaluate(trained, rows(), n_resamples=20)
    asked = evaluate(trained, rows(), n_resamples=20, permute_options=True)
    assert asked.metrics == pytest.approx(plain.metrics)
    pairs = in_orders(trained, rows(), 2)
    changed = np.mean([one.value != other.value for one, other in pairs])
    assert asked.changed_by_order is not None
    share, low, high = asked.changed_by_order
    assert share == pytest.approx(changed)
    assert low <= share <= high
    assert len(asked.to_dict()["changed_by_order"]) == 3
    assert "changed_by_order" not in plain.to_dict()
    mean = evaluate(trained, rows(), n_resamples=20, average_options=6)
    told = [averaged(of_row, trained.labels) for of_row in in_orders(trained, rows(), 6)]
    hits = [p.value == r.target.value for p, r in zip(told, rows(), strict=True) if r.target]
    assert mean.metrics["accuracy"] == pytest.approx(np.mean(hits))


def test_all_orders_averaged_say_the_same_whatever_the_order_of_the_row(trained: TrainedModel) -> None:
    row = rows(1)[0]
    options = listed_options(row, TASK)
    assert options is not None
    turned = options.inside(row, [1, 2, 0])
    one, other = (averaged(in_orders(trained, [r], 6)[0], trained.labels) for r in (row, turned))
    assert one.probabilities is not None
    assert other.probabilities is not None
    assert [other.probabilities[place] for place in (2, 0, 1)] == pytest.approx(one.probabilities, abs=1e-6)


@pytest.mark.parametrize("given", [{"permute_options": True}, {"average_options": 2}])
def test_prompts_without_options_are_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    trained = tiny_run(tiny_base(tmp_path / "base"), "classification", tiny_data("classification", 8), max_steps=1)
    with pytest.raises(ConfigError, match="orders of options are for prompts that list options"):
        evaluate(trained, tiny_data("classification", 4).train, **given)


def test_what_cannot_be_averaged_is_refused(trained: TrainedModel) -> None:
    with pytest.raises(ConfigError, match="takes the mean of probabilities"):
        averaged([Prediction("one"), Prediction("one")], trained.labels)
    with pytest.raises(ConfigError, match=r"`average_options` is 65, outside 1\.\.64"):
        in_orders(trained, rows(2), 65)

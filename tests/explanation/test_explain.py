"""What each word's absence changes: against single predictions of texts that are cut by hand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from predgen.core import Example, Target
from predgen.data.examples import custom_task
from predgen.errors import ConfigError, DataError
from predgen.explanation.explain import MOST_PARTS, Explanation, check_explainable, explain, explain_examples
from predgen.inference.trained import TrainedModel
from predgen.training.rows import TrainingData
from predgen.training.run import train
from tiny_runs import TARGET, tiny_base, tiny_config, tiny_data, tiny_run

TEXTS = ["the room was warm", "dull dull book", "tea", "", "no tea, and no room"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def labelled(base: Path) -> TrainedModel:
    return tiny_run(base, "classification", tiny_data("classification"), max_steps=2)


@pytest.fixture(scope="module")
def numbered(base: Path) -> TrainedModel:
    return tiny_run(base, "regression", tiny_data("regression"), max_steps=2)


def rows(texts: list[str]) -> list[Example]:
    return [Example(i, {"text": text}) for i, text in enumerate(texts)]


def drops(one: Explanation) -> list[float]:
    return [part.drop for part in one.left_out]


WITHOUT = {
    0: ["room was warm", "the was warm", "the room warm", "the room was"],
    1: ["dull book", "dull book", "dull dull"],
    2: [""],
    3: [],
    4: [
        "tea, and no room",
        "no, and no room",
        "no tea and no room",
        "no tea, no room",
        "no tea, and room",
        "no tea, and no",
    ],
}


def test_drops_of_labels_are_those_of_single_predictions(labelled: TrainedModel) -> None:
    found = explain_examples(labelled, rows(TEXTS))
    for one, text in zip(found, TEXTS, strict=True):
        [whole] = labelled.predict_examples(rows([text]))
        place = labelled.labels.index(str(whole.value))
        assert (one.answer, one.unit, one.labels) == (whole.value, "nats", labelled.labels)
        for part, cut in zip(one.left_out, WITHOUT[one.example.row_id], strict=True):
            [other] = labelled.predict_examples(rows([cut]))
            ratio = math.log(whole.probabilities[place] / other.probabilities[place])
            assert part.drop == pytest.approx(ratio, abs=1e-5)
            assert part.value == other.value
    assert max(abs(drop) for one in found for drop in drops(one)) > 1e-3, "the model reads its text"


def test_drops_of_numbers_are_changes_of_the_number(numbered: TrainedModel) -> None:
    found = explain_examples(numbered, rows(TEXTS))
    for one, text in zip(found, TEXTS, strict=True):
        [whole] = numbered.predict_examples(rows([text]))
        assert one.prediction.distribution is not None
        assert (one.labels, one.unit) == ((), "units of the target")
        assert one.answer == pytest.approx(whole.value, abs=1e-5)
        changes = [whole.value - numbered.predict_examples(rows([cut]))[0].value for cut in WITHOUT[one.example.row_id]]
        assert drops(one) == pytest.approx(changes, abs=1e-5)
    assert max(abs(drop) for one in found for drop in drops(one)) > 1e-3, "the model reads its text"


def test_batches_order_and_portions_change_nothing(labelled: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [drops(one) for one in explain_examples(labelled, rows(TEXTS))]
    monkeypatch.setattr("predgen.explanation.explain._EXAMPLES_AT_ONCE", 3)
    counted: list[int] = []
    found = explain_examples(labelled, rows(TEXTS)[::-1], batch_size=2, on_rows=counted.append)
    assert [one.example.row_id for one in found] == [4, 3, 2, 1, 0]
    for one in found:
        assert drops(one) == pytest.approx(known[one.example.row_id], abs=1e-5)
    assert sum(counted) == len(TEXTS)
    assert len(counted) > 1


def test_a_given_label_is_explained_in_every_row(labelled: TrainedModel) -> None:
    by_label = [explain_examples(labelled, rows(TEXTS), label=label) for label in labelled.labels]
    for first, second in zip(*by_label, strict=True):
        assert (first.answer, second.answer) == labelled.labels
        for one, other in zip(drops(first), drops(second), strict=True):
            assert one * other <= 1e-12, "of two labels, what speaks for one speaks against the other"


def test_places_hold_for_any_script_and_json_is_plain(labelled: TrainedModel) -> None:
    text = "the 東京 room <b>"
    [one] = explain(labelled, [{"text": text, "other": 1}])
    data = one.to_dict()
    assert [text[word["start"] : word["end"]] for word in data["words"]] == ["the", "東", "京", "room", "<", "b", ">"]
    assert [word["text"] for word in data["words"]] == ["the", "東", "京", "room", "<", "b", ">"]
    assert (data["row"], data["fields"], data["answer"]) == (1, {"text": text}, one.prediction.value)
    assert sum(data["prediction"]["probabilities"]) == pytest.approx(1)


def test_fields_are_cut_one_by_one_and_the_template_stays(base: Path) -> None:
    prompt = "one {one} two {two} again {one}:"
    task = custom_task(prompt=prompt, target=TARGET, kind="classification")
    given = [Example(i, {"one": "a b", "two": "c" * (i + 1)}, Target(("low", "high")[i % 2])) for i in range(8)]
    config = tiny_config(base, "classification", prompt=prompt, max_steps=2)
    model = train(config, data=TrainingData(task, given, []))
    [found] = explain(model, [{"one": "a b", "two": "c"}])
    assert [(part.part.field, part.part.start) for part in found.left_out] == [("one", 0), ("one", 2), ("two", 0)]
    cut = (("a b", "c"), ("b", "c"), ("a", "c"), ("a b", ""))
    [whole, *others] = model.predict([{"one": x, "two": y} for x, y in cut])
    place = model.labels.index(whole.value)
    wanted = [math.log(whole.probabilities[place] / other.probabilities[place]) for other in others]
    assert drops(found) == pytest.approx(wanted, abs=1e-5)


def test_what_the_model_does_not_read_drops_nothing(labelled: TrainedModel) -> None:
    long = "abcdefghi " * 60 + "never read"
    [one] = explain_examples(labelled, rows([long]))
    assert "truncated" in one.prediction.flags
    assert len(one.left_out) == 62 <= MOST_PARTS
    assert drops(one)[-2:] == pytest.approx([0.0, 0.0], abs=1e-5)


def test_what_cannot_be_explained_is_refused(labelled: TrainedModel, numbered: TrainedModel) -> None:
    with pytest.raises(ConfigError, match=r"`label` is 'hihg'.*Did you mean 'high'.*Allowed: "):
        explain(labelled, ["tea"], label="hihg")
    with pytest.raises(ConfigError, match=r"`label` is '1.0', but this model predicts numbers"):
        explain(numbered, ["tea"], label="1.0")
    with pytest.raises(DataError, match="'text'"):
        explain(labelled, [{"other": "tea"}, {"other": "tea"}])
    setup = replace(numbered.model.setup, kind="math")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numbered.model, "setup", setup)
        with pytest.raises(ConfigError, match="this is a math model"):
            check_explainable(numbered)

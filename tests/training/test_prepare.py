"""Settings and rows become a task, splits, labels, weights and a codec before any model is loaded."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from predgen.codecs.label import LabelCodec
from predgen.codecs.number import NumberCodec
from predgen.config import RunConfig
from predgen.core import Example, Target
from predgen.data.examples import custom_task
from predgen.data.sources import rows_of
from predgen.data.splits import hold_out
from predgen.errors import ConfigError, DataError
from predgen.training.prepare import class_labels, make_codec, make_encoder, make_setup, weigh
from predgen.training.rows import IN_MEMORY, load_data, task_of, unmeasured_classes
from tiny_runs import tiny_base, tiny_config, tiny_data
from tokenizers_for_tests import char_level


def own_file(path: Path, **settings: Any) -> RunConfig:
    """Settings for a file of the user's."""
    defaults = {"prompt": "{text}", "target": "score", "kind": "regression"}
    return RunConfig(data=str(path), **{**defaults, **settings})


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    """Write rows with the columns text and score."""
    path.write_text("text,score\n" + "".join(f"{text},{score}\n" for text, score in rows), encoding="utf-8")
    return path


def labelled(*labels: str) -> list[Example]:
    return [Example(i, {"text": f"row {i}"}, Target(label)) for i, label in enumerate(labels)]


CLASSES = custom_task(prompt="{text}", target="label", kind="classification")


# Tasks


def test_own_file_becomes_a_task_of_its_own() -> None:
    task = task_of(own_file(Path("x.csv"), prompt=r"Review: {text}\nScore:", weight_column="w"))
    assert (task.name, task.kind, task.target, task.weight) == ("custom", "regression", "score", "w")
    assert task.prompt == "Review: {text}\nScore:"  # backslash and n, as a shell hands them on


def test_known_task_keeps_all_but_its_prompt() -> None:
    plain, changed = task_of(RunConfig(task="sst2")), task_of(RunConfig(task="sst2", prompt=r"{sentence}\nMood:"))
    assert changed.prompt == "{sentence}\nMood:"
    assert changed.prompt != plain.prompt
    assert (changed.labels, changed.metrics, changed.target) == (plain.labels, plain.metrics, plain.target)


@pytest.mark.parametrize(
    ("name", "value"), [("target", "x"), ("kind", "regression"), ("weight_column", "w"), ("validation_data", "v.csv")]
)
def test_known_task_refuses_what_it_declares_itself(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"`{name}` belongs to your own file .*; task 'sst2' declares its own"):
        task_of(RunConfig(task="sst2", **{name: value}))


# Reading and splitting


def test_bad_rows_stop_or_go_to_a_side_file(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [(f"text {i}", "" if i in (3, 7) else str(i)) for i in range(20)])
    with pytest.raises(
        DataError, match=r"2 of 20 rows of .*rows.csv' cannot be used: row 4: .*; row 8: .*bad_rows='skip'"
    ):
        load_data(own_file(path))
    (tmp_path / "run").mkdir()
    data = load_data(own_file(path, bad_rows="skip"), tmp_path / "run")
    assert data.skipped == 2
    assert sorted(e.row_id for e in data.train + data.validation) == [i for i in range(20) if i not in (3, 7)]
    lines = (tmp_path / "run" / "bad-rows.train.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["row"] for line in lines] == [4, 8]


def test_validation_file_is_not_split_and_not_limited(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", [(f"text {i}", str(i)) for i in range(9)])
    other = write_csv(tmp_path / "other.csv", [(f"other {i}", str(i)) for i in range(5)])
    data = load_data(own_file(train, validation_data=str(other), limit=3))
    assert len(data.train) == 3
    assert [e.fields["text"] for e in data.validation] == [f"other {i}" for i in range(5)]


def test_a_tenth_is_held_out_by_seed_before_the_limit(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [(f"text {i}", str(i)) for i in range(40)])
    parts = {seed: load_data(own_file(path, seed=seed)) for seed in (0, 0, 1)}
    assert [len(p.validation) for p in parts.values()] == [4, 4]
    assert parts[0].validation == load_data(own_file(path, seed=0)).validation
    assert parts[0].validation != parts[1].validation
    limited = load_data(own_file(path, limit=7))
    assert limited.validation == parts[0].validation
    assert len(limited.train) == 7
    assert {e.row_id for e in limited.train} < {e.row_id for e in parts[0].train}


@pytest.mark.parametrize("seed", range(8))
def test_rows_with_equal_prompts_are_held_out_together(seed: int) -> None:
    rows = [Example(i, {"a": f"text {i % 12}", "b": " Same "}, Target(float(i))) for i in range(36)]
    rows += [Example(36, {"a": "TEXT  3", "b": "same"}, Target(1.0))]  # case and blanks do not tell prompts apart
    parts = hold_out(rows, seed)
    texts = {name: {e.fields["a"].casefold().replace("  ", " ") for e in part} for name, part in parts.items()}
    assert texts["train"] & texts["validation"] == set()
    assert texts["train"] | texts["validation"] == {f"text {i}" for i in range(12)}
    assert len(parts["train"]) + len(parts["validation"]) == 37
    assert 3 <= len(parts["validation"]) <= 4  # one group of three, or the one of four


def test_fields_are_not_run_together_when_prompts_are_compared() -> None:
    rows = [Example(0, {"a": "x y", "b": "z"}, Target(0.0)), Example(1, {"a": "x", "b": "y z"}, Target(1.0))]
    assert {name: len(part) for name, part in hold_out(rows, 0).items()} == {"train": 1, "validation": 1}


def test_rows_with_one_prompt_only_cannot_be_held_out() -> None:
    with pytest.raises(DataError, match="too few for 2 parts"):
        hold_out([Example(i, {"a": "x"}, Target(float(i))) for i in range(20)], 0)


# Classes: none is lost to a draw


def write_classes(path: Path, counts: dict[str, int]) -> Path:
    """Write rows of some classes, in turns."""
    rows = [(f"text {label} {i}", label) for label, n in counts.items() for i in range(n)]
    return write_csv(path, sorted(rows, key=lambda row: row[0][::-1]))


def classes_of(rows: list[Example]) -> set[str]:
    return {str(e.target.value) for e in rows if e.target}


@pytest.mark.parametrize("seed", range(12))
def test_a_rare_class_stays_in_training_whatever_the_seed(tmp_path: Path, seed: int) -> None:
    path = write_classes(tmp_path / "rows.csv", {"a": 40, "b": 30, "rare": 3, "single": 1})
    data = load_data(own_file(path, kind="classification", seed=seed))
    assert classes_of(data.train) == {"a", "b", "rare", "single"}
    assert (len(data.train), len(data.validation)) == (67, 7)
    assert {"a", "b"} <= classes_of(data.validation)
    assert "single" in unmeasured_classes(data)
    assert make_setup(own_file(path, kind="classification"), data.task, data.train).labels == (
        "a",
        "b",
        "rare",
        "single",
    )


@pytest.mark.parametrize("limit", [3, 12, 24])
@pytest.mark.parametrize("seed", range(3))
def test_classes_are_known_from_all_training_rows_before_the_limit(tmp_path: Path, limit: int, seed: int) -> None:
    path = write_classes(tmp_path / "rows.csv", {f"class {k:02}": 20 for k in range(12)})
    config = own_file(path, kind="classification", limit=limit, seed=seed)
    data = load_data(config)
    assert len(data.train) == limit
    setup = make_setup(config, data.task, data.train)
    labels = setup.labels
    assert labels == tuple(f"class {k:02}" for k in range(12))
    codec = make_codec(config, data.task, setup, data.train, char_level())
    encoder = make_encoder(config, data.task, codec, labels, char_level(), None)
    for row in data.validation:  # a class without a training row is still one that can be measured, and written
        assert row.target is not None
        assert labels[int(encoder.encode(row).target)] == row.target.value


def test_balanced_weights_count_the_classes_that_have_rows(tmp_path: Path) -> None:
    path = write_classes(tmp_path / "rows.csv", {f"class {k:02}": 20 for k in range(12)})
    config = own_file(path, kind="classification", limit=10, class_weight="balanced")
    data = load_data(config)
    weighed = weigh(config, make_setup(config, data.task, data.train), data.train)
    assert sum(row.weight for row in weighed) == pytest.approx(10)


def test_rows_can_still_be_held_out_whatever_their_class(tmp_path: Path) -> None:
    path = write_classes(tmp_path / "rows.csv", {"a": 40, "b": 40})
    config = own_file(path, kind="classification", stratify=False)
    data = load_data(config)
    assert data.validation == hold_out(load_whole(config), 0)["validation"]
    assert data.validation != load_data(own_file(path, kind="classification")).validation


def load_whole(config: RunConfig) -> list[Example]:
    """All rows of a file, in order."""
    data = load_data(config)
    return sorted([*data.train, *data.validation], key=lambda example: example.row_id)


def test_numbers_are_held_out_as_ever(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [(f"text {i}", str(i % 7)) for i in range(40)])
    assert [e.row_id for e in load_data(own_file(path)).validation] == [5, 11, 16, 23]


def test_labels_that_only_a_validation_file_has_are_bad_rows_of_that_file(tmp_path: Path) -> None:
    train = write_classes(tmp_path / "train.csv", {f"class {k:03}": 2 for k in range(40)})
    other = write_csv(tmp_path / "other.csv", [("text", "class 007"), ("more", "class 1000"), ("most", "odd")])
    config = own_file(train, kind="classification", validation_data=str(other))
    with pytest.raises(DataError) as caught:
        load_data(config)
    message = str(caught.value)
    assert "2 of 3 rows of `validation_data`" in message
    assert str(other) in message
    assert "row 2: column 'score' is 'class 1000'" in message
    assert "40 labels" in message
    assert "class 011" not in message  # ten of them are enough
    assert "--bad-rows skip" in message
    data = load_data(replace(config, bad_rows="skip"), tmp_path)
    assert [row.fields["text"] for row in data.validation] == ["text"]
    assert data.skipped == 2
    assert len((tmp_path / "bad-rows.validation.jsonl").read_text().splitlines()) == 2


# Labels


@pytest.mark.parametrize(
    ("found", "order"),
    [
        (("b", "a", "b"), ("a", "b")),
        (("10", "9", "-1", "2.5"), ("-1", "2.5", "9", "10")),
        (("x", "10", "9"), ("9", "10", "x")),
        (("1", "1.0", "0"), ("0", "1", "1.0")),
    ],
)
def test_labels_of_a_file_are_in_order_of_value_then_text(found: tuple[str, ...], order: tuple[str, ...]) -> None:
    assert class_labels(CLASSES, labelled(*found)) == order
    assert class_labels(CLASSES, labelled(*reversed(found))) == order


def test_declared_labels_keep_their_order_and_those_without_rows() -> None:
    task = task_of(RunConfig(task="sst2"))
    assert class_labels(task, labelled("positive", "negative")) == tuple(task.labels.values())


def test_numbers_have_no_labels() -> None:
    data = tiny_data("regression", 3)
    assert class_labels(data.task, data.train) == ()


def test_one_class_is_refused_even_where_two_are_declared() -> None:
    with pytest.raises(DataError, match="all 2 training rows have the same label 'positive'"):
        class_labels(task_of(RunConfig(task="sst2")), labelled("positive", "positive"))


# Setup, weights, codec, lengths


def test_setup_of_numbers_holds_their_mean_and_standard_deviation() -> None:
    rows = [Example(i, {"text": "x"}, Target(value)) for i, value in enumerate((1.0, 2.0, 6.0))]
    task = custom_task(prompt="{text}", target="score", kind="regression")
    setup = make_setup(own_file(Path("x.csv")), task, rows)
    assert setup.target_mean == 3.0
    assert setup.target_std == pytest.approx((14 / 3) ** 0.5)  # (4 + 1 + 9) / 3, the population's
    used = [setup.settled(has_tree=has_tree).settings["director"] for has_tree in (True, False)]
    assert used == ["residual", "value"]
    assert setup.labels == ()


def test_setup_of_classes_has_neutral_mean_and_a_director_for_the_model() -> None:
    setup = make_setup(own_file(Path("x.csv"), kind="classification"), CLASSES, labelled("b", "a"))
    assert (setup.labels, setup.target_mean, setup.target_std) == (("a", "b"), 0.0, 1.0)
    used = [setup.settled(has_tree=has_tree).settings["director"] for has_tree in (True, False)]
    assert used == ["residual", "linear"]


def test_balanced_weights_multiply_the_rows_own() -> None:
    rows = [
        Example(i, {"text": "x"}, Target(label), w)
        for i, (label, w) in enumerate([("a", 2.0), ("b", 1.0), ("b", 1.0), ("b", 0.5)])
    ]
    config = own_file(Path("x.csv"), kind="classification", class_weight="balanced")
    weighed = weigh(config, make_setup(config, CLASSES, rows), rows)
    # 4 rows, 2 classes: a 4 / (2 * 1) = 2, b 4 / (2 * 3) = 2/3
    assert [e.weight for e in weighed] == pytest.approx([4.0, 2 / 3, 2 / 3, 1 / 3])
    assert [e.weight for e in rows] == [2.0, 1.0, 1.0, 0.5]


def test_without_class_weights_rows_keep_theirs() -> None:
    data = tiny_data("regression", 3, weights=[1.0, 0.5, 2.0])
    config = own_file(Path("x.csv"))
    assert weigh(config, make_setup(config, data.task, data.train), data.train) == data.train


@pytest.mark.parametrize(("rationale", "expected"), [(True, "3 + 4 = 7"), (False, None)])
def test_rationales_are_left_out_on_request(rationale: bool, expected: str | None) -> None:
    rows = [Example(i, {"text": "x"}, Target(7.0 + i, "3 + 4 = 7")) for i in range(2)]
    config = own_file(Path("x.csv"), kind="math", rationale=rationale)
    setup = make_setup(config, custom_task(prompt="{text}", target="score", kind="math"), rows)
    assert [e.target.rationale for e in weigh(config, setup, rows) if e.target] == [expected] * 2


def test_codec_follows_the_kind_of_task() -> None:
    tokenizer = char_level()
    classes, numbers = tiny_data("classification", 8), tiny_data("regression", 8)
    config = own_file(Path("x.csv"), kind="classification")
    label_codec = make_codec(
        config, classes.task, make_setup(config, classes.task, classes.train), classes.train, tokenizer
    )
    config = own_file(Path("x.csv"), decimals=2)
    setup = make_setup(config, numbers.task, numbers.train)
    number_codec = make_codec(config, numbers.task, setup, numbers.train, tokenizer)
    assert isinstance(label_codec, LabelCodec)
    assert label_codec.decode(label_codec.encode(Target("low"))[:-1]).value == "low"
    assert isinstance(number_codec, NumberCodec)
    assert number_codec.step == 0.01


@pytest.mark.parametrize(("max_length", "context", "expected"), [(64, None, 64), (64, 40, 40), (64, 512, 64)])
def test_length_is_bounded_by_setting_and_context(
    tmp_path: Path, max_length: int, context: int | None, expected: int
) -> None:
    data = tiny_data("regression", 4)
    config = tiny_config(tiny_base(tmp_path), "regression", max_length=max_length)
    assert make_encoder(config, data.task, None, (), char_level(), context).max_length == expected


# Rows that are handed over


def test_rows_are_the_same_from_a_file_and_handed_over(tmp_path: Path) -> None:
    path = write_classes(tmp_path / "x.csv", {"a": 12, "b": 9})
    config = own_file(path, kind="classification", seed=3)
    from_file, rows = load_data(config), list(rows_of(path))
    for given in (rows, path):
        handed = load_data(replace(config, data=None), rows=given)
        assert (handed.task, handed.train, handed.validation) == (from_file.task, from_file.train, from_file.validation)
        assert handed.origin == ("a file of the user's" if given is path else IN_MEMORY)
    assert from_file.origin == "a file of the user's"
    with pytest.raises(ConfigError, match="rows were handed over, but `data` names"):
        load_data(config, rows=rows)
    with pytest.raises(ConfigError, match="the settings name no rows"):
        load_data(replace(config, data=None))

"""Rows -> examples: types of cells, wrong columns, bad rows, templates."""

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from predgen.core import TaskSpec
from predgen.data.examples import custom_task, iter_examples, prompt_fields, to_examples
from predgen.data.sources import rows_of
from predgen.errors import ConfigError, DataError

LABELLED = custom_task(prompt="Text: {text}\nLabel:", target="label", kind="classification")
SCORED = custom_task(prompt="Text: {text}\nScore:", target="score", kind="regression")
SENTIMENT = TaskSpec(
    "toy", "classification", "{text}", "label", ("accuracy",), labels={"0": "negative", "1": "positive"}, unescape=True
)
MATH = TaskSpec("toy", "math", "{question}", "answer", ("exact_match",), rationale="why")


def label(value: object, task: TaskSpec = LABELLED) -> str | float:
    (example,) = to_examples([{"text": "x", "label": value}], task)
    assert example.target is not None
    return example.target.value


def score(value: object, task: TaskSpec = SCORED) -> str | float:
    (example,) = to_examples([{"text": "x", "score": value}], task)
    assert example.target is not None
    return example.target.value


# Templates


def test_template_fields_come_once_in_order() -> None:
    assert prompt_fields("{b} and {a b} or {b}; {{literal}}:") == ("b", "a b")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Text: {text", "unbalanced braces"),
        ("Text: text}", "unbalanced braces"),
        ("Text: {}", r"field \{\} of .* names no column"),
        ("Text: {0}", r"field \{0\} of .* names no column"),
        ("Text: { }", "names no column"),
        ("Text: {text:>10}", r"field \{text:>10\} .* write only \{text\}"),
        ("Text: {text!r}", r"field \{text!r\} .* has a format or conversion"),
        ("Text: {text.real}", "reads an attribute or item"),
        ("Text: {text[0]}", "reads an attribute or item"),
        ("Text: {{text}}", "has no field"),
        ("", "has no field"),
        ("Text: {text} ", "ends in blanks.*separator between prompt and answer belongs to the answer"),
        ("Text: {text}\n", "ends in blanks"),
    ],
)
def test_broken_template_is_an_error(template: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prompt_fields(template)


# A user's own task


@pytest.mark.parametrize(
    ("kind", "first"), [("classification", "accuracy"), ("regression", "mse"), ("math", "exact_match")]
)
def test_custom_task_has_the_metrics_of_its_kind(kind: str, first: str) -> None:
    task = custom_task(prompt="{a}", target="b", kind=kind, weight="w")
    assert (task.name, task.metrics[0], task.weight, task.labels, task.scale) == ("custom", first, "w", {}, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "regresion"}, "`kind` is 'regresion'. Did you mean 'regression'"),
        ({"target": ""}, "name the column to predict"),
        ({"prompt": "{text} {score}"}, r"`prompt` contains \{score\}, the target: the model would read"),
        ({"weight": "text"}, r"`prompt` contains \{text\}, the weight_column"),
        ({"prompt": "no field"}, "has no field"),
    ],
)
def test_custom_task_refuses_what_cannot_work(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        custom_task(**({"prompt": "{text}", "target": "score", "kind": "regression"} | settings))


# Columns


def test_missing_columns_are_named_once_with_near_matches() -> None:
    rows = [{"txt": "x", "scores": 1}] * 3
    with pytest.raises(
        DataError,
        match=r"missing column 'text' \(for `prompt`\)\. Did you mean 'txt'\? 'score' \(for the target\)\. Did you mean 'scores'",
    ):
        to_examples(rows, SCORED)


def test_missing_column_lists_those_that_exist() -> None:
    with pytest.raises(DataError, match=r"missing column 'score' .* Columns of the rows: 'text', 'zzz'\."):
        to_examples([{"text": "x", "zzz": 1}], SCORED)


def test_target_and_weight_are_not_needed_to_predict() -> None:
    task = custom_task(prompt="{text}", target="score", kind="regression", weight="w")
    (example,) = to_examples([{"text": "x"}], task, with_target=False)
    assert (example.fields, example.target, example.weight) == ({"text": "x"}, None, 1.0)


def test_column_missing_in_a_later_row_is_a_bad_row() -> None:
    with pytest.raises(DataError, match=r"1 of 2 rows .* row 2: column 'score' is None \(missing\)"):
        to_examples([{"text": "a", "score": 1}, {"text": "b"}], SCORED)


# Labels and numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("good", "good"),
        (" good\n", "good"),
        ("01", "01"),
        ("None", "None"),
        (1, "1"),
        (-3, "-3"),
        (1.0, "1"),
        (True, "true"),
        (False, "false"),
        (np.int64(2), "2"),
        (np.float32(2.0), "2"),
        (np.bool_(True), "true"),
        (np.str_("good"), "good"),
    ],
)
def test_label_of_any_type_has_one_text(value: object, text: str) -> None:
    assert label(value) == text


@pytest.mark.parametrize("value", ["1", 1, 1.0, np.int8(1), "positive"])
def test_declared_labels_are_mapped(value: object) -> None:
    assert label(value, SENTIMENT) == "positive"


def test_numeric_labels_of_a_frame_with_a_missing_one_are_whole_numbers() -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": [0, None, 1]})  # pandas turns the column into floats
    with pytest.raises(DataError, match=r"1 of 3 rows cannot be used: row 2: column 'label' is nan \(missing\)"):
        to_examples(rows_of(frame), LABELLED)
    labels = [e.target.value for e in to_examples(rows_of(frame.dropna()), LABELLED) if e.target]
    assert labels == ["0", "1"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "missing"),
        (float("nan"), "missing"),
        (np.float64("nan"), "missing"),
        (pd.NA, "missing"),
        (pd.NaT, "missing"),
        ("", "empty"),
        (" \t", "empty"),
        (1.5, "a fraction, not a label; for numbers use kind 'regression'"),
        (["a"], "of type list; a label is text, a whole number or true/false"),
        (b"a", "of type bytes"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_unusable_label_is_named(value: object, reason: str) -> None:
    with pytest.raises(DataError, match=rf"row 1: column 'label' is .*{reason}"):
        label(value)


def test_label_outside_the_declared_ones_names_near_matches() -> None:
    with pytest.raises(DataError, match=r"is -1 \(not among the labels '0', '1', 'negative', 'positive'"):
        label(-1, SENTIMENT)
    with pytest.raises(DataError, match="Did you mean 'positive'"):
        label("Positive", SENTIMENT)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("1.5", 1.5),
        (" -2e3 ", -2000.0),
        ("+.5", 0.5),
        ("5.", 5.0),
        (3, 3.0),
        (np.float32(0.5), 0.5),
        (Decimal("1.25"), 1.25),
    ],
)
def test_number_of_any_type_is_read(value: object, number: float) -> None:
    assert score(value) == number
    assert type(score(value)) is float


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "missing"),
        (float("nan"), "missing"),
        ("", "empty"),
        ("good", "not a number"),
        ("1_000", "not a number"),
        ("0x10", "not a number"),
        ("1,000", "a number with commas; write it without"),
        ("1,5", "a number with a decimal comma; write it with a point"),
        ("inf", "not finite"),
        ("nan", "not finite"),
        ("1e999", "not finite"),
        (float("-inf"), "not finite"),
        pytest.param(10**400, "too large for a number", id="10**400"),
        (True, "true/false is a label, not a number"),
        (np.bool_(False), "true/false is a label, not a number"),
        ([1.0], "not a number"),
    ],
)
def test_unusable_number_is_named(value: object, reason: str) -> None:
    with pytest.raises(DataError, match=rf"row 1: column 'score' is .*\({reason}\)"):
        score(value)


def test_labels_in_a_regression_target_point_to_the_kind() -> None:
    with pytest.raises(DataError, match=r"all 2 rows .* 'score' holds a finite number \(kind 'regression'\)"):
        to_examples([{"text": "a", "score": "good"}, {"text": "b", "score": "bad"}], SCORED)


def test_math_answers_may_have_commas_and_a_rationale() -> None:
    rows = [
        {"question": "q", "answer": "1,250,000", "why": " 5*250000 \n"},
        {"question": "q", "answer": "-3", "why": None},
    ]
    first, second = (example.target for example in to_examples(rows, MATH))
    assert first is not None
    assert second is not None
    assert (first.value, first.rationale, second.value, second.rationale) == (1250000.0, "5*250000", -3.0, None)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(0, "not above 0"), ("-1", "not above 0"), ("much", "not a number"), (None, "missing"), ("inf", "not finite")],
)
def test_unusable_weight_is_named(value: object, reason: str) -> None:
    task = custom_task(prompt="{text}", target="score", kind="regression", weight="w")
    assert to_examples([{"text": "x", "score": 1, "w": "2.5"}], task)[0].weight == 2.5
    with pytest.raises(DataError, match=rf"column 'w' is .*\({reason}"):
        to_examples([{"text": "x", "score": 1, "w": value}], task)


# Prompt fields


def test_field_values_become_text() -> None:
    values = ["None", "", " padded ", 3, 1.5, True, np.int64(4), ["a"]]
    examples = to_examples([{"text": value} for value in values], SCORED, with_target=False)
    assert [e.fields["text"] for e in examples] == ["None", "", " padded ", "3", "1.5", "True", "4", "['a']"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "missing"), (float("nan"), "missing"), (b"x", "bytes"), ("a\udcffb", "lone surrogate at character 2")],
)
def test_unusable_field_is_named(value: object, reason: str) -> None:
    with pytest.raises(DataError, match=rf"row 1: column 'text' is .*{reason}"):
        to_examples([{"text": value, "score": 1}], SCORED)


def test_entities_and_written_line_breaks_are_decoded_where_the_task_says_so() -> None:
    row = {"text": r"R&amp;D &lt;3\nwow", "label": "0", "score": 1}
    assert to_examples([row], SENTIMENT)[0].fields["text"] == "R&D <3\nwow"
    assert to_examples([row], SCORED)[0].fields["text"] == row["text"]


# Policy for bad rows


def some_bad(n: int, bad: set[int]) -> list[dict[str, Any]]:
    return [{"text": f"t{i}", "score": "?" if i in bad else str(i)} for i in range(n)]


def test_error_names_five_rows_and_the_count() -> None:
    with pytest.raises(DataError) as caught:
        to_examples(some_bad(20, {1, 3, 5, 7, 9, 11, 13}), SCORED, source="`data` 'a.csv'", remedy="skip them")
    message = str(caught.value)
    assert message.startswith(
        "7 of 20 rows of `data` 'a.csv' cannot be used: row 2: column 'score' is '?' (not a number); row 4:"
    )
    assert "row 10:" in message
    assert "row 12:" not in message
    assert "and 2 more" in message
    assert "Repair these cells, or skip them" in message


def test_skip_writes_rows_aside_and_keeps_row_ids(tmp_path: Path) -> None:
    rows = [*some_bad(4, {1}), {"text": float("nan"), "score": Decimal("1")}, {"text": "\ud800", "score": "1"}]
    side = tmp_path / "new" / "skipped.jsonl"
    examples = to_examples(rows, SCORED, bad_rows="skip", side_file=side)
    assert [e.row_id for e in examples] == [0, 2, 3]
    records = [json.loads(line) for line in side.read_text(encoding="utf-8").splitlines()]
    assert records[0] == {"row": 2, "column": "score", "reason": "not a number", "data": {"text": "t1", "score": "?"}}
    assert [(r["row"], r["column"], r["data"]["text"]) for r in records[1:]] == [
        (5, "text", None),
        (6, "text", "\ud800"),
    ]


def test_skip_without_bad_rows_writes_nothing(tmp_path: Path) -> None:
    assert len(to_examples(some_bad(3, set()), SCORED, bad_rows="skip", side_file=tmp_path / "s.jsonl")) == 3
    assert not (tmp_path / "s.jsonl").exists()


@pytest.mark.parametrize("bad_rows", ["error", "skip"])
def test_all_rows_bad_is_an_error_always(tmp_path: Path, bad_rows: str) -> None:
    with pytest.raises(DataError, match="all 3 rows cannot be used"):
        to_examples(some_bad(3, {0, 1, 2}), SCORED, bad_rows=bad_rows, side_file=tmp_path / "s.jsonl")


def test_nothing_is_skipped_in_silence() -> None:
    with pytest.raises(ConfigError, match="bad_rows='skip' needs `side_file`"):
        to_examples(some_bad(3, {1}), SCORED, bad_rows="skip")
    with pytest.raises(ConfigError, match=r"`bad_rows` is 'skipp'\. Did you mean 'skip'"):
        to_examples(some_bad(3, {1}), SCORED, bad_rows="skipp")


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(DataError) as caught:
        score("x" * 1_000_000)
    assert len(str(caught.value)) < 400


# Streaming


def test_examples_stream() -> None:
    def endless() -> Iterator[dict[str, str]]:
        while True:
            yield {"text": "x"}

    examples = iter_examples(endless(), SCORED)
    assert [next(examples).row_id for _ in range(3)] == [0, 1, 2]


def test_stream_stops_at_the_bad_row() -> None:
    examples = iter_examples([{"text": "x"}, {"text": None}], SCORED)
    assert next(examples).fields == {"text": "x"}
    with pytest.raises(DataError, match="row 2: column 'text' is None"):
        next(examples)


def test_stream_reads_targets_on_request() -> None:
    (example,) = iter_examples([{"text": "x", "score": "0.5"}], SCORED, with_target=True)
    assert example.target is not None
    assert math.isclose(float(example.target.value), 0.5)

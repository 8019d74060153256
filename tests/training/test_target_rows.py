"""Rows of several targets: the same rows for all, each with the answers that it has."""

from pathlib import Path
from typing import Any

import pytest

from cli_runs import predgen
from predgen.config import RunConfig
from predgen.errors import ConfigError, DataError
from predgen.training.rows import load_data
from predgen.training.target_rows import TargetsData, load_target_rows

MOODS, LEVELS, TAGS = ("good", "bad", ""), ("low", "mid", "high"), (["a", "b"], ["a"], [], None)


def rows(n: int = 40) -> list[dict[str, Any]]:
    return [
        {
            "text": f"row number {i}",
            "stars": i % 5,
            "mood": MOODS[i % 3],
            "urgency": LEVELS[i % 3],
            "tags": TAGS[i % 4],
            "votes": {"x": 0.25, "y": 0.75},
        }
        for i in range(n)
    ]


def loaded(*targets: Any, given: Any = None, **settings: Any) -> TargetsData:
    return load_target_rows(RunConfig(prompt="{text}", targets=list(targets), **settings), rows=given or rows())


def test_a_missing_answer_masks_that_question_of_that_row_and_is_counted() -> None:
    data = loaded("mood:classification", "stars:regression", "tags:multilabel")
    assert data.missing == {"mood": 13, "stars": 0, "tags": 10}
    assert [one.name for one in data.questions] == ["mood", "stars", "tags[a]", "tags[b]"]
    for name, is_known in (("mood", lambda i: i % 3 < 2), ("stars", lambda i: True), ("tags[a]", lambda i: i % 4 < 3)):
        for of_split, joint in ((data.parts[name].train, data.train), (data.parts[name].validation, data.validation)):
            assert [e.row_id for e in of_split] == [e.row_id for e in joint if is_known(e.row_id)]
    assert {e.row_id for e in data.train} | {e.row_id for e in data.validation} == set(range(40))
    answers = {e.row_id: e.target.value for e in data.parts["tags[b]"].train if e.target}
    assert all(answer == ("yes" if i % 4 == 0 else "no") for i, answer in answers.items())


def test_rows_without_any_answer_are_left_out() -> None:
    given = [*rows(), {"text": "nothing known", "stars": None, "mood": " "}]
    data = loaded("mood:classification", "stars:regression", given=given)
    assert (data.skipped, data.missing["stars"]) == (1, 1)
    assert 40 not in {e.row_id for e in [*data.train, *data.validation]}


@pytest.mark.parametrize(("name", "kind"), [("stars", "regression"), ("urgency", "classification")])
def test_one_target_has_the_rows_of_a_run_of_that_target(name: str, kind: str) -> None:
    data = loaded(f"{name}:{kind}").parts[name]
    alone = load_data(RunConfig(prompt="{text}\n" + f"{name.capitalize()}:", target=name, kind=kind), rows=rows())
    assert (data.task, data.train, data.validation) == (alone.task, alone.train, alone.validation)


def test_the_order_of_targets_changes_no_row() -> None:
    one = loaded("mood:classification", "tags:multilabel", "stars:regression")
    other = loaded("stars:regression", "mood:classification", "tags:multilabel")
    assert one.parts == other.parts
    assert (one.train, one.validation, one.questions) == (other.train, other.validation, other.questions)


def test_a_class_keeps_a_row_to_be_trained_on() -> None:
    for seed in range(8):
        given = [{**row, "mood": "rare" if i == 7 else row["mood"]} for i, row in enumerate(rows())]
        data = loaded("mood:classification", "stars:regression", given=given, seed=seed)
        assert "rare" in {e.target.value for e in data.parts["mood"].train if e.target}


def test_levels_have_the_order_that_they_are_given_in() -> None:
    data = loaded({"name": "urgency", "kind": "ordinal", "labels": LEVELS}, "stars:ordinal")
    assert list(data.parts["urgency"].task.labels) == list(LEVELS)
    assert list(data.parts["stars"].task.labels) == ["0", "1", "2", "3", "4"]


def test_soft_labels_are_kept_with_their_shares() -> None:
    part = loaded("votes:classification", "stars:regression").parts["votes"]
    assert list(part.task.labels) == ["x", "y"]
    assert {e.target.shares for e in part.train if e.target} == {(("x", 0.25), ("y", 0.75))}


@pytest.mark.parametrize(
    ("target", "error", "said"),
    [
        ("moods:classification", DataError, ["'moods'", "no column", "'mood'"]),
        ("mood:regression", DataError, ["column 'mood' is 'good'", "not a number", "number"]),
        ("tags:classification", DataError, ["column 'tags'", "of type list"]),
        ("votes:multilabel", DataError, ["'votes'", "no row names a label"]),
        ("urgency:ordinal", ConfigError, ["'urgency'", "'low'", "`labels`"]),
        ({"name": "urgency", "kind": "ordinal", "labels": ["low", "high"]}, DataError, ["'mid'", "not among"]),
        ({"name": "s", "kind": "classification", "shares": {"a": "stars", "b": "p"}}, DataError, ["'s'", "'p'"]),
    ],
    ids=str,
)
def test_what_a_column_cannot_be_is_named(target: Any, error: type[Exception], said: list[str]) -> None:
    for words in said:
        with pytest.raises(error, match=words):
            loaded(target, "stars:regression")


def test_a_target_without_any_answer_is_named() -> None:
    with pytest.raises(DataError, match=r"'mood'.*none of the 40 rows"):
        loaded("mood:classification", "stars:regression", given=[{**row, "mood": None} for row in rows()])


def test_bad_rows_are_skipped_for_all_targets(tmp_path: Path) -> None:
    given = [{**row, "stars": "many" if i == 3 else row["stars"]} for i, row in enumerate(rows())]
    config = RunConfig(prompt="{text}", targets=["mood:classification", "stars:regression"], bad_rows="skip")
    data = load_target_rows(config, tmp_path, given)
    assert data.skipped == 1
    assert all(e.row_id != 3 for part in data.parts.values() for e in [*part.train, *part.validation])
    assert [path.read_text().count("many") for path in tmp_path.glob("bad-rows.*.jsonl")] == [1]


def test_rows_of_several_targets_are_checked_on_the_command_line(tmp_path: Path) -> None:
    lines = [f"row {i},{MOODS[i % 3]},{i % 5},{';'.join(TAGS[i % 4] or ()) or ';'}" for i in range(40)]
    (tmp_path / "r.csv").write_text("\n".join(["text,mood,stars,tags", *lines]))
    given = ("validate", "--data", tmp_path / "r.csv", "--prompt", "{text}", "--model", "embedded", "--json")
    done = predgen(
        *given, "--target", "mood:classification", "--target", "stars:regression", "--target", "tags:multilabel"
    )
    assert done.exit_code == 0, done.output
    assert '"rows_without_answer": {\n  "mood": 13,\n  "stars": 0,\n  "tags": 0\n }' in done.output
    wrong = predgen(*given, "--target", "mood:classification", "--target", "star:regression")
    assert wrong.exit_code == 2
    assert "Did you mean 'stars'" in wrong.output

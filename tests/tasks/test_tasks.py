"""Every registered task: its declaration, and its files in the publisher's exact format."""

import json
from pathlib import Path

import pytest

from predgen import registries
from predgen.data.examples import extractor, prompt_fields, to_examples
from predgen.data.tables import available_splits, load_task
from predgen.errors import DataError
from task_files import examples_of, publish, task_of

NAMES = list(registries.tasks)
TEST_ONLY = ("multiarith", "addsub", "singleeq", "svamp")
WITH_TRAINING = [name for name in NAMES if name not in TEST_ONLY]

# Longest prompt around the fields, in words: a small model is trained with some 100,000 tokens.
MAX_TEMPLATE_WORDS = 25


# Declarations


def test_declarations_are_complete() -> None:
    for name in NAMES:
        task = task_of(name)
        assert task.name == name
        assert task.target not in prompt_fields(task.prompt), name
        assert all(metric in registries.metrics for metric in task.metrics), name
        assert set(task.files) <= {"train", "validation", "test"}, name
        assert set(task.files) == {"test"} if name in TEST_ONLY else "train" in task.files, name
        assert task.source, name
        assert task.licence, name
        assert task.version >= 1, name
        assert task.group, name


def test_scales_labels_and_rationales_fit_the_kind() -> None:
    for name in NAMES:
        task = task_of(name)
        assert bool(task.labels) == (task.kind == "classification"), name
        # CLEAR's scores are unbounded.
        assert (task.scale is not None) == (task.kind == "regression" and name != "clear"), name
        if task.scale is not None:
            low, high = task.scale
            assert f"from {low:g} to {high:g}:" in task.prompt, name  # the prompt states the right scale
        for label in task.labels.values():
            assert label in task.prompt or "{names}" in task.prompt, name  # as many as the row has options


def test_prompts_are_short() -> None:
    bare = {
        name: task_of(name).prompt.format(**dict.fromkeys(prompt_fields(task_of(name).prompt), "")) for name in NAMES
    }
    assert {name: text for name, text in bare.items() if len(text.split()) > MAX_TEMPLATE_WORDS} == {}


def test_hubs_declare_splits_with_labels() -> None:
    hubs = {name: set(hub.splits) for name in NAMES if (hub := task_of(name).hub) is not None}
    assert hubs
    wrong = [
        name for name, splits in hubs.items() if "train" not in splits and (name not in TEST_ONLY or splits != {"test"})
    ]
    assert wrong == []


def test_expected_scales() -> None:
    assert {name: task_of(name).scale for name in NAMES if task_of(name).kind == "regression"} == {
        "wassa": (0, 1),
        "sick": (1, 5),
        "stsb": (0, 5),
        "lcp_single": (0, 1),
        "lcp_multi": (0, 1),
        "clear": None,
        "humicroedit": (0, 3),
    }


def test_every_task_of_the_issue_is_there() -> None:
    assert len(NAMES) == 22
    assert registries.tasks.canonical("lcp") == "lcp_single"
    assert {name for name in NAMES if task_of(name).kind == "math"} == {"math_10k", "gsm8k", *TEST_ONLY}
    prompts = {task_of(name).prompt for name in NAMES if task_of(name).kind == "math"}
    assert len(prompts) == 1  # so that a model trained on one is measured on the others


# Files in the publisher's format


@pytest.mark.parametrize("name", [name for name in WITH_TRAINING if name != "math_10k"])
def test_published_splits_are_used_where_there_is_a_test_file(name: str, tmp_path: Path) -> None:
    folder = publish(name, tmp_path)
    assert available_splits(task_of(name), folder) == ("train", "validation", "test")
    counts = {split: len(examples_of(name, split, folder)) for split in ("train", "validation", "test")}
    has_validation = "validation" in task_of(name).files
    assert sum(counts.values()) == total_rows(name)
    assert counts["train"] == (20 if has_validation else 18)


def total_rows(name: str) -> int:
    return {"wassa": 20 + 8 + 12, "gsm8k": 20 + 6}.get(name, 20 + 5 + 6)


@pytest.mark.parametrize("name", [name for name in WITH_TRAINING if name not in ("gsm8k", "math_10k")])
def test_published_dev_is_test_where_there_is_no_test_file(name: str, tmp_path: Path) -> None:
    folder = publish(name, tmp_path, without="test")
    assert len(examples_of(name, "test", folder)) == (8 if name == "wassa" else 5)
    assert len(examples_of(name, "train", folder)) + len(examples_of(name, "validation", folder)) == 20


def test_one_training_file_is_split_in_three(tmp_path: Path) -> None:
    folder = publish("math_10k", tmp_path)
    assert [len(examples_of("math_10k", split, folder)) for split in ("train", "validation", "test")] == [14, 2, 4]


@pytest.mark.parametrize("name", TEST_ONLY)
def test_test_only_sets_are_never_trained_on(name: str, tmp_path: Path) -> None:
    folder = publish(name, tmp_path)
    assert available_splits(task_of(name), folder) == ("test",)
    assert len(examples_of(name, "test", folder)) == 6
    with pytest.raises(DataError, match=f"gives no 'train' split of task '{name}', only test"):
        load_task(task_of(name), "train", data_dir=folder)


UNLABELLED = {
    "boolq": {"question": "is it so", "title": "So", "passage": "It is."},
    "piqa": {"goal": "Eat.", "sol1": "a", "sol2": "b"},
    "hellaswag": {"ctx": "Tea: A man", "endings": ["a", "b", "c", "d"]},
    "winogrande": {"qID": "X-1", "sentence": "The _ fell.", "option1": "cup", "option2": "jar"},
    "obqa": {"question": {"stem": "Why?", "choices": [{"text": "a", "label": "A"}]}, "answerKey": ""},
}


@pytest.mark.parametrize("name", UNLABELLED)
def test_test_file_without_labels_is_no_split(name: str, tmp_path: Path) -> None:
    folder = publish(name, tmp_path, without="test")
    (folder / "test.jsonl").write_text(json.dumps(UNLABELLED[name]) + "\n")
    assert available_splits(task_of(name), folder) == ("train", "validation", "test")
    assert len(examples_of(name, "test", folder)) == 5  # the published dev rows


def test_rows_without_their_label_file_are_refused(tmp_path: Path) -> None:
    folder = publish("siqa", tmp_path)
    (folder / "dev-labels.lst").unlink()
    with pytest.raises(DataError, match=r"lacks 'dev-labels\.lst' of task 'siqa'; the others are there"):
        load_task(task_of("siqa"), "train", data_dir=folder)


@pytest.mark.parametrize("name", NAMES)
def test_extract_changes_nothing_when_applied_again(name: str, tmp_path: Path) -> None:
    extract = extractor(task_of(name))
    folder = publish(name, tmp_path)
    for split in available_splits(task_of(name), folder):
        for row in load_task(task_of(name), split, data_dir=folder):
            assert dict(extract(row)) == row
    assert dict(extract({"something": 1})) == {"something": 1}


@pytest.mark.parametrize("name", NAMES)
def test_rows_without_targets_can_be_predicted(name: str) -> None:
    task = task_of(name)
    row = dict.fromkeys(prompt_fields(task.prompt), "some text")
    (example,) = to_examples([row], task, with_target=False)
    assert set(example.fields.values()) == {"some text"}

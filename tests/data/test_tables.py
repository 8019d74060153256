"""Which rows are train, validation and test, from files and from the hub."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from predgen.core import FileSpec, HubSpec, TaskSpec
from predgen.data.tables import SPLITS, available_splits, is_published, load_hub, load_task
from predgen.errors import ConfigError, DataError

TOY = TaskSpec(
    name="toy",
    kind="regression",
    prompt="{text}",
    target="score",
    metrics=("mse",),
    files={
        "train": (FileSpec(("train.csv",), "csv"), FileSpec(("train.old.csv",), "csv", columns={"words": "text"})),
        "validation": (FileSpec(("dev.csv",), "csv"),),
        "test": (FileSpec(("gold/a*.csv", "gold/b*.csv"), "csv"),),
    },
    group=("text",),
    hub=HubSpec("somebody/toy", "plain", splits={"train": "train", "validation": "dev"}, columns={"label": "score"}),
)


def write(folder: Path, name: str, n: int, start: int = 0, column: str = "text") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # Every text occurs twice, in different case.
    lines = [f"{'Word' if i % 2 else 'word'} {i // 2},{i}" for i in range(start, start + n)]
    path.write_text("\n".join([f"{column},score", *lines]), encoding="utf-8")


def write_splits(folder: Path, *splits: str) -> None:
    for split in splits:
        for start, name in enumerate(
            {"train": ["train.csv"], "validation": ["dev.csv"], "test": ["gold/a1.csv", "gold/b1.csv"]}[split]
        ):
            write(folder, name, {"train": 200, "validation": 60, "test": 20}[split], start=1000 * start)


def count(folder: Path, split: str, seed: int = 0) -> int:
    return len(load_task(TOY, split, data_dir=folder, seed=seed))


@pytest.mark.parametrize(
    ("published", "sizes"),
    [
        (("train", "validation", "test"), {"train": 200, "validation": 60, "test": 40}),
        (("train", "test"), {"train": 180, "validation": 20, "test": 40}),
        (("train", "validation"), {"train": 180, "validation": 20, "test": 60}),
        (("train",), {"train": 140, "validation": 20, "test": 40}),
        (("validation",), {"train": 42, "validation": 6, "test": 12}),
        (("validation", "test"), {"validation": 60, "test": 40}),
        (("test",), {"test": 40}),
    ],
)
def test_splits_follow_from_the_published_ones(
    tmp_path: Path, published: tuple[str, ...], sizes: dict[str, int]
) -> None:
    write_splits(tmp_path, *published)
    assert available_splits(TOY, tmp_path) == tuple(sizes)
    assert {split: count(tmp_path, split) for split in sizes} == sizes


@pytest.mark.parametrize("published", [("train", "validation"), ("train",)])
def test_split_rows_share_no_text(tmp_path: Path, published: tuple[str, ...]) -> None:
    write_splits(tmp_path, *published)
    train, validation = (
        {row["text"].casefold() for row in load_task(TOY, split, data_dir=tmp_path, seed=1)}
        for split in ("train", "validation")
    )
    assert train
    assert validation
    assert not train & validation


def test_seed_changes_only_splits_that_are_not_published(tmp_path: Path) -> None:
    write_splits(tmp_path, "train", "validation")
    rows = {
        (split, seed): load_task(TOY, split, data_dir=tmp_path, seed=seed)
        for split in ("validation", "test")
        for seed in (0, 1)
    }
    assert rows["validation", 0] != rows["validation", 1]
    assert rows["test", 0] == rows["test", 1]


def test_folder_may_be_the_datasets_own_or_the_one_above(tmp_path: Path) -> None:
    write_splits(tmp_path / "toy", "train", "test")
    assert count(tmp_path, "test") == count(tmp_path / "toy", "test") == 40
    write_splits(tmp_path / "toy-2017", "test")
    renamed = dataclasses.replace(TOY, folder="toy-2017")
    assert available_splits(renamed, tmp_path) == ("test",)


def test_files_of_one_split_are_read_in_sorted_order(tmp_path: Path) -> None:
    for name, start in (("gold/b.csv", 30), ("gold/a2.csv", 20), ("gold/a1.csv", 10)):
        write(tmp_path, name, 2, start)
    assert [row["score"] for row in load_task(TOY, "test", data_dir=tmp_path)] == ["10", "11", "20", "21", "30", "31"]


def test_first_alternative_that_is_there_is_read(tmp_path: Path) -> None:
    write_splits(tmp_path, "test")
    write(tmp_path, "train.old.csv", 100, column="words")
    assert set(load_task(TOY, "train", data_dir=tmp_path)[0]) == {"text", "score"}
    assert count(tmp_path, "train") == 90
    write(tmp_path, "train.csv", 200)
    assert count(tmp_path, "train") == 180


def test_rename_of_an_absent_column_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "train.old.csv", 10)
    with pytest.raises(DataError, match=r"train\.old\.csv' has no column 'words'; columns: text, score"):
        load_task(TOY, "train", data_dir=tmp_path)


def test_missing_folder_lists_the_files_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"`data_dir` .*nowhere' does not exist\. Looked for, in that folder or in 'toy' below it: train: train\.csv or train\.old\.csv; validation: dev\.csv; test: gold/a\*\.csv \+ gold/b\*\.csv",
    ):
        load_task(TOY, "train", data_dir=tmp_path / "nowhere")
    write(tmp_path, "file.csv", 1)
    with pytest.raises(DataError, match="is a file, not a folder"):
        available_splits(TOY, tmp_path / "file.csv")


def test_folder_without_files_lists_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no file of task 'toy'\. Looked for"):
        load_task(TOY, "train", data_dir=tmp_path)
    assert available_splits(TOY, tmp_path) == ()


def test_part_of_a_splits_files_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "gold/a.csv", 2)
    with pytest.raises(DataError, match=r"lacks 'gold/b\*\.csv' of task 'toy'; the others are there"):
        available_splits(TOY, tmp_path)


def test_test_file_is_never_trained_on(tmp_path: Path) -> None:
    write_splits(tmp_path, "test")
    with pytest.raises(
        DataError, match="gives no 'train' split of task 'toy', only test: a published test split is never"
    ):
        load_task(TOY, "train", data_dir=tmp_path)


def test_unknown_split_names_near_matches(tmp_path: Path) -> None:
    write_splits(tmp_path, "train")
    with pytest.raises(ConfigError, match=r"unknown split 'valid'\. Did you mean 'validation'"):
        load_task(TOY, "valid", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("published", "made_by_the_publisher"),
    [
        (("train", "validation", "test"), {"train", "validation", "test"}),
        (("train", "validation"), {"test"}),
        (("train",), set()),
        (("test",), {"test"}),
    ],
)
def test_published_splits_are_told_from_seeded_parts(
    tmp_path: Path, published: tuple[str, ...], made_by_the_publisher: set[str]
) -> None:
    write_splits(tmp_path, *published)
    assert {split for split in SPLITS if is_published(TOY, split, tmp_path)} == made_by_the_publisher


def test_splits_of_the_hub_are_known_without_asking_it() -> None:
    assert available_splits(TOY, None) == ("train", "validation", "test")
    assert [is_published(TOY, split, None) for split in SPLITS] == [False, False, True]
    assert available_splits(dataclasses.replace(TOY, hub=None), None) == ()


def test_test_file_without_targets_is_no_split(tmp_path: Path) -> None:
    write_splits(tmp_path, "train", "validation")
    (tmp_path / "gold").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "gold" / name).write_text("text,score\nword,\n")
    assert count(tmp_path, "test") == 60  # the published dev file


# The hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Calls of `datasets.load_dataset`, which returns 100 rows."""
    calls: list[tuple[Any, ...]] = []

    def load_dataset(*args: object, **kwargs: object) -> datasets.Dataset:
        calls.append((*args, kwargs))
        return datasets.Dataset.from_list([{"text": f"{kwargs['split']} {i}", "label": i / 10} for i in range(100)])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def test_hub_follows_the_same_rules(hub: list[tuple[Any, ...]]) -> None:
    assert [len(load_hub(TOY, split)) for split in ("train", "validation", "test")] == [90, 10, 100]
    assert load_hub(TOY, "test")[3] == {"text": "dev 3", "score": 0.3}
    assert hub[0] == ("somebody/toy", "plain", {"split": "train", "data_files": None})  # no trust_remote_code


def test_task_without_hub_says_so() -> None:
    with pytest.raises(DataError, match="task 'toy' has no copy on the hub that loads as plain data; give `data_dir`"):
        load_hub(dataclasses.replace(TOY, hub=None), "train")


@pytest.mark.parametrize(
    "error", [ConnectionError("offline"), ValueError("no config"), RuntimeError("scripts are no longer supported")]
)
def test_hub_failure_names_the_way_out(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(
        DataError, match=rf"'somebody/toy' of task 'toy' cannot be loaded: {error}\. .* give `data_dir`"
    ):
        load_hub(TOY, "train")


def test_missing_datasets_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'predgen\[data\]'"):
        load_hub(TOY, "train")

"""A task's rows by split, from the publisher's files or from the hub (docs/data.md, splits).

The splits we use follow from those that are published with labels, so that no split both selects and measures:

| published | train | validation | test |
|---|---|---|---|
| train, validation, test | train | validation | test |
| train, test | 90 % of train | 10 % of train | test |
| train, validation | 90 % of train | 10 % of train | validation |
| train or validation alone | 70 % of it | 10 % of it | 20 % of it |
| test, perhaps validation | none | validation | test |
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from predgen.core import FileSpec, HubSpec, TaskSpec
from predgen.data.aligned import with_aligned
from predgen.data.cells import is_missing
from predgen.data.examples import extractor
from predgen.data.sources import dataset_rows, read_rows
from predgen.data.splits import split_rows
from predgen.errors import ConfigError, DataError, some_of
from predgen.near_names import near_matches

SPLITS = ("train", "validation", "test")
_HELD_OUT = {"train": 0.9, "validation": 0.1}
_ONE_FILE = {"train": 0.7, "validation": 0.1, "test": 0.2}

_Rows = list[dict[str, Any]]


def load_task(task: TaskSpec, split: str, *, data_dir: str | Path, seed: int = 0) -> _Rows:
    """Return one split's rows from the publisher's files, with the task's column names.

    Args:
        task: The task.
        split: "train", "validation" or "test".
        data_dir: The dataset's own folder, or the folder that holds it among others.
        seed: Seed of the splits that are not published; texts named by `task.group` never cross them.

    Raises:
        ConfigError: If `split` is unknown.
        DataError: If the folder or the files are missing, a file cannot be read, or the files give no such split.
    """
    folder = _folder(task, Path(data_dir))
    published = _published(task, folder)
    if not published:
        raise DataError(f"folder {str(folder)!r} has no file of task {task.name!r}. {_looked_for(task)}")
    return _split(
        task, split, published, lambda name: _read(task, published[name], folder), seed, f"folder {str(folder)!r}"
    )


def available_splits(task: TaskSpec, data_dir: str | Path | None) -> tuple[str, ...]:
    """Return the splits that a folder gives, or the hub where that is None, in the order of `SPLITS`.

    Raises:
        DataError: If the folder is missing, or a split's files are there only in part.
    """
    return tuple(_plan(_published_at(task, data_dir)))


def is_published(task: TaskSpec, split: str, data_dir: str | Path | None) -> bool:
    """Whether a split is one that the publisher made, and not a seeded part of another; `data_dir` None: on the hub."""
    plan = _plan(_published_at(task, data_dir))
    return split in plan and plan[split][1] is None


def _published_at(task: TaskSpec, data_dir: str | Path | None) -> Collection[str]:
    """Return the splits that are published with targets in a folder, or on the hub."""
    if data_dir is not None:
        return _published(task, _folder(task, Path(data_dir)))
    return task.hub.splits if task.hub else ()


def load_hub(task: TaskSpec, split: str, *, seed: int = 0) -> _Rows:
    """Return one split's rows from the Hugging Face hub, with the task's column names. No code of the hub is run.

    Raises:
        ConfigError: If `split` is unknown.
        DataError: If the task is not on the hub, `datasets` is not installed, or it cannot load the data set.
    """
    if task.hub is None:
        raise DataError(
            f"task {task.name!r} has no copy on the hub that loads as plain data; {_from_publisher(task)} {_looked_for(task)}"
        )
    hub = task.hub
    return _split(
        task, split, hub.splits, lambda name: _download(task, hub, name), seed, f"hub data set {hub.dataset!r}"
    )


def _split(
    task: TaskSpec, split: str, published: Collection[str], read: Callable[[str], _Rows], seed: int, where: str
) -> _Rows:
    """Return the rows of a split, reading and, where needed, splitting a published one."""
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}.{near_matches(split, SPLITS)} Allowed: {', '.join(SPLITS)}.")
    plan = _plan(published)
    if split not in plan:
        raise DataError(
            f"{where} gives no {split!r} split of task {task.name!r}, only {', '.join(plan)}: a published test split is never "
            f"trained on. {_looked_for(task)}"
        )
    source, fractions = plan[split]
    rows = read(source)
    return rows if fractions is None else split_rows(rows, fractions, group=task.group, seed=seed)[split]


def _plan(published: Collection[str]) -> dict[str, tuple[str, Mapping[str, float] | None]]:
    """Return split -> (published split it is read from, fractions to split that by, or None for all of it)."""
    has_train, has_validation, has_test = (name in published for name in SPLITS)
    plan: dict[str, tuple[str, Mapping[str, float] | None]] = {}
    if has_test:
        plan["test"] = ("test", None)
    elif has_train and has_validation:
        plan["test"] = ("validation", None)
    elif has_train or has_validation:
        return {split: ("train" if has_train else "validation", _ONE_FILE) for split in SPLITS}
    if has_test and has_validation:
        plan["validation"] = ("validation", None)
        if has_train:
            plan["train"] = ("train", None)
    elif has_train:
        plan |= {split: ("train", _HELD_OUT) for split in ("train", "validation")}
    return {split: plan[split] for split in SPLITS if split in plan}


def _folder(task: TaskSpec, data_dir: Path) -> Path:
    """Return the dataset's own folder."""
    if not data_dir.is_dir():
        what = "is a file, not a folder" if data_dir.exists() else "does not exist"
        raise DataError(f"`data_dir` {str(data_dir)!r} {what}. {_looked_for(task)}")
    own = data_dir / (task.folder or task.name)
    return own if own.is_dir() else data_dir


def _published(task: TaskSpec, folder: Path) -> dict[str, FileSpec]:
    """Return the published splits that are there with targets, each with the first alternative that is."""
    found: dict[str, FileSpec] = {}
    partly: list[str] = []
    for split, alternatives in task.files.items():
        lacking: list[str] = []
        for spec in alternatives:
            needed = (*spec.paths, *spec.aligned.values())
            missing = [pattern for pattern in needed if not _matches(folder, pattern)]
            if not missing and (split != "test" or _has_targets(task, spec, folder)):
                found[split] = spec
                break
            # A test file may be published without its labels; then it is simply no labelled split.
            wanted = spec.paths if split == "test" else needed
            if 0 < sum(pattern in missing for pattern in wanted) < len(wanted):
                lacking += [pattern for pattern in wanted if pattern in missing]
        partly += lacking if split not in found else []
    if partly:
        raise DataError(
            f"folder {str(folder)!r} lacks {', '.join(map(repr, partly))} of task {task.name!r}; the others are there."
        )
    return found


def _has_targets(task: TaskSpec, spec: FileSpec, folder: Path) -> bool:
    """Whether the first row of a published file has a target: test files of several publishers have none."""
    target = next(_spec_rows(task, spec, folder)).get(task.target)
    return not is_missing(target) and target != ""


def _matches(folder: Path, pattern: str) -> list[Path]:
    """Return the files that match a pattern, sorted by name so that row numbers are the same everywhere."""
    return sorted(path for path in folder.glob(pattern) if path.is_file())


def _from_publisher(task: TaskSpec) -> str:
    """Say whose files to fetch."""
    return f"get the publisher's files ({task.source}) and give `data_dir`." if task.source else "give `data_dir`."


def _looked_for(task: TaskSpec) -> str:
    """Say which files a task can be read from."""
    splits = (
        f"{split}: {' or '.join(' + '.join((*spec.paths, *spec.aligned.values())) for spec in alternatives)}"
        for split, alternatives in task.files.items()
    )
    return f"Looked for, in that folder or in {task.folder or task.name!r} below it: {'; '.join(splits)}."


def _read(task: TaskSpec, spec: FileSpec, folder: Path) -> _Rows:
    """Read all files of a published split."""
    return list(_spec_rows(task, spec, folder))


def _spec_rows(task: TaskSpec, spec: FileSpec, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a published split, file by file."""
    extract = extractor(task)
    for path in (path for pattern in spec.paths for path in _matches(folder, pattern)):
        rows = read_rows(path, reader=spec.reader, header=spec.header, optional=spec.optional)
        for column, name in spec.aligned.items():
            rows = with_aligned(rows, path, column, folder / name)
        yield from (dict(extract(row)) for row in _renamed(rows, spec.columns, f"file {str(path)!r}"))


def _renamed(rows: Iterator[dict[str, Any]], columns: Mapping[str, str], where: str) -> Iterator[dict[str, Any]]:
    """Rename columns; each must be there, and its new name must be free."""
    for row in rows:
        for old, new in columns.items():
            if old not in row or new in row:
                what = f"has no column {old!r}" if old not in row else f"has both {old!r} and {new!r}"
                raise DataError(
                    f"{where} {what}; columns: {some_of(list(row))}. It is not the published file in the format we know."
                )
        yield {columns.get(name, name): value for name, value in row.items()}


def _download(task: TaskSpec, hub: HubSpec, split: str) -> _Rows:
    """Read a published split from the hub."""
    try:
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise DataError(
            f"reading task {task.name!r} from the hub needs `datasets`: pip install 'predgen[data]'; or give `data_dir`."
        ) from error
    name = hub.splits[split]
    files = {name: hub.files[split]} if hub.files else None
    try:
        data = load_dataset(hub.dataset, hub.config, split=name, data_files=files)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        # Not found or offline; unknown configuration or split; needs a script; files that do not fit together.
        reason = f"{error} ({error.__cause__})" if isinstance(error, DatasetsError) and error.__cause__ else str(error)
        raise DataError(
            f"hub data set {hub.dataset!r} of task {task.name!r} cannot be loaded: {reason}. Check the connection, or "
            f"{_from_publisher(task)} {_looked_for(task)}"
        ) from error
    extract = extractor(task)
    return [dict(extract(row)) for row in _renamed(dataset_rows(data), hub.columns, f"hub data set {hub.dataset!r}")]

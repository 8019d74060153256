"""Plain data: what is read is bounded, typed and never code."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from annotated_types import Ge

from predgen import registries
from predgen.config import read_config
from predgen.core import TaskSpec
from predgen.errors import ConfigError, SavedModelError
from predgen.plain_data import MOST_CHARACTERS, MOST_DEPTH, read_json, read_yaml, typed


@dataclass(frozen=True)
class Part:
    count: Annotated[int, Ge(1)]
    names: tuple[str, ...] = ()
    share: float = 0.5
    inner: "dict[str, Any] | None" = None


def written(folder: Path, content: str | bytes, name: str = "data.json") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_fields_come_back_as_the_dataclass_has_them(tmp_path: Path) -> None:
    path = written(tmp_path, '{"count": 3, "names": ["a", "b"], "share": 1}')
    assert read_json(path, Part) == Part(3, ("a", "b"), 1.0)


@pytest.mark.parametrize("name", list(registries.tasks))
def test_every_task_comes_back(name: str) -> None:
    task = registries.tasks.get(name)
    assert typed(TaskSpec, asdict(task), "'x.json'") == task


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"count": "3"}', "`count` is '3'"),
        ('{"count": true}', "`count` is True"),
        ('{"count": 1.0}', r"`count` is 1\.0"),
        ('{"count": 0}', "`count` is 0"),
        ('{"count": 1, "names": "ab"}', "`names` is 'ab'"),
        ('{"count": 1, "names": ["a", 2]}', r"`names\.1` is 2"),
        ('{"count": 1, "share": NaN}', "`share` is nan"),
        ('{"count": 1, "share": 1e999}', "`share` is inf"),
        ('{"count": 1, "cuont": 2}', "`cuont` is not a field"),
        ("{}", "`count` is missing"),
        ("[]", r"`value` is \[\]"),
        ("null", "`value` is None"),
    ],
)
def test_field_of_another_type_or_range_is_named(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(SavedModelError, match=rf"data\.json': {said}.*Copy the file again\."):
        read_json(written(tmp_path, content), Part)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is damaged"),
        (b"\xff\xfe\x00", "is damaged"),
        (b'{"count": 1', "is damaged"),
        (b'{"count": 1, "count": 2}', "key 'count' stands twice"),
        (b'{"count": 9223372036854775808}', "number '9223372036854775808' is too large"),
        (b'{"count": -' + b"9" * 5000 + b"}", "too large"),
        (b"[" * 100_000, "is damaged"),
        (b"[" * (MOST_DEPTH + 1) + b"]" * (MOST_DEPTH + 1), f"more than {MOST_DEPTH} levels"),
        (b'{"count": 1, "names": ["' + b"a" * (MOST_CHARACTERS + 1) + b'"]}', f"{MOST_CHARACTERS + 1} characters"),
    ],
    ids=["empty", "bytes", "cut", "twice", "large", "huge", "endless", "deep", "long"],
)
def test_file_beyond_the_limits_is_damaged(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(SavedModelError, match=said) as error:
        read_json(written(tmp_path, content), Part)
    assert len(str(error.value)) < 700


def test_long_file_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    with path.open("wb") as file:
        file.truncate(1 << 40)  # no blocks on the disk
    with pytest.raises(SavedModelError, match=f"has {1 << 40} bytes"):
        read_json(path, Part)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.json")  # opening it would wait for ever
    for name, said in (("pipe.json", "it is no file"), ("none.json", "it is not there")):
        with pytest.raises(SavedModelError, match=said):
            read_json(tmp_path / name, Part)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [1", "is not valid YAML"),
        ("- 1\n- 2", "must hold `key: value` lines, but holds list"),
        ("1: 2", "must hold `key: value` lines"),
        ("rank: 1\nrank: 2", "stands twice"),
        ("rank: !!python/object/apply:os.getcwd []", "python/object"),
        ("a: &a [1, 2]\nb: *a", "alias"),
        ("a: " + "[" * 40 + "]" * 40, "levels"),
        ("a: " + "[" * 20_000, "is not valid YAML"),
        ("a: " + "x" * (1 << 20), "bytes"),
    ],
    ids=["cut", "list", "keys", "twice", "code", "alias", "deep", "endless", "long"],
)
def test_yaml_is_read_within_the_same_limits(tmp_path: Path, content: str, said: str) -> None:
    path = written(tmp_path, content, "config.yaml")
    with pytest.raises(SavedModelError, match=said):
        read_yaml(path)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        read_config(path)


def test_yaml_comes_back(tmp_path: Path) -> None:
    path = written(tmp_path, "rank: 8\nlearning-rate: 1e-3\nlabels: [a, b]\n", "config.yaml")
    assert read_yaml(path) == {"rank": 8, "learning-rate": "1e-3", "labels": ["a", "b"]}
    assert read_config(path) == {"rank": 8, "learning_rate": "1e-3", "labels": ["a", "b"]}

"""Plain data from files that anyone may have written: bounded while it is read, typed before it is used.

bytes of a file -> JSON or YAML within limits -> `typed`: the fields of a dataclass, each of its type -> the dataclass

Everything that is read from a saved model's or a run's folder passes through here, so that no other code meets a value
of a type, size or depth that it was not written for. Nothing that is read can name code: JSON and YAML become strings,
numbers, lists and mappings, and no dataclass that is read has a function or a class for a field.
"""

import functools
import json
from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path
from types import GenericAlias
from typing import TYPE_CHECKING, Any

import yaml

from predgen.errors import PredgenError, SavedModelError

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

MOST_JSON_BYTES = 1 << 24
_MOST_YAML_BYTES = 1 << 20  # settings; YAML is read a hundred times slower than JSON
MOST_DEPTH = 32  # a manifest needs 7
MOST_CHARACTERS = 1 << 20  # of one text; a prompt template is the longest
_MOST_WHOLE = 1 << 63  # what a tensor can hold
_ERRORS_NAMED = 3


def read_json(
    path: Path,
    kind: Any,  # noqa: ANN401  (a class, or a generic alias, which is none)
    *,
    most_bytes: int = MOST_JSON_BYTES,
    error: type[PredgenError] = SavedModelError,
    repair: str = "Copy the file again.",
) -> Any:  # noqa: ANN401
    """Read a JSON file as a dataclass, or another type with annotated parts.

    Args:
        path: The file.
        kind: What it holds; see `typed`.
        most_bytes: Longest file, in bytes; a longer one is not read.
        error: Class of error to raise.
        repair: What to do about a damaged file, as the message's last sentence.

    Raises:
        PredgenError: Of class `error`, where the file is missing, too long or damaged, or holds something else.
    """
    content = _bytes_of(path, most_bytes, error, repair)
    try:
        data = json.loads(content, object_pairs_hook=_mapping, parse_int=_whole)
        _check_extent(data)
    except (ValueError, RecursionError) as reason:
        raise error(f"{str(path)!r} is damaged: {_sentence(reason)} {repair}") from reason
    return typed(kind, data, repr(str(path)), error=error, repair=repair)


def read_yaml(
    path: Path, *, error: type[PredgenError] = SavedModelError, repair: str = "Copy the file again."
) -> dict[str, Any]:
    """Read a YAML file of `key: value` lines, without tags, anchors and aliases: a few of these can stand for gigabytes.

    Raises:
        PredgenError: Of class `error`, where the file is missing, too long or damaged, or holds something else.
    """
    content = _bytes_of(path, _MOST_YAML_BYTES, error, repair)
    try:
        data = yaml.load(content, Loader=_PlainLoader)
        _check_extent(data)
    except (ValueError, RecursionError, yaml.YAMLError) as reason:
        raise error(f"{str(path)!r} is not valid YAML: {_sentence(reason)} {repair}") from reason
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise error(f"{str(path)!r} must hold `key: value` lines, but holds {type(data).__name__}. {repair}")
    return data


def typed(
    kind: Any,  # noqa: ANN401  (a class, or a generic alias, which is none)
    data: Any,  # noqa: ANN401  (what JSON and YAML give)
    where: str,
    *,
    error: type[PredgenError] = SavedModelError,
    repair: str = "Copy the file again.",
) -> Any:  # noqa: ANN401
    """Return plain data as a dataclass, TypedDict, list, ... whose parts have their types; nothing is converted.

    A list is read as a tuple where a tuple is due, and a whole number as a float. Fields that the dataclass does not have
    are refused; numbers are finite. Ranges are annotations, `Annotated[int, Ge(1)]`.

    Args:
        kind: The type.
        data: The data.
        where: File, and key where it is a part of one, for messages.
        error: Class of error to raise.
        repair: What to do about it, as the message's last sentence.

    Raises:
        PredgenError: Of class `error`, where a part is of another type, out of range, missing or not known.

    Example:
        >>> typed(dict[str, tuple[int, ...]], {"a": [1, "2"]}, "'x.json'")
        Traceback (most recent call last):
        predgen.errors.SavedModelError: 'x.json': `a.1` is '2': Input should be a valid integer. Copy the file again.
    """
    from pydantic import ValidationError

    try:
        found: tuple[Any] = _adapter(kind).validate_json(json.dumps([data]))
    except ValidationError as reasons:
        named = [_described(reason) for reason in reasons.errors(include_url=False)[:_ERRORS_NAMED]]
        more = reasons.error_count() - len(named)
        raise error(f"{where}: {'; '.join(named)}{f'; and {more} more' if more > 0 else ''}. {repair}") from None
    return found[0]


@functools.cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":  # noqa: ANN401
    """Checks values of a type. In a tuple of one, since the rules can be given for no dataclass that stands alone."""
    from pydantic import ConfigDict, TypeAdapter

    rules = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    in_tuple: Any = GenericAlias(tuple, (kind,))
    return TypeAdapter(in_tuple, config=rules)


def _described(reason: "ErrorDetails") -> str:
    """One field that is wrong: its place, its value, and what is allowed."""
    place = ".".join(str(part) for part in reason["loc"][1:]) or "value"
    if reason["type"] == "missing":
        return f"`{place}` is missing"
    if reason["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"`{place}` is not a field that is known here"
    return f"`{place}` is {shortened(reason['input'])}: {reason['msg']}"


def shortened(value: object) -> str:
    """A value's text for a message, cut to a readable length."""
    text = repr(value[:80] if isinstance(value, str | list) else value)
    return text if len(text) <= 80 else text[:77] + "..."


def _bytes_of(path: Path, most: int, error: type[PredgenError], repair: str) -> bytes:
    """A file's bytes; a longer file, and what is no file (a pipe would never end), is not read."""
    try:
        if not path.is_file():
            reason = "it is no file" if path.exists() else "it is not there"
        elif (size := path.stat().st_size) > most:
            reason = f"it has {size} bytes, but at most {most} are read"
        else:
            return path.read_bytes()
    except OSError as found:
        reason = found.strerror or str(found)
    raise error(f"cannot read {str(path)!r}: {reason}. {repair}")


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a key that stands twice, other programs would take another value than this one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"key {shortened(twice)} stands twice")
    return found


def _whole(text: str) -> int:
    """A whole number of at most 64 bits."""
    value = int(text) if len(text) <= 20 else _MOST_WHOLE
    if abs(value) >= _MOST_WHOLE:
        raise ValueError(f"number {shortened(text)} is too large")
    return value


def _check_extent(data: object) -> None:
    """Refuse nesting and texts that nothing here needs, level by level."""
    level = [data]
    for _ in range(MOST_DEPTH):
        inner: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                inner += (*value.keys(), *value.values())
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str) and len(value) > MOST_CHARACTERS:
                raise ValueError(f"it has a text of {len(value)} characters, but at most {MOST_CHARACTERS} are read")
        if not inner:
            return
        level = inner
    raise ValueError(f"it is nested more than {MOST_DEPTH} levels deep")


def _sentence(reason: Exception) -> str:
    """What went wrong, on one line."""
    return " ".join(str(reason).split())[:300].rstrip(".") + "."


class _PlainLoader(yaml.SafeLoader):
    """YAML's own types, each key once, nothing named and used again."""

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has an alias (`*name`)")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        _mapping([(repr(key), None) for key in keys])
        return super().construct_mapping(node, deep)

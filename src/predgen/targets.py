r"""What a model with several targets is asked of each row: one question per target, in the order in which they were given.

A target is a column to predict. Its question is text that follows the run's prompt ("\nUrgency:"), so that a model with several
targets is asked, target by target, what a model of that target alone is asked by the prompt and the question together:

    targets as given (YAML, `--target`, `y`) -> `TargetSpec`s -> per question a configuration of one target (`RunConfig.of_target`)

A multi-label target is a yes/no question for each of its labels. Internally questions have the order of their names, so that
the order in which targets are given changes no figure.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from predgen import registries
from predgen.components import owned
from predgen.errors import ConfigError
from predgen.near_names import near_matches

KIND_OF_TASK = {
    "classification": "classification",
    "ordinal": "classification",
    "multilabel": "classification",
    "regression": "regression",
}
"""Kind of a target -> kind of the task that each of its questions is."""

YES_NO = ("no", "yes")
"""Answers to the question whether a row has a label, in class order."""

_LABEL = "{label}"
_COMMON = ("minimum", "maximum", "target_transform", "class_weight", "label_texts", "normalise_labels")
_OF_METHODS = ("director", "loss")
_REPAIR = "Write targets as mappings such as {name: stars, kind: regression}, or on the command line as --target stars:regression."


@dataclass(frozen=True, slots=True)
class TargetSpec:
    r"""One target.

    Attributes:
        name: Its column.
        kind: One of `KIND_OF_TASK`.
        question: Text that follows the run's prompt; of a multi-label target with `{label}` in the place of the label.
        weight: What a row's loss of this target counts beside those of others, > 0.
        labels: Labels in order; empty: those of the training rows.
        separator: What stands between the names in a cell of text (multi-label).
        shares: Label -> column with its share, where a row's answer is a distribution over labels; empty: it is the cell of
            column `name`.
        settings: Settings of what learns this target alone: its director and loss, the format and range of its numbers.

    Raises:
        ConfigError: If a value is not allowed, or does not go with the kind.

    Example:
        >>> TargetSpec.read({"name": "stars", "kind": "regression", "decimals": 0}).to_dict()
        {'name': 'stars', 'kind': 'regression', 'question': '\nStars:', 'decimals': 0}
    """

    name: str
    kind: str
    question: str = ""
    weight: float = 1.0
    labels: tuple[str, ...] = ()
    separator: str = ";"
    shares: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ConfigError(f"a target's `name` is {self.name!r}, but must name a column. {_REPAIR}")
        if self.kind not in KIND_OF_TASK:
            near = near_matches(str(self.kind), KIND_OF_TASK)
            raise self._error("kind", self.kind, f"{near} Allowed: {', '.join(KIND_OF_TASK)}.")
        if not self.question:
            title = self.name.replace("_", " ").strip()
            asked = f"\n{title[:1].upper()}{title[1:]}:".replace("{", "{{").replace("}", "}}")
            object.__setattr__(self, "question", f"{asked} {_LABEL}?" if self.is_multilabel else asked)
        self._check_values()
        self._check_settings()

    def _check_values(self) -> None:
        """Refuse values of the wrong type, or that do not go with the kind."""
        if not isinstance(self.question, str) or self.question != self.question.rstrip():
            raise self._error("question", self.question, " It must be text that does not end in blanks.")
        if self.is_multilabel and _LABEL not in self.question:
            raise self._error(
                "question", self.question, f" A multi-label question has {_LABEL} where the label stands."
            )
        if isinstance(self.weight, bool) or not isinstance(self.weight, int | float) or not 0 < self.weight < math.inf:
            raise self._error("weight", self.weight, " It must be a number above 0.")
        if self.labels and (self.kind == "regression" or len(set(self.labels)) < len(self.labels) or "" in self.labels):
            raise self._error(
                "labels", list(self.labels), " Give different names, and only where labels are predicted."
            )
        if not isinstance(self.separator, str) or not self.separator.strip():
            raise self._error("separator", self.separator, " It must be text such as ';'.")
        if self.separator != ";" and not self.is_multilabel:
            raise self._error("separator", self.separator, " It is for kind 'multilabel'; leave it out.")
        if self.shares and (self.kind not in ("classification", "ordinal") or len(self.shares) < 2):
            raise self._error("shares", dict(self.shares), " Give two or more labels with the columns of their shares.")
        if self.shares and self.labels and set(self.labels) != set(self.shares):
            raise self._error("shares", dict(self.shares), f" They must be of the `labels` {list(self.labels)}.")

    def _check_settings(self) -> None:
        """Refuse settings that no target has."""
        for name, value in self.settings.items():
            if name not in settings_of_targets():
                known = [*(f.name for f in fields(self) if f.name != "settings"), *settings_of_targets()]
                raise self._error(name, value, f" No target has this.{near_matches(str(name), known)}")

    def _error(self, key: str, value: object, reason: str) -> ConfigError:
        """Say which value of which target is wrong."""
        return ConfigError(f"target {self.name!r}: `{key}` is {value!r}.{reason}")

    @classmethod
    def read(cls, data: object) -> "TargetSpec":
        """Read a target as YAML and Python give it, a mapping, or as the command line does, `name:kind[:question]`.

        Raises:
            ConfigError: If it is neither, or a value is not allowed.
        """
        if isinstance(data, cls):
            return data
        if isinstance(data, str):
            name, _, rest = data.partition(":")
            kind, _, question = rest.partition(":")
            if not kind:
                raise ConfigError(f"target {data!r} names no kind; give NAME:KIND or NAME:KIND:QUESTION. {_REPAIR}")
            return cls(name, kind, question.replace("\\n", "\n"))
        if not isinstance(data, Mapping) or not {"name", "kind"} <= data.keys():
            raise ConfigError(f"a target is {data!r}, but must have a name and a kind. {_REPAIR}")
        given = {key: value for key, value in data.items() if value is not None}
        own = {key: given.pop(key) for key in [f.name for f in fields(cls) if f.name != "settings"] if key in given}
        if "labels" in own:
            own["labels"] = _texts(own["labels"], own["name"])
        if "shares" in own:
            own["shares"] = _columns(own["shares"], own["name"])
        if isinstance(own.get("question"), str):
            own["question"] = own["question"].replace("\\n", "\n")
        return cls(**own, settings=given)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data from which `read` makes an equal target; what is at its default is left out."""
        found: dict[str, Any] = {"name": self.name, "kind": self.kind, "question": self.question}
        if self.weight != 1:
            found["weight"] = self.weight
        if self.labels:
            found["labels"] = list(self.labels)
        if self.separator != ";":
            found["separator"] = self.separator
        if self.shares:
            found["shares"] = dict(self.shares)
        return {**found, **self.settings}

    @property
    def is_multilabel(self) -> bool:
        """Whether a row may have several of the labels."""
        return self.kind == "multilabel"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that hold a row's answer."""
        return tuple(self.shares.values()) or (self.name,)

    def questions(self) -> list[tuple[str, str | None]]:
        """Return name and label of each of its questions; without a label where the target has only one."""
        return [(self.part_name(label), label) for label in (self.labels if self.is_multilabel else (None,))]

    @property
    def part_names(self) -> tuple[str, ...]:
        """Names of its questions, one for each label of a multi-label target."""
        return tuple(name for name, _ in self.questions())

    def part_name(self, label: str | None = None) -> str:
        """Name of the question about a label of a multi-label target, or of the target's only one."""
        return self.name if label is None else f"{self.name}[{label}]"

    def asked(self, label: str | None = None) -> str:
        """Return the question as a part of a prompt template."""
        if label is None:
            return self.question
        return self.question.replace(_LABEL, label.replace("{", "{{").replace("}", "}}"))

    def part_settings(self) -> dict[str, Any]:
        """Return what its questions' configurations have beside those of the run."""
        return dict(self.settings)

    @property
    def director(self) -> str | None:
        """The director of its kind, where methods that have one are given none; None: that of the kind of task."""
        return "crps" if self.kind == "ordinal" else None  # one level off costs less than three


def settings_of_targets() -> tuple[str, ...]:
    """Return the names of settings that a target may have of its own."""
    return (*_COMMON, *_OF_METHODS, *owned([registries.directors, registries.codecs]))


def read_targets(given: object) -> tuple[TargetSpec, ...]:
    """Read a list of targets.

    Raises:
        ConfigError: If it is no list, is empty, or names a column twice.
    """
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence) or not given:
        raise ConfigError(f"`targets` is {given!r}, but must be a list of targets. {_REPAIR}")
    found = tuple(map(TargetSpec.read, given))
    twice = [name for name, count in Counter(one.name for one in found).items() if count > 1]
    if twice:
        raise ConfigError(
            f"`targets` names {twice[0]!r} more than once; each column is one target. Leave the others out."
        )
    return found


def as_label(value: object) -> str:
    """A label as text: 1.0 is the label 1, true the label true.

    Example:
        >>> as_label(1.0), as_label(True), as_label(" a ")
        ('1', 'true', 'a')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _texts(value: object, name: object) -> tuple[str, ...]:
    """Labels as texts."""
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence) or len(value) < 1:
        raise ConfigError(f"target {name!r}: `labels` is {value!r}, but must be a list of labels in their order.")
    return tuple(map(as_label, value))


def _columns(value: object, name: object) -> dict[str, str]:
    """Label -> column of its share."""
    if not isinstance(value, Mapping) or not all(isinstance(column, str) for column in value.values()):
        raise ConfigError(
            f"target {name!r}: `shares` is {value!r}, but must map each label to the column of its share."
        )
    return {as_label(label): column for label, column in value.items()}

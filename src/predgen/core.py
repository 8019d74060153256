"""The types that flow through the package. No torch here.

row of a file -> `Example` (prompt fields + target) -> token ids -> model -> `Prediction`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from predgen import registries
from predgen.distribution import Distribution
from predgen.errors import ConfigError
from predgen.near_names import near_matches
from predgen.settings import Settings, declared, setting

Kind = Literal["classification", "regression", "math"]
Form = Literal["paper", "cloze"]
Label = str | int | bool

ANSWER_TOLERANCE = "1e-4"
"""Two math answers that differ by less are the same (paper, appendix F: "less than 0.0001")."""

MAX_NODES = 1000
"""Most nodes of a number grid to expand per row: all of a grid of 4,000 numbers (`codecs.significant.MAX_FIXED_NUMBERS`)."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a row's answer should say.

    Attributes:
        value: The label's text (classification) or the number (regression, math).
        rationale: Free text to write before the answer (math only).
        shares: Label and its share, > 0, where the answer is a distribution over labels; `value` is the likeliest. Empty: it is
            `value` alone.
    """

    value: str | float
    rationale: str | None = None
    shares: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """One row, ready to be put into a prompt.

    Attributes:
        row_id: Position of the row in its source, counted from 0; names the row in errors and keys its random draws.
        fields: Text of each field of the prompt template.
        target: The answer; None for rows to predict.
        weight: Weight of the row's loss, > 0.
        options: Texts to choose from, in the order of the task's labels; empty but for form "cloze" (method "options").
    """

    row_id: int
    fields: Mapping[str, str]
    target: Target | None = None
    weight: float = 1.0
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decoding(Settings):
    """What to ask of a model, besides its own prediction; a decoding's own settings are in `own`.

    Attributes:
        how: One of `registries.decodings`; None: what the method itself predicts.
        distribution: Give the probabilities of the written numbers.
        max_unexpanded: Most probability mass to leave unexpanded where a grid is too large to be run whole.
        full_vocabulary: Probabilities of answers under the softmax over the whole vocabulary, renormalised, instead of
            over the legal tokens; the mass they had before goes to `Prediction.legal_mass`.
        max_nodes: Most trie nodes to expand per row of such a grid; what is left then is reported.
        own: Settings of the decoding itself, where it declares any.

    Raises:
        ConfigError: On an unknown name, a value out of range, or a setting that the decoding has not.
    """

    how: str | None = setting(
        None,
        "Read the prediction off what the model writes; default: the method's own way.",
        choices=registries.decodings,
    )
    distribution: bool = setting(False, "Write the probabilities of all numbers, as JSON (regression).")
    max_unexpanded: float = setting(
        1e-3, "Large grids: most probability mass to leave unexpanded, below 1.", low=0.0, high=1.0
    )
    full_vocabulary: bool = setting(
        False, "Probabilities under the softmax over the whole vocabulary, renormalised; writes the legal mass too."
    )
    max_nodes: int = setting(
        MAX_NODES, "Large grids: most trie nodes to expand per row; what is then left is reported.", low=1
    )
    own: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_unexpanded == 1:
            raise ConfigError("`max_unexpanded` is 1, but must be a share below 1: something has to be expanded.")
        known = declared(registries.decodings.settings_of(self.how)) if self.how else {}
        for name in self.own.keys() - known.keys():
            raise ConfigError(
                f"`{name}` is no setting of decoding {self.how!r}.{near_matches(name, known)} Leave it out."
            )


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says about one row.

    Attributes:
        value: The label (its text) or the number; None where freely written text could not be read.
        probabilities: P(label), in the order of the model's labels, summing to 1; None for numbers.
        answer: The text the model wrote; None where the value was not written (Predictor, means and medians).
        flags: Things to count and report: "out_of_budget", "parse_failure", "partly_expanded", "truncated".
        distribution: Probabilities of the numbers that the model could write, where asked for.
        legal_mass: Full-vocabulary probability of all legal answers together, where asked for.
        temperature: At which `probabilities` stand (`uncertainty.temperature`); 1: as the model was trained.
    """

    value: str | float | None
    probabilities: tuple[float, ...] | None = None
    answer: str | None = None
    flags: frozenset[str] = frozenset()
    distribution: Distribution | None = None
    legal_mass: float | None = None
    temperature: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, with the flags in alphabetical order.

        Example:
            >>> Prediction("good", (0.25, 0.75), "good", frozenset({"truncated"})).to_dict()["flags"]
            ['truncated']
        """
        return {
            "value": self.value,
            "probabilities": None if self.probabilities is None else list(self.probabilities),
            "answer": self.answer,
            "flags": sorted(self.flags),
            "distribution": None if self.distribution is None else self.distribution.to_dict(),
            "legal_mass": self.legal_mass,
            "temperature": self.temperature,
        }


@dataclass(frozen=True, slots=True)
class FileSpec:
    """Files of one split in a publisher's own format.

    Attributes:
        paths: File names below the dataset's folder, all of them needed; a glob may match several, read in sorted order.
        reader: "csv", "tsv" (quotes honoured), "tsv_plain" (quotes are ordinary characters), "jsonl" or "json".
        header: Column names, where the file has no header line; None: the first line names them.
        columns: Renames, published name -> name used by the task, where this file differs.
        optional: How many of `header`'s last columns a row may lack; they are read as "".
        aligned: Column -> file that holds it, one value a line, in the order of the rows of the only path.
    """

    paths: tuple[str, ...]
    reader: str
    header: tuple[str, ...] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    optional: int = 0
    aligned: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HubSpec:
    """Where the same task lies on the Hugging Face hub, as plain data: no code of a repository is ever run.

    Attributes:
        dataset: Repository id.
        config: Configuration name, or None.
        splits: Published split ("train", "validation", "test"), where it has labels -> its name on the hub; "a+b" are two
            that the publisher has as one.
        columns: Hub column -> our column.
        files: Published split -> its file in the repository, where no configuration names it.
    """

    dataset: str
    config: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return repository, configuration and files in one line."""
        return " ".join(filter(None, (self.dataset, self.config, *self.files.values())))


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A prediction task, declared as data.

    Attributes:
        name: Registry name, or "custom" for a user's own file.
        kind: "classification", "regression" or "math".
        prompt: Template with `{column}` fields; ends without blanks (the separator belongs to the answer).
        target: Column with the target.
        labels: Published label -> text to write, in class order; empty: taken from the training rows.
        scale: Lowest and highest possible number (regression); None: taken from the training rows.
        metrics: Names of metrics, the first is the one that selects models.
        files: Published split ("train", "validation", "test") -> its files, as alternatives: the first one that is there
            is read. What `predgen` trains and measures on follows from which are there (docs/data.md, splits, `data/tables.py`).
        folder: Name of the dataset's own folder among others; empty: the task's name.
        hub: The same task on the hub.
        rationale: Column with free text before the answer (math).
        group: Columns whose shared text keeps rows in one split (docs/data.md, splits).
        weight: Column with row weights.
        extract: "module:function" from a row as published to a row with the task's columns. It returns a new row, leaves
            alone what it does not find, and changes nothing when applied again.
        options: Columns with the options' texts, in the order of `labels` (multiple choice); a row may lack the last ones.
        cloze: Prompt of form "cloze" (method "options"), without the options: their texts are scored as its continuation.
        form: "paper", where a label's text is the answer, or "cloze", where an option's is and `prompt` is `cloze`.
        unescape: Decode HTML entities and backslash-n in text columns.
        normalise_labels: Labels that differ from a known one only in case or blanks are that one.
        values: Text of a label -> the label as it stands in the rows, where that is not the text: a number, true/false, or
            what a user has chosen the text for.
        licence: As the publisher states it.
        source: Citation or address of the publisher.
        version: Raised whenever prompt, scale, splits or labels change.
    """

    name: str
    kind: Kind
    prompt: str
    target: str
    metrics: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    scale: tuple[float, float] | None = None
    files: Mapping[str, tuple[FileSpec, ...]] = field(default_factory=dict)
    hub: HubSpec | None = None
    rationale: str | None = None
    group: tuple[str, ...] = ()
    weight: str | None = None
    folder: str = ""
    extract: str | None = None
    options: tuple[str, ...] = ()
    cloze: str | None = None
    form: Form = "paper"
    unescape: bool = False
    normalise_labels: bool = False
    values: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    licence: str = "not stated"
    source: str = ""
    version: int = 1


Row = Mapping[str, Any]
"""A row as read: column -> str for text files; other types only from parquet, pandas and `datasets`."""

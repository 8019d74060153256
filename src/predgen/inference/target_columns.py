"""The columns that a model with several targets adds to a row: per target its prediction, and probabilities where asked for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import tee
from typing import Any

from predgen.core import Example, Prediction, Row
from predgen.data.cells import label_of
from predgen.data.examples import iter_examples
from predgen.errors import ConfigError, DataError
from predgen.inference.guarantees import NOTHING, Guarantee, Promised
from predgen.inference.stream import Pair, RowMaker
from predgen.inference.targets import TrainedTargets
from predgen.inference.trained import count_flags, engine_in_words
from predgen.models.base import PLAIN
from predgen.targets import YES_NO, TargetSpec


class PredictingTargets(RowMaker):
    """Rows with predictions of all targets.

    Column `NAME_prediction` holds a label, a number, or the names of a multi-label target's labels with its separator between
    them, the separator alone where the row has none. With `proba` there are `p(NAME=LABEL)`, of a multi-label target the
    probability that the row has the label.

    What is promised is kept for each question by itself: `NAME_set`, or `NAME_lower` and `NAME_upper`, and `NAME_abstained` of
    questions with labels; NAME is that of a multi-label target's question, such as `topics[food]`.

    Args:
        trained: The model.
        proba: Write probabilities of labels.
        batch_size: Rows per batch; None: as many as the run's `eval_batch_tokens` allow.
        promised: What is promised of each question.

    Raises:
        ConfigError: If a question's model cannot keep it.
    """

    def __init__(
        self,
        trained: TrainedTargets,
        proba: bool = False,
        batch_size: int | None = None,
        promised: Promised = NOTHING,
    ) -> None:
        self.trained, self._proba, self._batch_size, self._promised = trained, proba, batch_size, promised
        if promised.conformal is not None:
            raise ConfigError(
                f"`conformal` {promised.conformal!r} is for labels or for numbers, and the model has several targets. Name one of them"
                " with `target`, or leave it out."
            )
        self._guarantees = {name: self._guarantee(name) for name in trained.names}
        if promised.names and not any(one.columns() for one in self._guarantees.values()):
            raise ConfigError(
                f"`{promised.names[0]}` goes by the probability of a label, but all targets are numbers. Give `coverage`, or leave it out."
            )

    def _guarantee(self, name: str) -> Guarantee:
        """What keeps the promises about a question; numbers cannot be abstained from."""
        part = self.trained.parts[name]
        own = self._promised if part.labels else replace(self._promised, max_error=None, min_confidence=None)
        try:
            return part.guarantee(own)
        except ConfigError as error:
            raise ConfigError(f"target {name!r}: {error}") from error

    def facts(self) -> Any:  # noqa: ANN401
        model, parts = self.trained, self.trained.parts
        setups = {name: [part.model.setup.to_dict(), part.calibration] for name, part in parts.items()}
        return [model.config.to_dict(), model.report, setups]

    def options(self) -> Any:  # noqa: ANN401
        return [self._proba, self._batch_size, asdict(self._promised)]

    def remarks(self) -> list[str]:
        kept = [f"{name}: {line}" for name, one in self._guarantees.items() for line in one.in_words()]
        return [*engine_in_words(self.trained.model), *kept]

    def columns(self, first: Row) -> tuple[str, ...]:
        for one in self._guarantees.values():
            one.groups([first])
        added = [name for spec in self.trained.specs for name in (*self._of_target(spec), *self._of_promises(spec))]
        clash = [name for name in added if name in first]
        if clash:
            raise DataError(f"the input already has the column {clash[0]!r}, which the predictions need; rename it.")
        return (*first, *added)

    def numbers(self) -> tuple[str, ...]:
        found = []
        for spec in self.trained.specs:
            head, *probabilities = self._of_target(spec)
            found += [head] if spec.kind == "regression" else probabilities
            found += [name for name in self._of_promises(spec) if name.endswith(("_lower", "_upper"))]
        return tuple(found)

    def items(self, rows: Iterable[Row]) -> Iterator[Any]:
        names = self.trained.names
        copies = tee(rows, len(names))
        of_questions = [
            iter_examples(copy, self.trained.parts[name].task) for name, copy in zip(names, copies, strict=True)
        ]
        return zip(*of_questions, strict=True)

    def lines(
        self, window: Sequence[Pair], on_rows: Callable[[int], None] | None
    ) -> tuple[list[dict[str, Any]], Mapping[str, int]]:
        names = self.trained.names
        by_question: dict[str, list[Example]] = {
            name: [item[place] for _, item in window] for place, name in enumerate(names)
        }
        decodings = {name: one.decoding(PLAIN) for name, one in self._guarantees.items()}
        found = self.trained.predict_examples(
            by_question, batch_size=self._batch_size, on_batch=on_rows, decodings=decodings
        )
        flags: dict[str, int] = {}
        for told in found.values():
            for flag, count in count_flags(told).items():
                flags[flag] = flags.get(flag, 0) + count
        own = {name: self.trained.parts[name].in_own_labels(told) for name, told in found.items()}
        rows = [row for row, _ in window]
        kept = {n: self._guarantees[n].cells(rows, told, self.trained.parts[n].classes) for n, told in found.items()}
        lines = [
            {**row, **self._cells({name: (own[name][place], kept[name][place]) for name in names})}
            for place, row in enumerate(rows)
        ]
        return lines, flags

    def _of_promises(self, spec: TargetSpec) -> list[str]:
        """Columns of what is promised about a target."""
        return [f"{name}_{column}" for name in spec.part_names for column in self._guarantees[name].columns()]

    def _of_target(self, spec: TargetSpec) -> list[str]:
        """Columns of a target."""
        return [f"{spec.name}_prediction", *(f"p({spec.name}={label})" for label in self._labels(spec))]

    def _labels(self, spec: TargetSpec) -> tuple[str, ...]:
        """Labels whose probabilities are written."""
        if not self._proba:
            return ()
        if spec.is_multilabel:
            return spec.labels
        return tuple(label_of(label, {}) for label in self.trained.parts[spec.name].classes)

    def _cells(self, told: Mapping[str, tuple[Prediction, Mapping[str, Any]]]) -> dict[str, Any]:
        """Cells of all targets, from each question's prediction and what was promised of it."""
        cells: dict[str, Any] = {}
        for spec in self.trained.specs:
            parts = [told[name][0] for name in spec.part_names]
            values: list[Any]
            if spec.is_multilabel:
                had = [label for label, part in zip(spec.labels, parts, strict=True) if part.value == YES_NO[1]]
                values = [spec.separator.join(had) or spec.separator]
                values += [part.probabilities[1] for part in parts if self._proba and part.probabilities]
            else:
                values = [parts[0].value, *((parts[0].probabilities or ()) if self._proba else ())]
            cells |= dict(zip(self._of_target(spec), values, strict=True))
            cells |= {f"{name}_{column}": cell for name in spec.part_names for column, cell in told[name][1].items()}
        return cells

"""Looks at validation rows: each row is predicted once per checkpoint, whoever wants to know what was predicted."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from accelerate.utils import gather_object

from predgen.core import Decoding, Example, Prediction
from predgen.data.encode import Encoded
from predgen.errors import NotFiniteError, TrainingError
from predgen.inference.facts import facts_of, whole_decoding
from predgen.inference.trained import TrainedModel
from predgen.metrics.base import metric_of, metrics_of
from predgen.metrics.measure import measure
from predgen.models.base import PLAIN
from predgen.training import callbacks as cb
from predgen.training.loop import PredictionTrainer


@dataclass(frozen=True, slots=True)
class Looked:
    """A model's predictions of all its validation rows, in their order.

    Attributes:
        predictions: Of the rows that were looked at while training, of those that calibrate, and of the others.
        calibrating: Rows that calibrate, as token ids.
        plain: Their predictions, with all that is known of them.
        metrics: Figures of all rows.
    """

    predictions: list[Prediction]
    calibrating: list[Encoded]
    plain: list[Prediction]
    metrics: dict[str, float]


@dataclass(slots=True)
class Looks:
    """Predicts a run's validation rows.

    What the kept checkpoint predicted when it was looked at is not predicted again at the end. Rows are predicted in the
    same three sets then (looked at, calibrating, others), so that batches, and with them rounding, are the same where a run
    that was interrupted has to predict them anew.

    Attributes:
        trained: The model.
        rows: Validation rows to look at while training.
        display: Shows how far a look is.
    """

    trained: TrainedModel
    rows: list[Example]
    display: cb.ProgressDisplay
    encoded: list[Encoded] = field(init=False)
    _names: list[str] = field(init=False)
    _by_step: dict[int, list[Prediction]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.encoded = self._encode(self.rows)
        self._names = metrics_of(self.trained.config.metric, self.trained.task)

    def _encode(self, rows: Sequence[Example]) -> list[Encoded]:
        return [self.trained.encoder.encode(row, with_answer=False) for row in rows]

    @property
    def _takes_facts(self) -> bool:
        """Whether a metric needs more than values and probabilities."""
        return any(metric_of(name, self.trained.config.own).takes for name in self._names)

    @property
    def _decoding(self) -> Decoding:
        """What is asked of a row that is looked at: no more than its figures need, where more would take more nodes."""
        whole, model = whole_decoding(self.trained.model), self.trained.model
        is_free = model.answer_nodes(whole) == model.answer_nodes(PLAIN)
        return whole if self._takes_facts or is_free else PLAIN

    def __call__(self, trainer: PredictionTrainer) -> dict[str, float]:
        """Metrics of the rows that are looked at while training."""
        found = self._predicted(trainer, self.encoded, self._decoding)
        kept = trainer.state.best_global_step  # the best so far; this look may be a better one
        self._by_step = {step: told for step, told in self._by_step.items() if step == kept}
        self._by_step[trainer.state.global_step] = found
        return self._measured(self.encoded, found)

    def at_end(
        self, trainer: PredictionTrainer, validation: list[Example], calibrating: list[Example], step: int | None
    ) -> Looked:
        """Predictions and metrics of all validation rows.

        Args:
            trainer: Whose ranks share the rows.
            validation: All validation rows.
            calibrating: Those that calibrate; none of them was looked at.
            step: The optimizer step whose weights the model has, where it is as it was then; None: it is another.
        """
        looked = self._by_step.get(step) if step is not None else None
        if looked is None:
            looked = self._predicted(trainer, self.encoded, self._decoding)
        # Each row is made token ids once, and found again by its identity: rows of a file may be equal.
        known = {id(row): one for row, one in zip(self.rows, zip(self.encoded, looked, strict=True), strict=True)}
        spared = self._encode(calibrating)
        plain = self._predicted(trainer, spared, whole_decoding(self.trained.model))
        known |= {id(row): one for row, one in zip(calibrating, zip(spared, plain, strict=True), strict=True)}
        others = [row for row in validation if id(row) not in known]
        rest = self._encode(others)
        told = self._predicted(trainer, rest, self._decoding)
        known |= {id(row): one for row, one in zip(others, zip(rest, told, strict=True), strict=True)}
        encoded, predictions = [known[id(row)][0] for row in validation], [known[id(row)][1] for row in validation]
        return Looked(predictions, spared, plain, self._measured(encoded, predictions))

    def _predicted(self, trainer: PredictionTrainer, rows: list[Encoded], decoding: Decoding) -> list[Prediction]:
        """Predict rows, each rank its share; a model that has no answers any more stops its run."""
        if not rows:
            return []
        rank, size = trainer.args.process_index, trainer.args.world_size
        mine = list(range(rank, len(rows), size))
        with self.display.measuring(len(mine)) as advance:
            try:
                own = self.trained.predict_encoded([rows[i] for i in mine], decoding=decoding, on_batch=advance)
            except NotFiniteError as error:
                raise TrainingError(trainer.stopped("scores of validation rows are not finite")) from error
        share = list(zip(mine, own, strict=True))
        if size > 1:
            share = gather_object(share)
        return [prediction for _, prediction in sorted(share, key=lambda pair: pair[0])]

    def _measured(self, rows: list[Encoded], predictions: list[Prediction]) -> dict[str, float]:
        """Metrics of predictions; none without rows."""
        if not rows:
            return {}
        trained, labels = self.trained, self.trained.labels
        targets = [labels[int(row.target)] if labels else row.target for row in rows]
        values, probabilities = [p.value for p in predictions], [p.probabilities for p in predictions]
        facts = facts_of(trained.model, None, targets, predictions) if self._takes_facts else {}
        return measure(self._names, targets, values, probabilities, labels, own=trained.config.own, facts=facts)

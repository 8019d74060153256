"""A model as a server has it: requests become work for the model's thread, and predictions become answers."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from predgen.core import Decoding, Example, Prediction, Row
from predgen.data.cells import label_of
from predgen.data.encode import Encoded
from predgen.data.examples import iter_examples
from predgen.data.prompts import prompt_fields
from predgen.decodings import rule_of
from predgen.distribution import Distribution
from predgen.errors import ConfigError, DataError, PredgenError, QuestionError, QuestionFault
from predgen.explanation.explain import check_explainable, explained_by, rows_without_parts
from predgen.inference.facts import COVERAGE, whole_decoding
from predgen.inference.guarantees import NOTHING, Guarantee, Promised
from predgen.inference.trained import TrainedModel, load
from predgen.models.base import PLAIN
from predgen.questions.kinds import NumberQuestion, TypedQuestion
from predgen.questions.wording import State
from predgen.saved.exchange import MANIFEST
from predgen.serving.batcher import Work
from predgen.serving.matching import OwnQuestion
from predgen.serving.schema import ExplainRequest, FaultsError, PredictRequest, RowData
from predgen.serving.settings import name_of_model
from predgen.serving.told import AskedQuestions, Told


@dataclass(frozen=True, slots=True)
class AskedWork:
    """A request as work, and its answer.

    Attributes:
        work: What the model's thread runs.
        answer: Makes plain JSON data of what it gave.
        rows: Rows that the client sent.
        tokens: Tokens of their prompts.
    """

    work: Work
    answer: Callable[[list[Any]], dict[str, Any]]
    rows: int
    tokens: int


class ServedModel:
    """A trained model, its name and its folder.

    Args:
        trained: The model.
        folder: Where it was read from.
        max_batch_tokens: Tokens that are run at once; None: as many as its run says.
        refusing: Which questions are refused, where it predicts labels.

    Raises:
        ConfigError: If it cannot be known which are to be refused.
    """

    def __init__(
        self,
        trained: TrainedModel,
        folder: Path,
        max_batch_tokens: int | None = None,
        refusing: Promised = NOTHING,
    ) -> None:
        if max_batch_tokens is not None:
            # Its own batches are then no smaller than a turn.
            trained.config = replace(trained.config, eval_batch_tokens=max_batch_tokens)
        self.trained = trained
        self.name = name_of_model(str(folder))
        self.budget = trained.config.eval_batch_tokens
        self._manifest = folder.resolve() / MANIFEST
        self._stamp = _stamp(self._manifest)
        self._own = OwnQuestion(trained)
        whole = whole_decoding(trained.model)
        self._refusals = trained.guarantee(refusing if trained.labels else NOTHING, whole)
        self._interval = _interval_guarantee(trained)

    @classmethod
    def read(
        cls,
        folder: Path,
        *,
        max_batch_tokens: int | None = None,
        base: str | None = None,
        trust_remote_code: bool = False,
        refusing: Promised = NOTHING,
    ) -> "ServedModel":
        """Load a run, into memory of this process alone: what later happens to its files changes nothing.

        Raises:
            SavedModelError: If it cannot be read; see `predgen.load`.
            ModelError: If its base model is missing.
        """
        trained = load(folder, base=base, merge_adapter=True, trust_remote_code=trust_remote_code)
        return cls(trained, folder, max_batch_tokens, refusing)

    @property
    def created(self) -> int:
        """When its folder was written, in seconds since 1970."""
        return 0 if self._stamp is None else self._stamp[2] // 10**9

    @property
    def folder_state(self) -> str:
        """Whether the folder still holds what was loaded: "as loaded", "changed" or "gone"."""
        now = _stamp(self._manifest)
        return "gone" if now is None else "as loaded" if now == self._stamp else "changed"

    def facts(self) -> dict[str, Any]:
        """Return what clients may know of the model, as plain JSON data."""
        trained, setup = self.trained, self.trained.model.setup
        facts: dict[str, Any] = {
            "created": self.created,
            "kind": setup.kind,
            "method": setup.method,
            "fields": list(prompt_fields(trained.task.prompt)),
            "target": trained.task.target,
            "calibrated": trained.calibration is not None,
            "folder": self.folder_state,
        }
        if trained.labels:
            facts["labels"] = [label_of(label, {}) for label in trained.classes]
        return facts

    def predict(self, request: PredictRequest) -> AskedWork:
        """Return the work of a request.

        Raises:
            FaultsError: With everything that is wrong with it.
        """
        faults: list[tuple[tuple[str | int, ...], str]] = []
        guarantee, decoding = None, PLAIN
        try:
            guarantee, decoding = self._decoding(request)
        except PredgenError as error:
            faults.append(((), str(error)))
        rows = [self._row(row) for row in request.rows]
        encoded = self._encoded(request.rows, rows, request.by if guarantee else None, faults)
        if faults or guarantee is None:
            raise FaultsError(faults)
        answering = _Answering(self, tuple(rows), guarantee, tuple(dict.fromkeys(request.quantiles)))
        work = self._work(encoded, decoding)
        return AskedWork(work, lambda told: answering.answer(told, _tokens(encoded)), len(rows), _tokens(encoded))

    def explain(self, request: ExplainRequest) -> AskedWork:
        """Return the work of a row to explain: the row, and the row without each of its words.

        Raises:
            FaultsError: With everything that is wrong with it.
        """
        faults: list[tuple[tuple[str | int, ...], str]] = []
        try:
            check_explainable(self.trained, request.label)
        except ConfigError as error:
            faults.append((("label",) if request.label is not None else (), str(error)))
        found = self._example(request.row, 0)
        if isinstance(found, str):
            faults.append((("row",), found))
        if faults or isinstance(found, str):
            raise FaultsError(faults)
        example, (parts, asked) = found, rows_without_parts(self.trained, found)
        encoded = [self.trained.encoder.encode(one, with_answer=False) for one in asked]

        def answer(told: list[Any]) -> dict[str, Any]:
            data = explained_by(self.trained, example, parts, request.label, told).to_dict()
            return {"model": self.name, **{key: value for key, value in data.items() if key != "row"}}

        return AskedWork(self._work(encoded, whole_decoding(self.trained.model)), answer, 1, _tokens(encoded))

    def question(self, name: str | None, data: Mapping[str, Any]) -> TypedQuestion:
        """Read a question, which has to be the one that the model was trained to answer.

        Raises:
            QuestionError: With everything that is wrong with it.
        """
        question = self._own.read(name, data)
        if isinstance(question, NumberQuestion) and not whole_decoding(self.trained.model).distribution:
            raise QuestionError(
                [QuestionFault("", "is for numbers with probabilities, but this model predicts the number alone")]
            )
        return question

    def check_state(self, state: State) -> None:
        """Refuse what is no row of the model.

        Raises:
            FaultsError: If it is none.
        """
        self._state_row(state)

    def ask(self, state: State, questions: Mapping[str, TypedQuestion]) -> AskedQuestions:
        """Return the work of a state's questions, all of which the model was trained to answer: one prediction answers them.

        Raises:
            FaultsError: If the state is no row of the model.
        """
        row, encoded = self._state_row(state)

        def read(told: list[Any]) -> tuple[dict[str, Told], int]:
            return {name: self._told(question, row, told) for name, question in questions.items()}, _tokens([encoded])

        return AskedQuestions(self._work([encoded], whole_decoding(self.trained.model)), read)

    def _state_row(self, state: State) -> tuple[Row, Encoded]:
        """A state as a row: an object has the prompt's columns; a text fills the only one, or is such an object as JSON."""
        fields = prompt_fields(self.trained.task.prompt)
        if isinstance(state, str) and len(fields) != 1:
            try:
                state = json.loads(state)
            except ValueError:
                pass  # is told below
        if not isinstance(state, str | dict):
            raise FaultsError([((), f"is no row of this model; give an object with the keys {', '.join(fields)}")])
        example = self._example(state, 0)
        if isinstance(example, str):
            raise FaultsError([((), example)])
        try:
            return self._row(state), self.trained.encoder.encode(example, with_answer=False)
        except PredgenError as error:
            raise FaultsError([((), str(error))]) from error

    def _told(self, question: TypedQuestion, row: Row, told: list[Any]) -> Told:
        """What a prediction says to a question, unless it is refused."""
        [cells] = self._refusals.cells([row], told, self.trained.classes)
        if cells.get("abstained"):
            return Told(None)
        answer = self._own.answer(question, told[0])
        if self._interval is None:
            return Told(answer)
        [ends] = self._interval.cells([row], told, ())
        return Told(answer, (COVERAGE, ends["lower"], ends["upper"]))

    def _work(self, encoded: Sequence[Encoded], decoding: Decoding) -> Work:
        """Encoded rows as work: all that are asked for in the same way can be run together."""
        model = self.trained.model
        nodes = model.answer_nodes(self.trained.resolved(decoding))
        sizes = [sum(len(one.prompt_ids) + nodes for one in model.questions(row)) for row in encoded]

        def run(items: list[Any]) -> list[Any]:
            return self.trained.predict_encoded(items, decoding=decoding)

        return Work((self.name, repr(decoding)), run, encoded, sizes, self.budget)

    def _decoding(self, request: PredictRequest) -> tuple[Guarantee, Decoding]:
        """What the model is asked for, checked."""
        promised = Promised(request.coverage, request.conformal, request.by, request.max_error, request.min_confidence)
        asked = Decoding(how=request.decode)
        is_text = asked.how is not None and rule_of(asked.how, asked.own).reads == "text"
        whole = PLAIN if is_text else whole_decoding(self.trained.model)
        wanted = whole.distribution if request.distribution is None else request.distribution
        asked = replace(whole, how=request.decode, distribution=wanted or bool(request.quantiles))
        guarantee = self.trained.guarantee(promised, asked)
        self.trained.resolved(guarantee.decoding(asked))
        return guarantee, guarantee.decoding(asked)

    def _encoded(
        self,
        given: Sequence[RowData],
        rows: Sequence[Row],
        by: str | None,
        faults: list[tuple[tuple[str | int, ...], str]],
    ) -> list[Encoded]:
        """Token ids of all rows; what is wrong with any of them is added to the faults."""
        encoded = []
        for place, (data, row) in enumerate(zip(given, rows, strict=True)):
            found = self._example(data, place)
            if isinstance(found, str):
                faults.append((("rows", place), found))
                continue
            if by is not None and by not in row:
                faults.append((("rows", place), f"has no column {by!r}, which `by` names"))
            try:
                encoded.append(self.trained.encoder.encode(found, with_answer=False))
            except PredgenError as error:
                faults.append((("rows", place), str(error)))
        return encoded

    def _row(self, data: RowData) -> Row:
        """A row by columns: a text fills the prompt's only field, or else its first."""
        return data if isinstance(data, dict) else {prompt_fields(self.trained.task.prompt)[0]: data}

    def _example(self, data: RowData, place: int) -> Example | str:
        """A row as example, or what is wrong with it."""
        fields = prompt_fields(self.trained.task.prompt)
        if isinstance(data, str) and len(fields) != 1:
            return f"is a text, but the prompt has the fields {', '.join(fields)}: give an object with these keys"
        try:
            [example] = iter_examples([self._row(data)], self.trained.task, first=place)
        except DataError as error:
            return str(error)
        return example


@dataclass(frozen=True, slots=True)
class _Answering:
    """How a request's predictions are told."""

    served: ServedModel
    rows: tuple[Row, ...]
    guarantee: Guarantee
    quantiles: tuple[float, ...]

    def answer(self, told: list[Prediction], tokens: int) -> dict[str, Any]:
        """Return plain JSON data."""
        trained = self.served.trained
        kept = self.guarantee.cells(self.rows, told, trained.classes)
        labels = [label_of(label, {}) for label in trained.classes]
        values = [one.value for one in trained.in_own_labels(told)]
        answers = [self._one(value, one, labels, cells) for value, one, cells in zip(values, told, kept, strict=True)]
        return {"model": self.served.name, "predictions": answers, "usage": {"input_tokens": tokens}}

    def _one(
        self, value: str | float | None, told: Prediction, labels: list[str], kept: Mapping[str, Any]
    ) -> dict[str, Any]:
        """A prediction."""
        found: dict[str, Any] = {"value": value, "flags": sorted(told.flags)}
        if told.probabilities is not None:
            found["probabilities"] = dict(zip(labels, told.probabilities, strict=True))
        if told.distribution is not None:
            found["distribution"] = distribution_data(told.distribution)
            found["quantiles"] = {f"{level:g}": told.distribution.quantile(level) for level in self.quantiles}
        if "lower" in kept:
            found["interval"] = {"lower": kept["lower"], "upper": kept["upper"]}
        return found | {name: cell for name, cell in kept.items() if name in ("set", "abstained")}


def _interval_guarantee(trained: TrainedModel) -> Guarantee | None:
    """What gives answers in numbers their interval; None where the model is not calibrated, or on too few rows."""
    if trained.model.setup.kind != "regression":
        return None
    try:
        return trained.guarantee(Promised(COVERAGE), whole_decoding(trained.model))
    except ConfigError:
        return None


def distribution_data(told: Distribution) -> dict[str, Any]:
    """Return a number's distribution with its points, as plain JSON data."""
    return {**told.to_dict(), "mean": told.mean(), "median": told.median(), "mode": told.mode()}


def _tokens(encoded: Sequence[Encoded]) -> int:
    """Tokens of prompts."""
    return sum(len(row.prompt_ids) for row in encoded)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns

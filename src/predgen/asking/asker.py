"""A model that answers any question: state and questions -> prompts -> one forest a state -> exact probabilities -> answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from predgen.codecs.label import LabelCodec
from predgen.codecs.spelling import PLAIN_TURN, Turn, continuation_ids
from predgen.core import Example
from predgen.data.chat import chat_frame
from predgen.data.collate import Batch
from predgen.data.encode import Encoded, Encoder
from predgen.engine.answer_tree import AnswerTree
from predgen.engine.backbone import answers_only_from_finite_scores
from predgen.engine.base_model import BaseModel, load_base
from predgen.engine.forest import Answers, Asked, count_nodes, forest_log_probs, run_forest, split_shared
from predgen.engine.prompt_pass import SharedPrefix
from predgen.errors import CodecError, ConfigError, QuestionError, QuestionFault
from predgen.inference.batching import run_encoded
from predgen.inference.prefixes import KeptPrefix
from predgen.inference.trained import TrainedModel, load
from predgen.models.base import RowRunner
from predgen.questions.answered import TypedAnswer, answer_to
from predgen.questions.kinds import TypedQuestion
from predgen.questions.reading import as_questions, collect
from predgen.questions.wording import CHAT_PROMPT, PLAIN_PROMPT, State, question_text, state_text, written_answers
from predgen.saved.exchange import MANIFEST

FORMATS_OF_QUESTIONS = ("plain", "chat")
"""How questions may be put."""
_SPELLED = 1024  # answer sets of earlier questions that are kept


@dataclass(frozen=True, slots=True)
class Case:
    """A state and what is asked about it.

    Attributes:
        state: Text, or JSON data.
        questions: Name -> question.
    """

    state: State
    questions: Mapping[str, TypedQuestion]


@dataclass(frozen=True, slots=True)
class AnsweredCase:
    """What a model says about a case.

    Attributes:
        answers: Name -> answer, in the order of the questions.
        probabilities: Name -> probabilities, in the order of `questions.kinds.answers_of`.
        tokens: Tokens that were run for it.
        is_truncated: Whether the state was shortened to fit into the model's context.
    """

    answers: Mapping[str, TypedAnswer]
    probabilities: Mapping[str, tuple[float, ...]]
    tokens: int
    is_truncated: bool


@dataclass(frozen=True, slots=True)
class _Spelled:
    """What may be answered, and the longest answer in tokens, its stop included."""

    answers: Answers
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Prompted:
    """A case as tokens.

    Attributes:
        row: What all of its questions share.
        asked: What is asked behind it.
    """

    row: Encoded
    asked: tuple[Asked, ...]


class Asker:
    """Answers questions of any kind with a base model, or with a saved model's language model, without training.

    Args:
        model: A loaded base, or a trained model.
        format: "plain", or "chat" for the tokenizer's own chat template; None: as the model was trained, "plain" for a base.
        max_length: Most tokens of a prompt with its answer; None: the model's context, or 4,096 where none is known.
        batch_tokens: Most tokens to run per batch.
        max_tree_nodes: Most nodes of a state's questions to run in one pass.

    Raises:
        ConfigError: If the format is unknown, or the tokenizer has no chat template.

    Example:
        >>> from predgen.questions.kinds import YesNo
        >>> asker = Asker.load("embedded")
        >>> answers = asker.ask(["My parcel is lost!"], {"urgent": YesNo("Is it urgent?")})
        >>> 0 < answers[0]["urgent"].probability < 1
        True
    """

    def __init__(
        self,
        model: BaseModel | TrainedModel,
        *,
        format: str | None = None,
        max_length: int | None = None,
        batch_tokens: int = 4096,
        max_tree_nodes: int = 256,
    ) -> None:
        if format not in (None, *FORMATS_OF_QUESTIONS):
            raise ConfigError(f"`format` is {format!r}; allowed: {', '.join(FORMATS_OF_QUESTIONS)}.")
        is_trained = isinstance(model, TrainedModel)
        base = model.base if isinstance(model, TrainedModel) else model
        trained_frame = model.encoder.frame if isinstance(model, TrainedModel) else None
        self.tokenizer = base.tokenizer
        self.runner = RowRunner(model.model.lm if isinstance(model, TrainedModel) else base.lm).eval()
        self.frame = trained_frame if format is None else None
        if format == "chat":
            self.frame = trained_frame or chat_frame(self.tokenizer)
        self.turn = self._plain_turn(is_trained) if self.frame is None else self.frame.turn
        self.max_length = max_length or self.runner.backbone.context or 4096
        self.batch_tokens, self.max_tree_nodes = batch_tokens, max_tree_nodes
        self._kept = KeptPrefix()
        self._spelled = lru_cache(_SPELLED)(self._spell)
        self._encoder_beside = lru_cache(_SPELLED)(self._make_encoder)

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        format: str | None = None,
        base: str | None = None,
        trust_remote_code: bool = False,
    ) -> "Asker":
        """Load a saved model's folder, or a base by its name, folder, GGUF file or hub id.

        Args:
            model: The folder or the name.
            format: See the class.
            base: Where the base of a saved model lies now, if it was moved.
            trust_remote_code: Let the base's own Python code run.

        Raises:
            PredgenError: If it cannot be loaded, or not be asked in this format.
        """
        if (Path(model) / MANIFEST).is_file():
            return cls(load(model, base=base, merge_adapter=True, trust_remote_code=trust_remote_code), format=format)
        return cls(load_base(str(model), trust_remote_code=trust_remote_code), format=format)

    @property
    def engine(self) -> str:
        """How questions are run, in words."""
        obstacle = self.runner.obstacle
        if obstacle is None:
            return "one tree pass for all questions of a state"
        return f"{'level by level' if self.runner.backbone.runs_levels else 'each question alone'}: {obstacle}"

    def ask(
        self,
        states: Sequence[State],
        questions: Mapping[str, TypedQuestion],
        *,
        on_batch: Callable[[int], None] | None = None,
    ) -> list[dict[str, TypedAnswer]]:
        """Answer the same questions about each of some states.

        Args:
            states: Texts, or JSON data.
            questions: Name -> question.
            on_batch: Called with the number of states after each batch.

        Raises:
            QuestionError: If a question cannot be asked of this model.
        """
        answered = self.answer([Case(state, questions) for state in states], on_batch=on_batch)
        return [dict(one.answers) for one in answered]

    def answer(self, cases: Sequence[Case], *, on_batch: Callable[[int], None] | None = None) -> list[AnsweredCase]:
        """Answer each case's own questions; cases with different ones share batches.

        Args:
            cases: States and questions.
            on_batch: Called with the number of cases after each batch.

        Raises:
            QuestionError: If a question cannot be asked of this model.
        """
        prompted = [self.prompted(index, case) for index, case in enumerate(cases)]
        waiting = [one for one in prompted if one.asked]
        nodes = {one.row.row_id: self._nodes(one) for one in waiting}
        with torch.no_grad(), answers_only_from_finite_scores():
            found = run_encoded(
                self.runner,
                [one.row for one in waiting],
                lambda batch, prefix: self._run(batch, prefix, prompted),
                pad_id=self.pad_id,
                answer_nodes=[nodes[one.row.row_id] for one in waiting],
                batch_tokens=self.batch_tokens,
                kept=self._kept,
                on_batch=on_batch,
            )
        told = {one.row.row_id: probabilities for one, probabilities in zip(waiting, found, strict=True)}
        return [
            self._read(case, one, told.get(index, []), nodes.get(index, 0))
            for index, (case, one) in enumerate(zip(cases, prompted, strict=True))
        ]

    def check(self, questions: Mapping[str, TypedQuestion]) -> None:
        """Refuse questions whose answers this model's tokenizer cannot write, or tell apart.

        Raises:
            QuestionError: With the faults of all of them.
        """
        collect(questions, self._spelled_answers)

    def forget(self) -> None:
        """Forget what was run with earlier weights: for models that have been trained since."""
        self._kept = KeptPrefix()

    def _run(
        self, batch: Batch, prefix: SharedPrefix | None, prompted: Sequence[Prompted]
    ) -> list[list[tuple[float, ...]]]:
        """Probabilities of all answers to the questions of a batch."""
        asked = [prompted[index].asked for index in batch.row_id.tolist()]
        groves = run_forest(
            self.runner.backbone,
            batch.prompt_ids,
            batch.prompt_mask,
            asked,
            obstacle=self.runner.obstacle,
            prefix=prefix,
            max_nodes=self.max_tree_nodes,
        )
        found = forest_log_probs(groves, [len(of_row) for of_row in asked])
        return [[tuple(one.double().softmax(dim=0).tolist()) for one in of_row] for of_row in found]

    def _read(self, case: Case, one: Prompted, found: Sequence[tuple[float, ...]], nodes: int) -> AnsweredCase:
        """Answers of one case."""
        told = dict(zip(case.questions, found, strict=True))
        answers = {name: answer_to(question, told[name]) for name, question in case.questions.items()}
        return AnsweredCase(answers, told, len(one.row.prompt_ids) + nodes, one.row.is_truncated)

    def prompted(self, index: int, case: Case) -> Prompted:
        """Return a case as tokens.

        Args:
            index: Its number, which stands as `row_id`.
            case: State and questions.

        Raises:
            QuestionError: See `answer`.
        """
        state = state_text(case.state)
        spelled = collect(case.questions, self._spelled_answers)
        rows = [*collect(case.questions, lambda question: self._encoded(index, state, question)).values()]
        shared, suffixes = split_shared([row.prompt_ids for row in rows]) if rows else ((), [])
        asked = tuple(Asked(suffix, one.answers) for suffix, one in zip(suffixes, spelled.values(), strict=True))
        is_truncated = any(row.is_truncated for row in rows)
        return Prompted(Encoded(index, shared, (), (), float("nan"), 1.0, is_truncated), asked)

    def _nodes(self, one: Prompted) -> int:
        """Tokens that are run for a case besides what its questions share."""
        if self.runner.obstacle is None or self.runner.backbone.runs_levels:
            return count_nodes(one.asked)
        shared = len(one.row.prompt_ids)
        return sum(shared + len(asked.suffix) + len(asked.answers.head) for asked in one.asked) - shared

    def _encoded(self, index: int, state: str, question: TypedQuestion) -> Encoded:
        """The whole prompt of one question; only the state is ever shortened."""
        encoder = self._encoder_beside(self._spelled_answers(question).max_tokens)
        fields = {"state": state, "question": question_text(question)}
        found = encoder.encode(Example(index, fields), with_answer=False)
        if (
            found.is_truncated
            and encoder.encode(Example(index, fields | {"state": ""}), with_answer=False).is_truncated
        ):
            fault = f"with its answers leaves no room for a state in {self.max_length} tokens"
            raise QuestionError([QuestionFault("instructions", fault)])
        return found

    def _make_encoder(self, answer_tokens: int) -> Encoder:
        """Prompts that leave room for an answer."""
        prompt = PLAIN_PROMPT if self.frame is None else CHAT_PROMPT
        room = self.max_length - answer_tokens
        return Encoder(self.tokenizer, prompt, None, max_length=room, truncate_field="state", frame=self.frame)

    def _spelled_answers(self, question: TypedQuestion) -> _Spelled:
        """What may be answered to a question, in tokens."""
        return self._spelled(tuple(written_answers(question)))

    def _spell(self, texts: tuple[str, ...]) -> _Spelled:
        """Answers in tokens; questions with the same ones share them."""
        try:
            codec = LabelCodec.fit(texts, self.tokenizer, turn=self.turn)
        except CodecError as error:
            raise QuestionError([QuestionFault("", f"has answers that this model cannot write: {error}")]) from error
        return _Spelled(Answers(codec.space, AnswerTree(codec.space)), codec.max_tokens)

    def _plain_turn(self, is_trained: bool) -> Turn:
        """Where answers stand behind a plain prompt.

        A base that was trained on nothing ends a line, where one that was trained to answer ends the text.
        """
        if is_trained:
            return PLAIN_TURN
        try:
            ids = continuation_ids(self.tokenizer, "\n")
        except CodecError:
            return PLAIN_TURN
        return replace(PLAIN_TURN, stop=ids[0]) if len(ids) == 1 else PLAIN_TURN

    @property
    def pad_id(self) -> int:
        """Some id that has an embedding."""
        pad = self.tokenizer.pad_token_id
        return pad if pad is not None and pad < self.runner.backbone.vocabulary_size else 0


def ask(
    model: str | Path | BaseModel | TrainedModel | Asker,
    states: Sequence[State],
    questions: Mapping[str, object],
    *,
    format: str | None = None,
) -> list[dict[str, TypedAnswer]]:
    """Ask a model, trained or not, any questions about some states; every probability is exact.

    A state's questions run on one prefill, and each one's figures are those of the question alone.

    Args:
        model: A base (its name, folder, GGUF file or hub id), a saved model's folder, or either of them loaded. An `Asker` keeps
            it for further questions.
        states: Texts, or JSON data.
        questions: Name -> question: `YesNo`, `Choice`, `Score`, `NumberQuestion`, the same as plain data, or a text, which is a
            yes/no question.
        format: "plain", or "chat" for an instruct model's own template; None: as the model was trained, "plain" for a base.

    Returns:
        Name -> answer of each state.

    Raises:
        QuestionError: If questions cannot be asked; with all that is wrong with them.
        ConfigError: If the model has not the format.

    Example:
        >>> answers = ask("embedded", ["My parcel is lost!"], {"urgent": "Is it urgent?"})
        >>> answers[0]["urgent"].to_dict()["type"]
        'noul'
    """
    if isinstance(states, str | Mapping) or not isinstance(states, Sequence):
        raise QuestionError([QuestionFault("states", f"is {type(states).__name__}, but must be a list of states")])
    typed = as_questions(questions)
    if isinstance(model, Asker):
        return model.ask(states, typed)
    asker = Asker.load(model, format=format) if isinstance(model, str | Path) else Asker(model, format=format)
    return asker.ask(states, typed)

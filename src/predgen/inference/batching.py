"""Encoded rows -> predictions or states, in batches of similar length, in the order of the rows."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Generic, TypeVar

from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from predgen.codecs.spelling import may_give_up
from predgen.core import Decoding, Prediction
from predgen.data.collate import Batch, collate
from predgen.data.encode import Encoded
from predgen.engine.backbone import answers_only_from_finite_scores, eval_state
from predgen.engine.prompt_pass import SharedPrefix
from predgen.errors import ConfigError, ModelError
from predgen.inference.prefixes import KeptPrefix
from predgen.models.base import PLAIN, PredictionModel, RowRunner
from predgen.models.writer import WritingModel

_T = TypeVar("_T")


def predict_encoded(
    model: PredictionModel,
    rows: Sequence[Encoded],
    *,
    pad_id: int,
    batch_tokens: int,
    batch_size: int | None = None,
    decoding: Decoding = PLAIN,
    predict: Callable[[Batch], list[Prediction]] | None = None,
    share_prefix: bool = True,
    kept: KeptPrefix | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> list[Prediction]:
    """Predict rows; see `run_encoded`.

    Args:
        model: Is put into eval state, and left as it was found.
        rows: Encoded rows; targets are not looked at.
        pad_id: Any valid token id.
        batch_tokens: Most tokens to run per batch: prompts with their padding, and the answers' nodes.
        batch_size: Rows per batch; None: as many as `batch_tokens` allow.
        decoding: What to ask of the model.
        predict: Predicts a batch; None: `model.predict`.
        share_prefix: Whether to run a common beginning of all prompts only once.
        kept: What earlier calls with this model have kept of it; None: nothing is kept.
        on_batch: Called with the number of rows after each batch.

    Raises:
        ConfigError: If the model cannot be asked for what `decoding` says.
        ModelError: If memory does not suffice for one row.
    """
    model.check(decoding)

    def run(batch: Batch, prefix: SharedPrefix | None) -> list[Prediction]:
        return model.predict(batch, decoding, prefix) if predict is None else predict(batch)

    asked = [model.questions(row) for row in rows]
    questions = [question for of_row in asked for question in of_row]
    with answers_only_from_finite_scores():
        answers = run_encoded(
            model,
            questions,
            run,
            pad_id=pad_id,
            answer_nodes=[model.answer_nodes(decoding)] * len(questions),
            batch_tokens=batch_tokens,
            batch_size=batch_size,
            share_prefix=share_prefix and predict is None,
            kept=kept,
            on_batch=on_batch and _rows_of(on_batch, len(rows), len(questions)),
        )
    following = iter(answers)
    found = [model.answer_of(list(islice(following, len(of_row)))) for of_row in asked]
    return [
        replace(p, flags=p.flags | {"truncated"}) if row.is_truncated else p for p, row in zip(found, rows, strict=True)
    ]


def _rows_of(on_batch: Callable[[int], None], n_rows: int, n_questions: int) -> Callable[[int], None]:
    """Return a function that is told of questions done, and tells `on_batch` of rows: whole ones, as many in the end as there are."""
    done = 0

    def count(questions: int) -> None:
        nonlocal done
        before, done = done, done + questions
        on_batch(done * n_rows // n_questions - before * n_rows // n_questions)

    return count


def run_encoded(
    model: RowRunner,
    rows: Sequence[Encoded],
    run: Callable[[Batch, SharedPrefix | None], list[_T]],
    *,
    pad_id: int,
    answer_nodes: Sequence[int],
    batch_tokens: int,
    batch_size: int | None = None,
    share_prefix: bool = True,
    kept: KeptPrefix | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> list[_T]:
    """Run rows, sorted by prompt length so that batches waste little on padding.

    Tokens with which all prompts start (a task's instruction) are run once. Where memory runs out, the batch is halved,
    and so are those after it; no row is lost.

    Args:
        model: Is put into eval state, and left as it was found.
        rows: Encoded rows; targets are not looked at.
        run: Gives something per row of a batch whose prompts lack the tokens of the prefix, if there is one.
        pad_id: Any valid token id.
        answer_nodes: Tokens that `run` runs for each row besides the prompt.
        batch_tokens: Most tokens to run per batch: prompts with their padding, and the answers' nodes.
        batch_size: Rows per batch; None: as many as `batch_tokens` allow.
        share_prefix: Whether to run a common beginning of all prompts only once.
        kept: What earlier calls with this model have kept of it; None: nothing is kept.
        on_batch: Called with the number of rows after each batch.

    Returns:
        What `run` gave for each row, in the rows' order.

    Raises:
        ModelError: If memory does not suffice for one row.
    """
    with eval_state(model):
        can_share = share_prefix and model.can_share_prefix
        prefix = (kept or KeptPrefix()).of(model.backbone, [row.prompt_ids for row in rows]) if can_share else None
        return _Running(model, rows, run, pad_id, answer_nodes, prefix).all(batch_tokens, batch_size, on_batch)


class _Running(Generic[_T]):
    """One call of `run_encoded`."""

    def __init__(
        self,
        model: RowRunner,
        rows: Sequence[Encoded],
        run: Callable[[Batch, SharedPrefix | None], list[_T]],
        pad_id: int,
        answer_nodes: Sequence[int],
        prefix: SharedPrefix | None,
    ) -> None:
        self.model, self.rows, self.pad_id, self._run = model, rows, pad_id, run
        self.answer_nodes = answer_nodes
        self.prefix = prefix
        self.skipped = len(self.prefix.ids) if self.prefix else 0

    def all(self, batch_tokens: int, batch_size: int | None, on_batch: Callable[[int], None] | None) -> list[_T]:
        """Run all rows."""
        waiting = deque(
            sorted(range(len(self.rows)), key=lambda i: (len(self.rows[i].prompt_ids), self.answer_nodes[i], i))
        )
        found: dict[int, _T] = {}
        while waiting:
            chosen = self._next(waiting, batch_tokens, batch_size)
            results, shortage = self._try(chosen)
            if shortage is not None:
                self._require_several(chosen, shortage)
                waiting.extendleft(reversed(chosen))
                batch_tokens = len(chosen) * self._width(chosen) // 2
                batch_size = batch_size and len(chosen) // 2
                continue
            found.update(zip(chosen, results, strict=True))
            if on_batch is not None:
                on_batch(len(chosen))
        return [found[i] for i in range(len(self.rows))]

    def _width(self, rows: Sequence[int]) -> int:
        """Tokens to run for each of some rows together; prompts' lengths ascend, so the last row has the longest."""
        nodes = max(self.answer_nodes[row] for row in rows)
        return len(self.rows[rows[-1]].prompt_ids) - self.skipped + nodes

    def _next(self, waiting: deque[int], batch_tokens: int, batch_size: int | None) -> list[int]:
        """Take the next batch's rows."""
        chosen = [waiting.popleft()]
        widest = chosen[0]  # in nodes
        while waiting:
            widest = max(widest, waiting[0], key=self.answer_nodes.__getitem__)
            is_full = (len(chosen) + 1) * self._width([widest, waiting[0]]) > batch_tokens
            if len(chosen) == batch_size if batch_size else is_full:
                break
            chosen.append(waiting.popleft())
        return chosen

    def _try(self, chosen: Sequence[int]) -> tuple[list[_T], RuntimeError | None]:
        """Run some rows, or return the error that says that memory did not suffice."""
        try:
            return self._batch(chosen), None
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            if not should_reduce_batch_size(error):
                raise
            shortage = error.with_traceback(None)  # its frames would keep the tensors alive
        clear_device_cache(garbage_collection=True)
        return [], shortage

    def _require_several(self, chosen: Sequence[int], shortage: RuntimeError) -> None:
        """Give up where a single row is too much."""
        if len(chosen) == 1:
            row = self.rows[chosen[0]]
            raise ModelError(
                f"memory does not suffice for row {row.row_id + 1} alone ({len(row.prompt_ids)} prompt tokens). Lower"
                " `max_length`, use a smaller base model or dtype bfloat16, or free memory."
            ) from shortage

    def _batch(self, chosen: Sequence[int]) -> list[_T]:
        """Run some rows."""
        rows = [replace(self.rows[i], prompt_ids=self.rows[i].prompt_ids[self.skipped :]) for i in chosen]
        return self._run(collate(rows, self.pad_id, self.model.backbone.device), self.prefix)


def free_decoding(model: PredictionModel, tokenizer: Any) -> Callable[[Batch], list[Prediction]]:  # noqa: ANN401
    """Return a function that lets a model write without constraint and reads the text.

    Text that cannot be read gives a `Prediction` without a value and the flag "parse_failure": it is counted, and never
    becomes a guess.

    Raises:
        ConfigError: If the model does not predict by what it writes.
    """
    if not isinstance(model, WritingModel) or not model.is_headless:
        raise ConfigError(f"`decode` 'free' reads what a generator wrote, but this is a {model.setup.method} model.")

    def predict(batch: Batch) -> list[Prediction]:
        written = model.write_freely(batch).sequences()
        with may_give_up(tokenizer):
            texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in written]
        parsed = [model.written_by.parse(text) for text in texts]
        values = [model.scale.raw(value) if isinstance(value, float) else value for value in parsed]
        flags = [frozenset() if value is not None else frozenset({"parse_failure"}) for value in values]
        return [Prediction(v, None, t, f) for v, t, f in zip(values, texts, flags, strict=True)]

    return predict

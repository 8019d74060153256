"""Which questions of which rows are trained on together: what a row's questions have in common, and how a batch is cut.

A step's loss is a sum over pairs of row and question, so that its rows may be run in any parts. A part is either rows whose
questions are run behind their common prompts (`engine.question_prompts`), or one question of rows that share too little.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from predgen.data.buckets import OVERHEAD_TOKENS, length_buckets, split_by_length
from predgen.data.collate import Batch
from predgen.data.questions import QuestionBatch
from predgen.engine.forest import split_shared
from predgen.engine.question_prompts import Continued

MOST_QUESTIONS = 32
"""Most questions of a row in one part: each holds a copy of the prompt's keys and values while it waits for its gradient."""


@dataclass(slots=True)
class _Row:
    """A row of a batch.

    Attributes:
        pairs: Number of a question and place in its batch, of each pair that the row is in.
        prompts: Tokens of each one's prompt.
        shared: What they have in common.
        suffixes: The rest of each.
    """

    pairs: list[tuple[int, int]] = field(default_factory=list)
    prompts: list[tuple[int, ...]] = field(default_factory=list)
    shared: tuple[int, ...] = ()
    suffixes: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def is_worth_it(self) -> bool:
        """Whether its questions have more in common than each has of its own: not where prompts were shortened at their beginning."""
        return len(self.pairs) > 1 and bool(self.shared) and len(self.shared) >= max(map(len, self.suffixes))


def _rows_of(batch: QuestionBatch) -> list[_Row]:
    """The rows of a batch, in the order in which its questions name them."""
    found: dict[int, _Row] = {}
    for number, of_one in batch.batches.items():
        told = zip(of_one.row_id.tolist(), of_one.prompt_ids.tolist(), of_one.prompt_mask.tolist(), strict=True)
        for place, (row_id, ids, mask) in enumerate(told):
            row = found.setdefault(row_id, _Row())
            row.pairs.append((number, place))
            row.prompts.append(tuple(token for token, is_real in zip(ids, mask, strict=True) if is_real))
    for row in found.values():
        row.shared, row.suffixes = split_shared(row.prompts)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class CommonPrompts:
    """What the rows of a batch are run from.

    Attributes:
        ids: What each row's questions have in common, padded on the left.
        mask: True for prompt tokens.
        rows: Number of a question -> the row of each of its pairs.
        suffixes: Number of a question -> the rest of each pair's prompt.
    """

    ids: Int[Tensor, "R P"]
    mask: Bool[Tensor, "R P"]
    rows: dict[int, list[int]]
    suffixes: dict[int, list[tuple[int, ...]]]

    @classmethod
    def of(cls, batch: QuestionBatch, pad_id: int = 0) -> "CommonPrompts | None":
        """Take what each row's questions have in common; None where there is a row without, or none has several questions."""
        found = _rows_of(batch)
        if not all(row.shared for row in found) or all(len(row.pairs) == 1 for row in found):
            return None
        width = max(len(row.shared) for row in found)
        ids = torch.full((len(found), width), pad_id)
        mask = torch.zeros((len(found), width), dtype=torch.bool)
        of_pair: dict[tuple[int, int], tuple[int, tuple[int, ...]]] = {}
        for i, row in enumerate(found):
            ids[i, width - len(row.shared) :], mask[i, width - len(row.shared) :] = torch.tensor(row.shared), True
            of_pair |= {pair: (i, suffix) for pair, suffix in zip(row.pairs, row.suffixes, strict=True)}
        told = {n: [of_pair[n, place] for place in range(len(of_one))] for n, of_one in batch.batches.items()}
        device = next(iter(batch.batches.values())).prompt_ids.device
        return cls(
            ids.to(device),
            mask.to(device),
            {n: [row for row, _ in pairs] for n, pairs in told.items()},
            {n: [suffix for _, suffix in pairs] for n, pairs in told.items()},
        )

    def continued(self, number: int, head: tuple[int, ...]) -> Continued:
        """Return a question as the engine takes it."""
        return Continued(tuple(self.rows[number]), tuple(self.suffixes[number]), head)


def parts_to_run(batch: QuestionBatch, *, together: bool) -> list[QuestionBatch]:
    """Cut a batch into parts that are run one after the other.

    Args:
        batch: The batch.
        together: Whether the base model can run questions behind common prompts; else each part is one question's.
    """
    rows = [row for row in _rows_of(batch) if row.is_worth_it] if together else []
    if not rows:
        return _alone(batch, [])
    device = next(iter(batch.batches.values())).prompt_ids.device
    overhead = OVERHEAD_TOKENS.get(device.type, OVERHEAD_TOKENS["cuda"])
    forwards = 2 + len(batch.batches)  # common prompts, suffixes, and each question's answers
    buckets = length_buckets([len(row.shared) for row in rows], forwards * overhead)
    parts = [part for bucket in buckets for part in _parts_of_rows(batch, [rows[i] for i in bucket])]
    return [*parts, *_alone(batch, rows)]


def _parts_of_rows(batch: QuestionBatch, rows: Sequence[_Row]) -> list[QuestionBatch]:
    """All pairs of some rows, `MOST_QUESTIONS` questions at a time."""
    numbers = list(batch.batches)
    parts = [numbers[start : start + MOST_QUESTIONS] for start in range(0, len(numbers), MOST_QUESTIONS)]
    taken = [_taken(batch, {n: [p for row in rows for m, p in row.pairs if m == n] for n in part}) for part in parts]
    return [part for part in taken if part.batches]


def _alone(batch: QuestionBatch, others: Sequence[_Row]) -> list[QuestionBatch]:
    """All pairs but those of some rows, by question and length."""
    taken = Counter(pair for row in others for pair in row.pairs)
    rest = {n: [p for p in range(len(of_one)) if not taken[n, p]] for n, of_one in batch.batches.items()}
    kept = batch if not others else _taken(batch, rest)
    return [QuestionBatch({n: part}) for n, of_one in kept.batches.items() for part in split_by_length(of_one)]


def _taken(batch: QuestionBatch, places: dict[int, list[int]]) -> QuestionBatch:
    """Some pairs of a batch, padded only as far as they need; questions without any are left out."""

    def part(of_one: Batch, own: list[int]) -> Batch:
        return of_one.rows(torch.tensor(own, device=of_one.prompt_ids.device)).trimmed()

    return QuestionBatch({n: part(batch.batches[n], own) for n, own in places.items() if own})

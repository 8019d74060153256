"""Rows with several questions -> padded tensors, one batch for each question: a row is in those to which it has an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from predgen.data.collate import Batch, collate
from predgen.data.encode import Encoded


@dataclass(frozen=True, slots=True)
class RowQuestions:
    """One row with what is asked of it.

    Attributes:
        row_id: See `core.Example.row_id`.
        asked: Number of the question, and the row as it is encoded for it; of a soft label once for each of its labels.
    """

    row_id: int
    asked: tuple[tuple[int, Encoded], ...]

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The longest of its questions' prompts."""
        return max((row.prompt_ids for _, row in self.asked), key=len)

    @property
    def n_tokens(self) -> int:
        """Tokens of all its questions' prompts and answers."""
        return sum(row.n_tokens for _, row in self.asked)

    def unweighted(self) -> "RowQuestions":
        """Return the row as one that counts nothing."""
        return replace(self, asked=tuple((number, row.unweighted()) for number, row in self.asked))


@dataclass(frozen=True)
class QuestionBatch:
    """Some rows' questions. What is one figure per row elsewhere is one per row and question here, question after question.

    Attributes:
        batches: Number of a question -> the rows that are asked it.
    """

    batches: Mapping[int, Batch]

    def __len__(self) -> int:
        return sum(map(len, self.batches.values()))

    @property
    def weight(self) -> Float[Tensor, " B"]:
        """Weights of all pairs of row and question."""
        return torch.cat([batch.weight for batch in self.batches.values()])

    @property
    def row_id(self) -> Int[Tensor, " B"]:
        """Row of each pair."""
        return torch.cat([batch.row_id for batch in self.batches.values()])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "QuestionBatch":
        """Return the batch on a device, as a data loader asks for it."""
        return QuestionBatch({number: batch.to(device, non_blocking) for number, batch in self.batches.items()})

    def pin_memory(self) -> "QuestionBatch":
        """Return the batch in memory from which accelerators copy, as a data loader asks for it."""
        return QuestionBatch({number: batch.pin_memory() for number, batch in self.batches.items()})


def collate_questions(rows: Sequence[RowQuestions], pad_id: int, device: torch.device | str = "cpu") -> QuestionBatch:
    """Pad rows into a `QuestionBatch`, questions in the order of their numbers; `pad_id` only has to be a valid token id."""
    found: dict[int, list[Encoded]] = {}
    for row in rows:
        for number, encoded in row.asked:
            found.setdefault(number, []).append(encoded)
    return QuestionBatch({number: collate(found[number], pad_id, device) for number in sorted(found)})

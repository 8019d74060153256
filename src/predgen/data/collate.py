"""Encoded rows -> padded tensors. Prompts are padded on the left, answers on the right; masks mark positions."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from predgen.data.encode import Encoded


@dataclass(frozen=True)
class Batch:
    """Rows as tensors. What stands under a False mask never influences a result.

    Attributes:
        prompt_ids: Prompt tokens, left-padded.
        prompt_mask: True for prompt tokens.
        answer_ids: Gold content tokens and the stop, right-padded; T may be 0.
        answer_mask: True for answer tokens, the stop included.
        weighed: True for the answer tokens that director `ordered` weighs.
        target: Class index, or the number in standard deviations from the training mean; nan without a target.
        weight: Row weights; 0 for rows that only fill the last batch of an epoch.
        row_id: Key of the row's random draws.
        answer: Index of the gold answer among all; -1 where it has none.
    """

    prompt_ids: Int[Tensor, "B P"]
    prompt_mask: Bool[Tensor, "B P"]
    answer_ids: Int[Tensor, "B T"]
    answer_mask: Bool[Tensor, "B T"]
    weighed: Bool[Tensor, "B T"]
    target: Float[Tensor, " B"]
    weight: Float[Tensor, " B"]
    row_id: Int[Tensor, " B"]
    answer: Int[Tensor, " B"]

    def __len__(self) -> int:
        return len(self.row_id)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """Return the batch on a device, as a data loader asks for it."""
        return Batch(**{n: t.to(device, non_blocking=non_blocking) for n, t in self.tensors().items()})

    def pin_memory(self) -> "Batch":
        """Return the batch in memory from which accelerators copy, as a data loader asks for it."""
        return Batch(**{name: tensor.pin_memory() for name, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def rows(self, index: Int[Tensor, " S"]) -> "Batch":
        """Return the batch of some rows."""
        return Batch(**{name: tensor[index] for name, tensor in self.tensors().items()})

    def trimmed(self) -> "Batch":
        """Return the batch without columns in which every row is padded."""
        prompt, answer = self.prompt_mask.any(dim=0), self.answer_mask.any(dim=0)
        parts = self.tensors()
        for names, kept in (
            (("prompt_ids", "prompt_mask"), prompt),
            (("answer_ids", "answer_mask", "weighed"), answer),
        ):
            parts |= {name: parts[name][:, kept] for name in names}
        return Batch(**parts)


def collate(rows: Sequence[Encoded], pad_id: int, device: torch.device | str = "cpu") -> Batch:
    """Pad rows into a `Batch`; `pad_id` only has to be a valid token id."""
    prompt_width = max(len(row.prompt_ids) for row in rows)
    answer_width = max(len(row.answer_ids) for row in rows)
    prompt_ids = torch.full((len(rows), prompt_width), pad_id)
    prompt_mask = torch.zeros((len(rows), prompt_width), dtype=torch.bool)
    answer_ids = torch.full((len(rows), answer_width), pad_id)
    answer_mask = torch.zeros((len(rows), answer_width), dtype=torch.bool)
    weighed = torch.zeros((len(rows), answer_width), dtype=torch.bool)
    for i, row in enumerate(rows):
        start = prompt_width - len(row.prompt_ids)
        prompt_ids[i, start:] = torch.tensor(row.prompt_ids)
        prompt_mask[i, start:] = True
        end = len(row.answer_ids)
        answer_ids[i, :end] = torch.tensor(row.answer_ids, dtype=torch.long)
        answer_mask[i, :end] = True
        weighed[i, :end] = torch.tensor(row.weighed, dtype=torch.bool)
    batch = Batch(
        prompt_ids,
        prompt_mask,
        answer_ids,
        answer_mask,
        weighed,
        torch.tensor([_learned(row) for row in rows], dtype=torch.float32),
        torch.tensor([row.weight for row in rows], dtype=torch.float32),
        torch.tensor([row.row_id for row in rows]),
        torch.tensor([-1 if row.answer is None else row.answer for row in rows]),
    )
    return batch.to(device)


def _learned(row: Encoded) -> float:
    """What a row's loss aims at: raw numbers would lose their digits as float32, standardised ones do not."""
    return row.target if row.standardised is None else row.standardised

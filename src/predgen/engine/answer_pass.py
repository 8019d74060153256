"""One forward over prompts and the answers fed to them: the states to read and the states that predict."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from predgen.engine.backbone import Backbone


@dataclass(frozen=True, slots=True)
class AnswerStates:
    """Hidden states of an answer.

    Attributes:
        predicting: States that predict answer token t, one position before it: T = content width + 1.
        content: States AT the content tokens.
    """

    predicting: Float[Tensor, "B T H"]
    content: Float[Tensor, "B C H"]


def last_position(mask: Bool[Tensor, "B P"]) -> Int[Tensor, " B"]:
    """Index of each row's last real token, whatever the padding side."""
    width = mask.shape[1]
    return width - 1 - mask.flip(1).long().argmax(dim=1)


def answer_states(
    backbone: Backbone,
    prompt_ids: Int[Tensor, "B P"],
    prompt_mask: Bool[Tensor, "B P"],
    content_ids: Int[Tensor, "B C"],
    content_mask: Bool[Tensor, "B C"],
) -> AnswerStates:
    """Run prompts with content tokens behind them, with gradient where it is enabled."""
    ids = torch.cat([prompt_ids, content_ids], dim=1)
    mask = torch.cat([prompt_mask, content_mask], dim=1)
    states, _ = backbone.states(ids, mask)
    rows = torch.arange(len(ids), device=ids.device)
    root = states[rows, last_position(prompt_mask)][:, None]  # B 1 H
    content = states[:, prompt_ids.shape[1] :]
    return AnswerStates(torch.cat([root, content], dim=1), content)

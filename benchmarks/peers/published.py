"""PredGen's training step as it was published: write token by token, then run everything again.

Written from the description in Kowsher et al. (2025), arXiv:2502.17817, section 4 and appendix D, not from its code. The
batch writes m tokens greedily without constraint, m being the length of the gold answer; a full forward reads prompts and
written tokens; the writer's loss compares its logits, computed at every position, with the gold tokens; the director
reads the hidden states of the written tokens; the joint loss is the product of both. All rows of a batch are treated alike.

Generous to it: writing keeps no graph, positions do not count padding, the director is one linear layer, and the second
row of the suite's table lets writing reuse keys and values, which the description does not mention.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks import inputs, ours
from benchmarks.inputs import HIGH, LOW
from benchmarks.models import load_lm, with_lora
from benchmarks.settings import Setting
from benchmarks.steps import back, training_step


def positions_of(mask: Tensor) -> Tensor:
    """Position of each token counted from its row's first real one."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


@torch.no_grad()
def write(lm: Any, ids: Tensor, mask: Tensor, n_tokens: int, *, reuse_cache: bool) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Append `n_tokens` greedy tokens to left-padded prompts; return ids and mask.

    Without `reuse_cache` every token is a forward over everything before it.
    """
    cache = None
    for step in range(n_tokens):
        new = ids[:, -1:] if reuse_cache and step else ids
        positions = positions_of(mask)[:, -new.shape[1] :]
        output = lm(
            input_ids=new,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=reuse_cache,
            logits_to_keep=1,
        )
        cache = output.past_key_values if reuse_cache else None
        ids = torch.cat([ids, output.logits[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    return ids, mask


class PublishedLoss(nn.Module):
    """Joint loss of a batch that is fed what it wrote.

    Args:
        lm: Causal language model.
        reuse_cache: Whether writing reuses keys and values.
    """

    def __init__(self, lm: Any, *, reuse_cache: bool) -> None:  # noqa: ANN401
        super().__init__()
        self.lm = lm
        self.reuse_cache = reuse_cache
        self.director = nn.Linear(lm.config.hidden_size, 1).to(lm.device)

    def forward(self, ids: Tensor, mask: Tensor, answers: Tensor, values: Tensor) -> Tensor:
        """Write, run again, and multiply the two losses.

        Args:
            ids: Prompts, padded on the left, [B P].
            mask: 1 for prompt tokens.
            answers: Gold tokens, all answers of the same length, [B m].
            values: The numbers they state, standardised, [B].
        """
        width = answers.shape[1]
        ids, mask = write(self.lm, ids, mask, width, reuse_cache=self.reuse_cache)
        base = self.lm.get_base_model()
        states = base.model(ids, attention_mask=mask, position_ids=positions_of(mask), use_cache=False)[0]
        logits = base.lm_head(states).float()
        writer = cross_entropy(logits[:, -width - 1 : -1].flatten(0, 1), answers.flatten())
        read = self.director(states[:, -width:].mean(dim=1).float()).squeeze(-1)
        director: Tensor = (read - values).square().mean()
        return writer * director


def step(*, reuse_cache: bool) -> Callable[[Setting], Callable[[], None]]:
    """A LoRA step of the published algorithm at p = 1."""

    def make(setting: Setting) -> Callable[[], None]:
        values, device = inputs.numbers(setting.batch_size), setting.spec.device
        batch = inputs.masked(inputs.prompts(setting), 0, "left", device)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        answers = torch.tensor(ours.answer_ids(setting, values), device=device)
        targets = (torch.tensor(values, device=device) - (LOW + HIGH) / 2) / 1.5
        loss = PublishedLoss(with_lora(load_lm(setting)), reuse_cache=reuse_cache).train()
        return training_step(loss.parameters(), back(lambda: loss(ids, mask, answers, targets)))

    return make

"""Label likelihoods by one forward per label: how log p(label | prompt) is scored in general evaluation code."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks import inputs, ours
from benchmarks.inputs import Ids
from benchmarks.models import load_lm
from benchmarks.settings import Setting


def label_batches(prompts: Sequence[Ids], labels: Sequence[Ids], device: str) -> list[dict[str, Tensor]]:
    """For each label, a batch of every prompt with the label behind it, without its last token."""
    return [inputs.with_positions([(*prompt, *label[:-1]) for prompt in prompts], device) for label in labels]


@torch.no_grad()
def label_scores(lm: Any, batches: Sequence[dict[str, Tensor]], labels: Sequence[Ids]) -> Tensor:  # noqa: ANN401
    """Log-likelihood of every label after every prompt, [B A].

    score(a) = sum_t log p(a_t | X, a_<t), a softmax over the whole vocabulary at each token, the stop not counted.

    Generous to the peer: logits are computed at the label's positions only.
    """
    columns = []
    for label, batch in zip(labels, batches, strict=True):
        logits = lm(**batch, use_cache=False, logits_to_keep=len(label)).logits
        targets = torch.tensor(label, device=logits.device)[None, :, None].expand(len(logits), -1, 1)
        columns.append(logits.float().log_softmax(dim=-1).gather(2, targets).sum(dim=(1, 2)))
    return torch.stack(columns, dim=1)


def score(labels: Sequence[str]) -> Callable[[Setting], Callable[[], Tensor]]:
    """Score labels after one batch of prompts."""

    def make(setting: Setting) -> Callable[[], Tensor]:
        lm = load_lm(setting)
        ids = ours.label_ids(setting, labels)
        batches = label_batches(inputs.prompts(setting), ids, setting.spec.device)
        return lambda: label_scores(lm, batches, ids)

    return make

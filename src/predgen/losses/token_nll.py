"""Negative log-likelihood of tokens, and its mean over an answer."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional


def token_nll(logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """-log p(target) of each token under the full-vocabulary softmax, in nats, in float32.

    Args:
        logits: Scores at the positions that predict `targets`, already shifted.
        targets: Token ids, 0 <= id < V; values under a mask may be any valid id.
    """
    flat = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view(targets.shape)  # (B * T) -> B T


def weighted_mean(values: Float[Tensor, "B T"], weights: Float[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """sum_t w_bt v_bt / sum_t w_bt, per example; 0 where an example has no weight at all.

    Values under weight 0 do not matter, not even when they are not finite.
    """
    total = weights.sum(dim=1)
    kept = torch.where(weights > 0, values, torch.zeros_like(values))
    return (kept * weights).sum(dim=1) / torch.where(total > 0, total, torch.ones_like(total))


def writer_loss(nll: Float[Tensor, "B T"], scored: Bool[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """L_W: mean negative log-likelihood of each example's scored answer tokens, in nats per token (docs/methods.md)."""
    return weighted_mean(nll, scored.to(nll.dtype))

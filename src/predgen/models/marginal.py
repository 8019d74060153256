"""Sampling mode `marginal`: the director averaged over the model's own exact answer distribution (SPEC 4).

No token is sampled, so training and prediction see the same inputs: no exposure bias is left.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from predgen.directors.base import Director
from predgen.engine.scores import AnswerScores


def marginal_output(director: Director, scores: AnswerScores, *, is_class: bool) -> Float[Tensor, "B K"]:
    """Mixture of the director's outputs.

    Classes: log sum_a P(a|X) softmax(director(Z_a))_c. Numbers: sum_a P(a|X) director(Z_a), standardised.

    Args:
        director: One with a head.
        scores: Made with `everything`.
        is_class: Whether outputs are class logits.
    """
    states, mask = scores.all_content_states()  # B A C H, A C
    batch, answers = states.shape[:2]
    flat = director.output(states.flatten(0, 1).float(), mask.repeat(batch, 1))
    outputs = flat.view(batch, answers, -1)  # (B * A) K -> B A K
    if is_class:
        return torch.logsumexp(scores.log_probs[..., None] + outputs.log_softmax(dim=-1), dim=1)
    return (scores.log_probs.exp()[..., None] * outputs).sum(dim=1)


def marginal_loss(
    director: Director, scores: AnswerScores, target: Float[Tensor, " B"], *, is_class: bool
) -> Float[Tensor, " B"]:
    """-log of the mixture's probability of the class, in nats, or its squared error in squared standard deviations."""
    output = marginal_output(director, scores, is_class=is_class)
    if is_class:
        return functional.nll_loss(output, target.long(), reduction="none")
    return (output[:, 0] - target).square()

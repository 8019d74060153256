"""What a director (the paper's task adapter) is: it maps the states of generated content tokens to the prediction."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from predgen.directors.heads import Head


@dataclass(frozen=True, slots=True)
class DirectorSetup:
    """What a director may need to build itself.

    Attributes:
        hidden_size: Width H of the states.
        n_classes: K; 0 for numbers.
        target_mean: 0: directors see and return standardised numbers (in 0.1, raw ones with their training mean).
        target_std: 1, likewise.
        head_norm: How heads read their features: `Head.norm`.
        values: The answers' numbers, standardised, where all of them fit into one pass; empty for classes.
    """

    hidden_size: int
    n_classes: int
    target_mean: float
    target_std: float
    head_norm: str = "none"
    values: tuple[float, ...] = ()

    def head(self, outputs: int) -> Head:
        """Return a linear head over states of the model, or means of them."""
        return Head(self.hidden_size, outputs, self.head_norm)


@dataclass(frozen=True, slots=True)
class DirectorInput:
    """What a director sees in training.

    Attributes:
        states: Last hidden states, after the final norm, AT the fed content tokens (not where they are predicted).
        content: True for content tokens, False for padding; the stop is never fed.
        nll: -log p of the gold token at each answer position, nats.
        scored: True where the gold token is legal after the fed prefix (docs/methods.md, scheduled sampling).
        weighed: True for gold tokens that are neither forced nor the stop.
        target: Class index, or the number in standard deviations from the training mean.
        log_probs: log P(a|X) of every answer, for directors with `reads_distribution`; None for the others.
        values: The answers' numbers, standardised, beside `log_probs`; None for classes, whose answers are in their order.
        answer: Index of the gold answer among all, beside `log_probs`.
        prompt: Last hidden state at the prompt's last token, beside `log_probs`.
    """

    states: Float[Tensor, "B T H"]
    content: Bool[Tensor, "B T"]
    nll: Float[Tensor, "B U"]
    scored: Bool[Tensor, "B U"]
    weighed: Bool[Tensor, "B U"]
    target: Float[Tensor, " B"]
    log_probs: Float[Tensor, "B A"] | None = None
    values: Float[Tensor, " A"] | None = None
    answer: Int[Tensor, " B"] | None = None
    prompt: Float[Tensor, "B H"] | None = None


class Director(nn.Module):
    """Base class. A director without a head (`has_head` False) lets what is written be the prediction.

    Attributes:
        has_head: Whether `output` exists.
        decoding: Without a head: how the prediction is read off the written answers (`registries.decodings`).
        reads_distribution: Whether it needs the probabilities of all answers.
        is_ordered: Whether classes count as levels in their order.
        reads_own: Whether `loss` reads the model's own greedy answer, whatever is fed; needs `reads_distribution`.
        kinds: Kinds of task that the director can serve.
    """

    has_head: ClassVar[bool] = True
    decoding: str = "greedy"
    reads_distribution: ClassVar[bool] = False
    is_ordered: ClassVar[bool] = False
    reads_own: bool = False
    kinds: ClassVar[tuple[str, ...]]

    def __init__(self, setup: DirectorSetup) -> None:
        super().__init__()
        self.setup = setup

    def loss(self, seen: DirectorInput) -> Float[Tensor, " B"]:
        """Return L_D per example."""
        raise NotImplementedError(f"{type(self).__name__} must define loss(seen)")

    def output(self, states: Float[Tensor, "B T H"], content: Bool[Tensor, "B T"]) -> Float[Tensor, "B K"]:
        """Return class logits, or the standardised number as a column (K = 1)."""
        raise NotImplementedError(f"{type(self).__name__} has no head, so it has no output")

    def prior(self, log_probs: Float[Tensor, "B A"], prompt: Float[Tensor, "B H"]) -> Float[Tensor, "B K"] | None:
        """Return what `output` is added to, whatever is written: for directors with a head that read the distribution.

        Args:
            log_probs: log P(a|X) of every answer.
            prompt: Last hidden state at the prompt's last token.

        Returns:
            Class logits, or standardised numbers as a column; None: `output` stands alone.
        """
        return None

    def standardised(self, number: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Return numbers as they are: for directors written for 0.1, which were given raw ones."""
        return number


def mean_state(states: Float[Tensor, "B T H"], content: Bool[Tensor, "B T"]) -> Float[Tensor, "B H"]:
    """Mean of the content states, in float32."""
    kept = torch.where(content[..., None], states.float(), 0.0)
    return kept.sum(dim=1) / content.sum(dim=1, keepdim=True).clamp(min=1)

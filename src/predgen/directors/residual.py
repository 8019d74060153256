"""Director `residual`: what the writer says, corrected by what its states say."""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from predgen.directors.base import Director, DirectorInput, DirectorSetup, mean_state
from predgen.directors.heads import Head
from predgen.directors.settings import ResidualSettings


class ResidualDirector(Director):
    """output = base(P(.|X)) + W_a norm(z_a) + W_p norm(z_p), with W_a = W_p = 0 at the start.

    base: log P(a|X) of classes, or E[y|X] in standard deviations, exact and with gradient: at the start the prediction is
    the Generator's posterior, or mean. z_a: mean content state at the model's own greedy answer. z_p: state at the prompt's
    last token, which is what the Predictor reads. norm: `Head.norm`. L_D is the cross-entropy, in nats, or the squared error
    of the standardised target: 1 is what predicting the mean would cost.

    Its functions contain those of the Predictor, of the Generator and of directors `linear` and `value`; training moves
    writer and heads together. Ours; the base for numbers is RAFT's (Lukasik et al. 2025).
    """

    reads_distribution: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("classification", "regression")

    values: Float[Tensor, " A"]

    def __init__(self, setup: DirectorSetup, settings: ResidualSettings) -> None:
        super().__init__(setup)
        self.register_buffer("values", torch.tensor(setup.values, dtype=torch.float32), persistent=False)
        self.reads_own = settings.residual_answer == "own"
        self.trains_writer = settings.residual_gradient
        self.answer_head = self._head() if settings.residual_reads in ("both", "answer") else None
        self.prompt_head = self._head() if settings.residual_reads in ("both", "prompt") else None

    def _head(self) -> Head:
        """W: without a bias, which the base has, and zero."""
        outputs = self.setup.n_classes or 1
        return Head(self.setup.hidden_size, outputs, self.setup.head_norm, bias=False, starts_at_zero=True)

    def loss(self, seen: DirectorInput) -> Float[Tensor, " B"]:
        assert seen.log_probs is not None, "the model passes them to directors that read them"
        assert seen.prompt is not None, "it comes with `log_probs`"
        output = self.prior(seen.log_probs, seen.prompt) + self.output(seen.states, seen.content)
        if self.setup.n_classes:
            return functional.cross_entropy(output, seen.target.long(), reduction="none")
        return (output[:, 0] - seen.target).square()

    def prior(self, log_probs: Float[Tensor, "B A"], prompt: Float[Tensor, "B H"]) -> Float[Tensor, "B K"]:
        known = log_probs if self.trains_writer else log_probs.detach()
        base = known if self.setup.n_classes else (known.exp() @ self.values)[:, None]
        return base if self.prompt_head is None else base + self.prompt_head(prompt)

    def output(self, states: Float[Tensor, "B T H"], content: Bool[Tensor, "B T"]) -> Float[Tensor, "B K"]:
        if self.answer_head is None:
            return states.new_zeros(len(states), self.setup.n_classes or 1, dtype=torch.float32)
        correction: Tensor = self.answer_head(mean_state(states, content))
        return correction

"""Mode `marginal`: the director averaged over the model's own exact answer distribution (docs/concepts.md, tree pass).

No token is sampled, so training and prediction see the same inputs: no exposure bias is left.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from predgen.core import Kind
from predgen.data.collate import Batch
from predgen.directors.base import Director, DirectorInput
from predgen.engine.scores import AnswerScores
from predgen.losses.token_nll import token_nll
from predgen.sampling.base import Writing
from predgen.sampling.feeding import Fed, Reading
from predgen.sampling.off import Off


class Marginal(Off):
    """L_W on the gold answer, L_D on the mixture of what the director says about each answer, with weights P(a|X).

    One pass over all content nodes gives both: the gold answer is one of the tree's.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("classification", "regression")
    purpose: ClassVar[str] = "averages over all answers"
    elsewhere: ClassVar[str] = "whose answers have no finite set; use 'token' or 'parallel'"
    needs_head: ClassVar[bool] = True
    runs_all_answers: ClassVar[bool] = True

    def read(self, model: Writing, batch: Batch, fed: Fed) -> Reading:
        scores = model.score(batch, everything=True, prompts=fed.prompts)
        predicting = scores.predicting_states(batch.answer)
        width = batch.answer_ids.shape[1]  # the batch's longest answer is not always the codec's
        predicting = functional.pad(predicting, (0, 0, 0, width - predicting.shape[1]))  # B T H
        nll = token_nll(model.backbone.logits(predicting), batch.answer_ids)
        return Reading(predicting[:, 1:], fed.mask, nll, fed.scored, scores)

    def director_loss(self, director: Director, seen: DirectorInput, reading: Reading) -> Float[Tensor, " B"]:
        """-log of the mixture's probability of the class, in nats, or its squared error in squared standard deviations."""
        assert reading.scores is not None, "`read` scores all answers"
        output = self.output(director, reading.scores)
        if self.setup.kind == "classification":
            return functional.nll_loss(output, seen.target.long(), reduction="none")
        return (output[:, 0] - seen.target).square()

    def output(self, director: Director, scores: AnswerScores) -> Float[Tensor, "B K"]:
        """Mixture of the director's outputs; `scores` were made with `everything`.

        Classes: log sum_a P(a|X) softmax(director(Z_a))_c. Numbers: sum_a P(a|X) director(Z_a), standardised.
        """
        states, mask = scores.all_content_states()  # B A C H, A C
        batch, answers = states.shape[:2]
        flat = director.output(states.flatten(0, 1).float(), mask.repeat(batch, 1))
        outputs = flat.view(batch, answers, -1)  # (B * A) K -> B A K
        prior = director.prior(scores.log_probs, scores.prompt_states.float())  # B K, the same for all answers
        outputs = outputs if prior is None else prior[:, None] + outputs
        if self.setup.kind == "classification":
            return torch.logsumexp(scores.log_probs[..., None] + outputs.log_softmax(dim=-1), dim=1)
        return (scores.log_probs.exp()[..., None] * outputs).sum(dim=1)

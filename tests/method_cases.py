"""Every prediction method on tiny models of every family, with rows, codecs and gradients, for tests of `models`."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from other_models import OTHERS, other_model
from predgen import registries
from predgen.codecs.answer import AnswerCodec
from predgen.codecs.base import Codec, FiniteCodec
from predgen.codecs.label import LabelCodec
from predgen.codecs.number import NumberCodec
from predgen.core import Example, Prediction, Target
from predgen.data.collate import Batch, collate
from predgen.data.encode import Encoded, Encoder
from predgen.models.base import ModelSetup, PredictionModel, Reduction, RowLosses
from predgen.models.predgen import PredGen
from predgen.models.writer import WritingModel
from predgen.peft_methods.base import apply_peft
from predgen.sampling.draws import SamplingPlan
from predgen.sampling.feeding import Fed
from predgen.target_scale import TargetScale
from tiny_models import tiny_model
from tokenizers_for_tests import char_level

TOLERANCE = 1e-5
SCALE = TargetScale(mean=1.0, std=1.75)
"""Of the targets: not their own mean and standard deviation, so that mixing them up shows."""
TEXTS = ("good", "a bad film", "so so, really so so", "", "x", "bad", "fine!", "a very long review of a film")
LABELS = ("no", "not sure", "yes", "not sure", "no", "no", "yes", "not")
NUMBERS = (0.25, -1.5, 3.75, 2.0, 0.0, 1.25, -0.75, 3.0)
SOLUTIONS = ("1+1=2.", None, "3*4=12.", None, "so 7", "8-1=7.", None, "2.")
RESULTS = (2.0, -1.5, 12.0, 3.25, 7.0, 7.0, 0.0, 2.0)


@dataclass(frozen=True)
class Case:
    """A method with its settings."""

    method: str
    kind: str
    director: str = "linear"
    sampling: str = "off"
    pooling: str = "last"
    loss: str = "wdal_shifted"
    peft: str = "full"
    max_tree_nodes: int = 256

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the method has."""
        if self.method == "predictor":
            return {"pooling": self.pooling, "head_norm": "none"}
        own = {"director": self.director, "loss": self.loss, "sampling": self.sampling, "head_norm": "none"}
        return {"max_tree_nodes": self.max_tree_nodes, **(own if self.method == "predgen" else {})}

    def __str__(self) -> str:
        rest = (
            f"{self.director}-{self.sampling}"
            if self.method == "predgen"
            else self.pooling * (self.method == "predictor")
        )
        return f"{self.method}-{self.kind}-{rest}".strip("-")


CASES = (
    Case("predictor", "classification"),
    Case("predictor", "classification", pooling="mean"),
    Case("predictor", "regression", pooling="first"),
    Case("generator", "classification"),
    Case("generator", "regression"),
    Case("predgen", "classification", "linear", "token"),
    Case("predgen", "classification", "linear", "sequence"),
    Case("predgen", "regression", "value", "token"),
    Case("predgen", "regression", "ordered", "sequence"),
    Case("predgen", "math", "ordered", "token"),
    Case("predgen", "math", "ordered", "parallel"),
    Case("predgen", "regression", "expected", "token"),
    Case("predgen", "classification", "linear", "marginal"),
    Case("predgen", "regression", "value", "marginal", max_tree_nodes=1000),
)


@functools.cache
def codec_of(kind: str) -> Codec:
    """601 numbers of two decimals, four labels of which one starts others, or free text before a number."""
    if kind == "classification":
        return LabelCodec.fit(["no", "not", "not sure", "yes"], char_level())
    if kind == "regression":
        return NumberCodec.fit(NUMBERS, char_level(), scale=(-2.0, 4.0))
    return AnswerCodec.fit([Target(r, s) for r, s in zip(RESULTS, SOLUTIONS, strict=True)], char_level())


def examples(kind: str) -> list[Example]:
    """Eight rows of unequal length and weight."""
    targets = {
        "classification": [Target(label) for label in LABELS],
        "regression": [Target(number) for number in NUMBERS],
        "math": [Target(r, s) for r, s in zip(RESULTS, SOLUTIONS, strict=True)],
    }[kind]
    weights = (1.0, 2.0, 0.5, 1.0, 1.5, 1.0, 3.0, 0.25)
    rows = zip(TEXTS, targets, weights, strict=True)
    return [Example(100 + i, {"text": text}, target, weight) for i, (text, target, weight) in enumerate(rows)]


def encode(kind: str, codec: Codec) -> tuple[Encoded, ...]:
    """All rows, with answers of a codec."""
    scale = None if kind == "classification" else SCALE
    encoder = Encoder(char_level(), "R: {text}\nA:", codec, labels=getattr(codec, "labels", ()), scale=scale)
    return tuple(encoder.encode(example) for example in examples(kind))


@functools.cache
def encoded(kind: str) -> tuple[Encoded, ...]:
    """All rows."""
    return encode(kind, codec_of(kind))


def batch_of(kind: str, rows: Sequence[int] = range(8)) -> Batch:
    """Some rows."""
    return collate([encoded(kind)[row] for row in rows], char_level().pad_token_id)


def make(case: Case, family: str = "llama", seed: int = 0, codec: Codec | None = None) -> PredictionModel:
    """A fresh model; the weights of heads and adapters depend on the seed only."""
    codec = codec or codec_of(case.kind)
    setup = ModelSetup(
        case.method,
        case.kind,
        getattr(codec, "labels", ()),
        SCALE.mean,
        SCALE.std,
        case.settings,
    )
    torch.manual_seed(seed)
    lm: Any = other_model(family, seed) if family in OTHERS else tiny_model(family, len(char_level()), seed)
    if case.peft != "full":
        lm = apply_peft(registries.peft_methods.get(case.peft), lm, {"rank": 2, "alpha": 4.0}, total_optimizer_steps=10)
        for weight in lm.parameters():
            if weight.requires_grad:  # an adapter starts as nothing, with gradients of zero
                torch.nn.init.normal_(weight, std=0.1)
    method = registries.methods.get(case.method)
    return method(setup, lm, codec if method.needs_codec else None)


@functools.cache
def made(case: Case, family: str) -> PredictionModel:
    """The same model for tests that do not change it."""
    return make(case, family)


def more_padding(batch: Batch, prompts: int, answers: int, junk: int) -> Batch:
    """The same rows with more padding, and other ids in all of it."""
    pad = torch.nn.functional.pad
    sides = {"prompt": (prompts, 0), "answer": (0, answers)}
    wider = {name: pad(getattr(batch, f"{name}_mask"), side) for name, side in sides.items()}
    ids = {
        name: torch.where(wider[name], pad(getattr(batch, f"{name}_ids"), side), junk) for name, side in sides.items()
    }
    return replace(
        batch,
        prompt_ids=ids["prompt"],
        prompt_mask=wider["prompt"],
        answer_ids=ids["answer"],
        answer_mask=wider["answer"],
        weighed=pad(batch.weighed, sides["answer"]),
    )


def plan(p: float = 0.5, epoch: int = 0) -> SamplingPlan:
    """A moment of training."""
    return SamplingPlan(p, 3, epoch)


def assert_same_losses(found: RowLosses, expected: RowLosses, rows: Sequence[int]) -> None:
    """Losses of some rows are those that they have among all."""
    for name in ("writer", "director"):
        ours, wanted = getattr(found, name), getattr(expected, name)
        assert (ours is None) == (wanted is None)
        if ours is not None:
            torch.testing.assert_close(ours, wanted[list(rows)], atol=TOLERANCE, rtol=TOLERANCE)


def assert_same_predictions(found: Sequence[Prediction], expected: Sequence[Prediction]) -> None:
    """Predictions agree, probabilities and numbers up to rounding."""
    assert len(found) == len(expected)
    for ours, wanted in zip(found, expected, strict=True):
        assert (ours.answer, ours.flags) == (wanted.answer, wanted.flags)
        if isinstance(wanted.value, str):
            assert ours.value == wanted.value
            assert ours.probabilities == pytest.approx(wanted.probabilities, abs=TOLERANCE)
        else:
            assert ours.value == pytest.approx(wanted.value, abs=TOLERANCE)


def gradients_of(
    model: PredictionModel, batches: Sequence[Batch], reduction: Reduction = "example"
) -> dict[str, Tensor]:
    """Gradients accumulated over micro-batches."""
    model.zero_grad(set_to_none=True)
    for batch in batches:
        model(batch, plan(), reduction).total.backward()
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    assert found
    assert all(gradient.isfinite().all() for gradient in found.values())
    return found


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Largest difference of any gradient, relative to that parameter's largest one, or to 1 % of the largest of all."""
    assert first.keys() == second.keys()
    least = 0.01 * max(float(gradient.abs().max()) for gradient in second.values())
    scales = {name: max(float(gradient.abs().max()), least) for name, gradient in second.items()}
    return max(float((first[name] - second[name]).abs().max()) / scales[name] for name in second)


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Gradients agree up to rounding."""
    # float32: sums of some hundred terms of either sign.
    assert largest_difference(found, expected) < 2e-5


# --- second routes ----------------------------------------------------------------------------------------------------


def fed_in(model: PredGen, batch: Batch, moment: SamplingPlan) -> Fed:
    """What a training step feeds."""
    return replace(model.mode.write(model, batch, moment), prompts=None)  # the prompts are run anew where it is read


def fed_tokens(fed: Fed) -> list[tuple[int, ...]]:
    """The content tokens of each row."""
    return [tuple(ids[mask].tolist()) for ids, mask in zip(fed.ids, fed.mask, strict=True)]


def answers_of(codec: FiniteCodec) -> list[tuple[int, ...]]:
    """Tokens of all answers, stop included, in the codec's order."""
    return [codec.encode(Target(codec.value_at(index))) for index in range(codec.space.size)]


@functools.cache
def legal_steps(codec: FiniteCodec) -> tuple[list[tuple[int, ...]], Tensor, Tensor]:
    """All answers; their tokens, padded with -1, [N, T]; where a token is legal behind what stands before it, [N, T, V]."""
    answers = answers_of(codec)
    legal: dict[tuple[int, ...], set[int]] = {}
    for answer in answers:
        for t, token in enumerate(answer):
            legal.setdefault(answer[:t], set()).add(token)
    ids = torch.full((len(answers), max(map(len, answers))), -1)
    allowed = torch.zeros(*ids.shape, len(char_level()), dtype=torch.bool)
    for row, answer in enumerate(answers):
        ids[row, : len(answer)] = torch.tensor(answer)
        for t in range(len(answer)):
            allowed[row, t, sorted(legal[answer[:t]])] = True
    return answers, ids, allowed


@torch.no_grad()
def plain_log_probs(model: PredictionModel, prompt: Sequence[int], codec: FiniteCodec) -> tuple[list[float], Tensor]:
    """Two logs of each answer's probability: under the legal tokens, found by looking at all answers, and all tokens.

    The model runs the prompt with each answer behind it, as whole sequences without a cache.
    """
    answers, tokens, allowed = legal_steps(codec)
    n, width = len(prompt), tokens.shape[1] - 1
    ids = torch.tensor([[*prompt, *answer[:-1], *[0] * (width + 1 - len(answer))] for answer in answers])
    mask = torch.tensor([[1] * (n + len(answer) - 1) + [0] * (width + 1 - len(answer)) for answer in answers])
    logits = model.lm(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, n - 1 :].double()
    own = logits.gather(2, tokens.clamp(min=0)[..., None])[..., 0]
    is_legal = torch.nn.functional.pad(allowed, (0, logits.shape[2] - allowed.shape[2]))  # up to the model's vocabulary
    legal = logits.masked_fill(~is_legal, -torch.inf).logsumexp(2)
    constrained, free = ((own - of).masked_fill(tokens < 0, 0.0).sum(1) for of in (legal, logits.logsumexp(2)))
    return constrained.tolist(), free


def sequential(model: PredictionModel) -> PredictionModel:
    """Put a model on the path of a base that cannot run trees: answers are written token by token."""
    model.obstacle = "test"
    if isinstance(model, WritingModel):
        model.tree = None
    return model

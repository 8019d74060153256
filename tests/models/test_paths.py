"""Losses and gradients of PredGen do not depend on how answers are run: tree, paths, step by step, or checkpointing."""

import functools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from method_cases import (
    NUMBERS,
    TOLERANCE,
    Case,
    assert_same_losses,
    codec_of,
    encode,
    fed_in,
    fed_tokens,
    make,
    plan,
    sequential,
)
from predgen.codecs.base import Codec
from predgen.codecs.number import NumberCodec
from predgen.data.collate import Batch, collate
from predgen.engine import tree_pass
from predgen.models.base import RowLosses
from predgen.models.predgen import PredGen
from predgen.models.writer import WritingModel
from predgen.sampling.base import SamplingSetup
from predgen.sampling.parallel import Parallel
from predgen.sampling.settings import ParallelSettings
from tiny_models import FAMILIES
from tokenizers_for_tests import char_level

LINEAR, VALUE, ORDERED, EXPECTED = (
    Case("predgen", "classification", "linear"),
    Case("predgen", "regression", "value"),
    Case("predgen", "regression", "ordered"),
    Case("predgen", "regression", "expected"),
)
# Each two of director, mode and p meet on one architecture; then every architecture, and adapters.
STEPS = [
    (replace(case, sampling=("token", "sequence")[(i + j) % 2]), "llama", p)
    for i, case in enumerate((LINEAR, VALUE, ORDERED, EXPECTED))
    for j, p in enumerate((0.0, 0.5, 1.0))
]
STEPS += [(replace(case, sampling="token"), f, 0.5) for case, f in zip((LINEAR, VALUE) * 2, FAMILIES[1:], strict=True)]
STEPS += [
    (replace(case, sampling="token", peft="lora"), f, 0.5)
    for case, f in ((LINEAR, "llama"), (VALUE, "gpt2"), (EXPECTED, "gemma3"))
]
MARGINAL = [
    (replace(LINEAR, sampling="marginal"), "llama", 0.5),
    (replace(VALUE, sampling="marginal"), "qwen3", 0.5),
    (replace(VALUE, sampling="marginal", peft="lora"), "gpt_neox", 0.5),
]
every_step = pytest.mark.parametrize(("case", "family", "p"), STEPS, ids=str)
every_step_and_marginal = pytest.mark.parametrize(("case", "family", "p"), [*STEPS, *MARGINAL], ids=str)
SAMPLED = [step for step in STEPS if step[0].director != "expected"]


@functools.cache
def codec_for(kind: str) -> Codec:
    """The labels, or 61 numbers of one decimal: all of their tokens fit into one pass."""
    if kind == "classification":
        return codec_of(kind)
    return NumberCodec.fit(NUMBERS, char_level(), scale=(-2.0, 4.0), decimals=1)


@functools.cache
def rows_for(kind: str) -> Batch:
    return collate(encode(kind, codec_for(kind)), char_level().pad_token_id)


def model_for(case: Case, family: str) -> PredGen:
    model = make(case, family, codec=codec_for(case.kind))
    assert isinstance(model, PredGen)
    assert model.obstacle is None
    assert model.tree is not None
    return model


def step(model: PredGen, kind: str, p: float) -> tuple[RowLosses, dict[str, Tensor]]:
    """Losses and gradients of one micro-batch; whoever was trained has a gradient."""
    model.zero_grad(set_to_none=True)
    losses = model(rows_for(kind), plan(p), "example")
    losses.total.backward()
    named = {name: value for name, value in model.named_parameters() if value.requires_grad}
    gradients = {name: value.grad.clone() for name, value in named.items() if value.grad is not None}
    assert gradients.keys() == named.keys()
    assert sum(bool((gradient != 0).any()) for gradient in gradients.values()) > 0.8 * len(gradients)
    return losses, gradients


@functools.cache
def by_tree(case: Case, family: str, p: float) -> tuple[RowLosses, dict[str, Tensor]]:
    return step(model_for(case, family), case.kind, p)


def assert_same_step(model: PredGen, case: Case, family: str, p: float) -> None:
    (losses, gradients), (expected, wanted) = step(model, case.kind, p), by_tree(case, family, p)
    assert_same_losses(losses, expected, range(8))
    torch.testing.assert_close(losses.total, expected.total, atol=TOLERANCE, rtol=TOLERANCE)
    assert gradients.keys() == wanted.keys()
    norm = torch.stack([gradient.norm() for gradient in wanted.values()]).norm()
    assert norm > 0.1
    for name, gradient in wanted.items():
        assert (gradients[name] - gradient).norm() <= 1e-5 * norm, name


@every_step_and_marginal
def test_tree_pass_equals_plain_paths(case: Case, family: str, p: float) -> None:
    model = model_for(case, family)
    model.obstacle = "test"  # the tree's nodes are run one by one, as sequences of their own
    assert_same_step(model, case, family, p)


@pytest.mark.parametrize(("case", "family", "p"), SAMPLED, ids=str)
def test_tree_pass_equals_writing_step_by_step(case: Case, family: str, p: float) -> None:
    model = model_for(case, family)
    sequential(model)
    assert model.way == "sequential: test"
    assert_same_step(model, case, family, p)


@every_step_and_marginal
def test_tree_pass_equals_activation_checkpointing(
    case: Case, family: str, p: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_for(case, family)
    model.backbone.lm.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    assert model.backbone.drops_caches
    runs = []
    joint = tree_pass.JointPass._run
    monkeypatch.setattr(tree_pass.JointPass, "_run", lambda self: (runs.append(1), joint(self))[1])
    assert_same_step(model, case, family, p)
    # Sampling reads its tokens in eval state, where caches are kept: only what has a gradient is run jointly.
    assert bool(runs) == (case.director == "expected" or case.sampling == "marginal")


@pytest.mark.parametrize(
    ("case", "family", "p"), [step for step in SAMPLED if step[0].kind == "regression" and step[2] > 0], ids=str
)
def test_grids_larger_than_one_pass_are_written_step_by_step(
    case: Case, family: str, p: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(replace(case, max_tree_nodes=5), family, codec=codec_for(case.kind))
    assert isinstance(model, PredGen)
    assert model.tree is None
    assert model.engine == "tree passes, level by level"
    written = []
    write = WritingModel.write
    monkeypatch.setattr(
        WritingModel, "write", lambda self, *args, **kw: (written.append(1), write(self, *args, **kw))[1]
    )
    assert_same_step(model, case, family, p)
    assert written


@pytest.mark.parametrize("case", [replace(LINEAR, sampling="token"), replace(VALUE, sampling="token")], ids=str)
def test_tree_pass_writes_nothing_and_feeds_own_tokens(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    # Guard: the tests above compare two paths, which are not the same one, and sampling changes what is fed.
    model = model_for(case, "llama")

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the tree pass needs no writing")

    monkeypatch.setattr(WritingModel, "write", refuse)
    feeds = [fed_tokens(fed_in(model, rows_for(case.kind), plan(p))) for p in (0.0, 0.5, 1.0)]
    assert feeds[0] != feeds[1] != feeds[2] != feeds[0]
    sequential(model)
    with pytest.raises(AssertionError, match="needs no writing"):
        model(rows_for(case.kind), plan(1.0), "example")


def test_losses_leave_a_mixed_train_state_as_found() -> None:
    model = model_for(replace(LINEAR, sampling="token"), "gpt2")
    model.train()
    part = model.backbone.decoder.h[0]
    part.eval()
    before = [module.training for module in model.modules()]
    model(rows_for("classification"), plan(1.0), "example")
    assert [module.training for module in model.modules()] == before
    assert len(set(before)) == 2


@pytest.mark.parametrize("passes", [1, 2, 16])
def test_parallel_sampling_reaches_token_sampling_with_enough_passes(passes: int) -> None:
    case = Case("predgen", "math", "ordered", "parallel")
    model, token = make(case, "llama"), make(replace(case, sampling="token"), "llama")
    assert isinstance(model, PredGen)
    assert isinstance(token, PredGen)
    model.mode = Parallel(SamplingSetup("parallel", "math"), ParallelSettings(sampling_passes=passes))
    batch = collate(encode("math", codec_of("math")), char_level().pad_token_id)
    fed, wanted = fed_tokens(fed_in(model, batch, plan(0.5))), fed_tokens(fed_in(token, batch, plan(0.5)))
    gold = batch.answer_mask.sum(dim=1).tolist()
    # What stands behind the gold answer's end is not scored, and not written by `parallel`.
    same = [a == b[: n - 1] for a, b, n in zip(fed, wanted, gold, strict=True)]
    assert all(same) if passes == 16 else not all(same)


@pytest.mark.parametrize("sampling", ["token", "parallel"])
@pytest.mark.parametrize("director", ["ordered", "value"])
def test_math_losses_do_not_depend_on_activation_checkpointing(director: str, sampling: str) -> None:
    case = Case("predgen", "math", director, sampling)
    batch = collate(encode("math", codec_of("math")), char_level().pad_token_id)
    found = []
    for is_checkpointing in (False, True):
        model = make(case, "llama")
        assert isinstance(model, PredGen)
        if is_checkpointing:
            model.backbone.lm.activation_checkpointing_enable({"use_reentrant": False})
        model.train()
        assert model.backbone.drops_caches == is_checkpointing
        losses = model(batch, plan(0.5), "example")
        losses.total.backward()
        found.append((losses, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}))
    assert_same_losses(found[1][0], found[0][0], range(8))
    assert found[1][1].keys() == found[0][1].keys()
    norm = torch.stack([gradient.norm() for gradient in found[0][1].values()]).norm()
    assert all((gradient - found[1][1][name]).norm() <= 1e-5 * norm for name, gradient in found[0][1].items())


@pytest.mark.parametrize("path", ["tree", "paths", "step by step"])
@pytest.mark.parametrize("case", [replace(LINEAR, sampling="token"), replace(VALUE, sampling="token")], ids=str)
def test_weights_that_are_not_finite_give_losses_that_are_not(case: Case, path: str) -> None:
    # The trainer stops with a message about such losses; an illegal own token would hide what happened.
    model = model_for(case, "llama")
    if path == "paths":
        model.obstacle = "test"
    elif path == "step by step":
        sequential(model)
    with torch.no_grad():
        model.lm.lm_head.weight.fill_(float("nan"))
    losses = model(rows_for(case.kind), plan(1.0), "example")
    assert losses.total.isnan()

"""Prompts of many questions, run together: each is that of the question run alone, for whatever goes on from it."""

import pytest
import torch
from torch import Tensor

from one_by_one import ARCHITECTURES, padded, prompts
from other_models import CAPABLE, other_model
from predgen.engine.backbone import Backbone
from predgen.engine.prompt_pass import CachedPrompts, run_prompts
from predgen.engine.question_prompts import Continued, run_questions
from tiny_models import SLIDING_WINDOW, tiny_model

QUESTIONS = [
    Continued((0, 1, 2), ((10, 11), (10, 12, 11), ())),
    Continued((2, 0), ((10,), (10, 11, 13)), head=(5, 6)),
    Continued((1, 1), ((10, 12), (10, 12))),  # the same row twice, as soft labels have it
    Continued((0, 1, 2), ((), (), ()), head=(7,)),
]
BEHIND = torch.tensor([[20, 21]])


def model_of(name: str) -> torch.nn.Module:
    return other_model(name) if name in CAPABLE else tiny_model(name)


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.detach().abs().max().clamp(min=1)), rtol=0)


def seen(backbone: Backbone, known: CachedPrompts) -> list[Tensor]:
    """Everything that is read of prompts: states of real tokens, the tail, and what runs behind the cache."""
    ids = BEHIND.expand(len(known.mask), -1)
    mask = torch.cat([known.mask, torch.ones_like(ids, dtype=torch.bool)], dim=1)
    behind, _ = backbone.states(ids, mask, cache=known.fork().cache)
    return [known.states[known.mask], known.tail, behind]


def alone(backbone: Backbone, rows: list[list[int]], one: Continued) -> CachedPrompts:
    """The whole prompts of a question, each row as it is."""
    lines = [[*rows[row], *suffix] for row, suffix in zip(one.rows, one.suffixes, strict=True)]
    return run_prompts(backbone, *padded(lines), one.head)


@pytest.mark.parametrize("layout", [("left", 0), ("left", 3), ("right", 2)])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_prompts_run_together_are_those_of_each_question_with_their_gradients(
    name: str, layout: tuple[str, int]
) -> None:
    lm = model_of(name)
    backbone = Backbone(lm)
    if layout[0] == "right" and backbone.window is not None:
        pytest.skip("sliding attention counts columns")
    rows = prompts(lengths=(4, SLIDING_WINDOW + 3, 1))
    together = run_questions(backbone, *padded(rows, *layout), QUESTIONS)
    gradients = []
    for found in (together, [alone(backbone, rows, one) for one in QUESTIONS]):
        read = [states for known in found for states in seen(backbone, known)]
        lm.zero_grad()
        torch.stack([states.sin().sum() for states in read]).sum().backward()
        gradients.append((read, [p.grad.clone() for p in lm.parameters() if p.grad is not None]))
    (ours, by_ours), (theirs, by_theirs) = gradients
    for one, other in zip(ours, theirs, strict=True):
        assert_same(one, other)
    assert len(by_ours) == len(by_theirs) > 5
    norm = max(float(one.abs().max()) for one in by_theirs)
    assert norm > 1e-3
    for one, other in zip(by_ours, by_theirs, strict=True):
        assert_same(one / norm, other / norm)


@torch.no_grad()
def test_what_runs_behind_one_question_leaves_the_others_as_they_are() -> None:
    backbone = Backbone(tiny_model("llama"))
    together = run_questions(backbone, *padded(prompts()), QUESTIONS)
    before = [known.cache.get_seq_length() for known in together]
    first = seen(backbone, together[0])
    seen(backbone, together[1])
    assert [known.cache.get_seq_length() for known in together] == before
    for one, other in zip(seen(backbone, together[0]), first, strict=True):
        assert torch.equal(one, other)

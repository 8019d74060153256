"""Questions behind common prompts: run together once, then each question's prompts by themselves, as if they had been run alone.

A row's questions begin alike. That beginning is run once, the suffixes of all questions in one tree pass behind it. Keys and values of
a token follow from what stands before it on its way and from nothing else; so those of a question's own way, taken out of the pass,
are the cache of its whole prompt: whatever goes on from cached prompts goes on from it, with gradient where it is enabled.

    prompts -> run once -> suffixes of all questions: one tree pass -> per question: its columns -> `CachedPrompts`
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from predgen.engine.backbone import Backbone
from predgen.engine.chains import Chains
from predgen.engine.expansion import rectangle
from predgen.engine.prompt_pass import CachedPrompts, run_prompts
from predgen.engine.tree_pass import TreePass


@dataclass(frozen=True, slots=True)
class Continued:
    """One question, and the rows that are asked it.

    Attributes:
        rows: The rows, by their place among the prompts; a row may be asked more than once.
        suffixes: Of each, the tokens between what the row's questions have in common and the answer.
        head: Content tokens that every answer starts with; they are run along.
    """

    rows: tuple[int, ...]
    suffixes: tuple[tuple[int, ...], ...]
    head: tuple[int, ...] = ()


def run_questions(
    backbone: Backbone,
    prompt_ids: Int[Tensor, "R P"],
    prompt_mask: Bool[Tensor, "R P"],
    questions: Sequence[Continued],
) -> list[CachedPrompts]:
    """Run the prompts of all questions, with gradient where it is enabled; the base model runs trees.

    Args:
        backbone: The language model.
        prompt_ids: What each row's questions have in common, at least one token; see `run_prompts`.
        prompt_mask: True for prompt tokens.
        questions: The questions.

    Returns:
        The whole prompts of each question, in the order of its rows, padded on the left.
    """
    chains = [Chains() for _ in range(len(prompt_ids))]
    ways = [
        [chains[row].way(0, (*suffix, *one.head)) for row, suffix in zip(one.rows, one.suffixes, strict=True)]
        for one in questions
    ]
    shared = run_prompts(backbone, prompt_ids, prompt_mask)
    tree, states = TreePass(backbone, shared), shared.states
    if any(chain.tokens for chain in chains):
        tokens, parents = ([getattr(chain, name) for chain in chains] for name in ("tokens", "parents"))
        grown = tree.grow(rectangle(tokens).to(prompt_ids.device), rectangle(parents).to(prompt_ids.device))
        states = torch.cat([states, grown], dim=1)
    real = [mask.nonzero()[:, 0].tolist() for mask in prompt_mask]
    return [_own_prompts(tree.prompts, states, real, one, own) for one, own in zip(questions, ways, strict=True)]


def _own_prompts(
    whole: CachedPrompts,
    states: Float[Tensor, "R N H"],
    real: Sequence[Sequence[int]],
    one: Continued,
    ways: Sequence[Sequence[int]],
) -> CachedPrompts:
    """The prompts of one question.

    Args:
        whole: Common prompts, in a cache that holds the nodes of all questions, too.
        states: States of the prompts' columns and of the nodes behind them.
        real: Columns of each row's common prompt.
        one: The question.
        ways: Nodes of its suffix and head, in each of its rows.
    """
    # Gaps are closed: sliding attention counts columns where a mask says nothing but which are real. So real columns stand on the
    # right, in the order of their positions, and the last of them are the suffix's last one and the head.
    first = whole.mask.shape[1]
    columns = [[*real[row], *(first + node - 1 for node in way)] for row, way in zip(one.rows, ways, strict=True)]
    width = max(map(len, columns))
    device = whole.mask.device
    index = torch.tensor([[0] * (width - len(own)) + own for own in columns], device=device)  # Q width
    mask = torch.tensor([[False] * (width - len(own)) + [True] * len(own) for own in columns], device=device)
    is_each_once = [*one.rows] == [*range(len(real))]
    rows = torch.tensor(one.rows, device=device)
    cache = whole.fork(None if is_each_once else rows).with_columns(index).cache
    found = states[rows[:, None], index]
    return CachedPrompts(found, mask, found[:, width - 1 - len(one.head) :], cache)

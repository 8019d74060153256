"""The slow way to everything a tree pass says: each answer alone behind its prompt, no cache, no padding, no mask."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from other_models import CAPABLE, other_model
from predgen.codecs.base import FiniteSpace
from predgen.codecs.trie import Trie
from predgen.engine.answer_tree import AnswerTree
from predgen.engine.backbone import Backbone
from predgen.engine.level_pass import LevelPass
from predgen.engine.prompt_pass import run_prompts
from predgen.engine.tree_pass import FusedPass, JointPass, NodePass, PathPass, TreePass
from predgen.engine.walk import GoldFeed
from tiny_models import END_ID, FAMILIES, SLIDING_WINDOW, tiny_model

STOP = END_ID
PASSES = ("tree", "fused", "joint", "paths")
ARCHITECTURES = (*FAMILIES, *CAPABLE)
LENGTHS = (4, SLIDING_WINDOW + 5, 1)
Answer = tuple[int, ...]

# Few token ids, so that prefixes of others and shared beginnings are common.
_ends = st.lists(st.lists(st.integers(5, 8), max_size=3).map(tuple), min_size=1, max_size=6, unique=True)
answer_sets = st.tuples(st.lists(st.integers(5, 8), max_size=2).map(tuple), _ends).map(
    lambda drawn: [answer for end in drawn[1] if (answer := (*drawn[0], *end))]
)
answer_sets = answer_sets.filter(bool)


@functools.cache
def backbone_of(family: str, seed: int = 0, vocab_size: int = 128) -> Backbone:
    """A tiny model of any architecture that can run trees, for tests that do not change it."""
    if family in CAPABLE:
        return Backbone(other_model(family, seed))
    return Backbone(tiny_model(family, vocab_size, seed))


def prompts(seed: int = 0, lengths: Sequence[int] = LENGTHS, vocab_size: int = 128) -> list[list[int]]:
    """Random prompts."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(2, vocab_size, (length,), generator=generator).tolist() for length in lengths]


def padded(rows: Sequence[Sequence[int]], side: str = "left", extra: int = 0, pad: int = 99) -> tuple[Tensor, Tensor]:
    """Rows as a batch of token ids and mask."""
    width = max(map(len, rows)) + extra
    ids, mask = torch.full((len(rows), width), pad), torch.zeros((len(rows), width), dtype=torch.bool)
    for i, row in enumerate(rows):
        where = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[i, where], mask[i, where] = torch.tensor(list(row), dtype=torch.long), True
    return ids, mask


def start_pass(kind: str, backbone: Backbone, ids: Tensor, mask: Tensor, head: Sequence[int] = ()) -> NodePass:
    """One of the five passes over trie nodes."""
    if kind == "tree":
        return TreePass(backbone, run_prompts(backbone, ids, mask, head))
    return {"fused": FusedPass, "joint": JointPass, "levels": LevelPass, "paths": PathPass}[kind](
        backbone, ids, mask, head
    )


def spelled(space: FiniteSpace) -> list[Answer]:
    """All answers, by index, found through `legal` and `advance` alone."""
    found: dict[int | None, Answer] = {}
    stack: list[tuple[Answer, object]] = [((), space.start)]
    while stack:
        tokens, state = stack.pop()
        for token in space.legal(state):
            if token == space.stop:
                found[space.answer_at(state)] = tokens
            else:
                stack.append(((*tokens, token), space.advance(state, token)))
    return [found[index] for index in range(space.size)]


def prefixes_of(tree: AnswerTree) -> list[Answer]:
    """The tokens that each node of a tree's layout stands for, head included; the root's first."""
    layout = tree.layout(torch.device("cpu"))
    found = [tree.head]
    for token, parent in zip(layout.tokens.tolist(), layout.parents.tolist(), strict=True):
        found.append((*found[parent], token))
    return found


@dataclass
class OneByOne:
    """What full forwards over one prompt and each of its answers say.

    Attributes:
        log_probs: log P(a|X), in float64.
        full: log-probability of the answer and its stop under the softmax over the whole vocabulary.
        states: Prefix -> state at its last token; the empty one: at the prompt's last token.
        logits: Prefix -> logits of the next token.
    """

    log_probs: Tensor
    full: Tensor
    states: dict[Answer, Tensor]
    logits: dict[Answer, Tensor]

    def content(self, answer: Answer) -> Tensor:
        """States at the content tokens."""
        return torch.stack([self.states[answer[: t + 1]] for t in range(len(answer))])

    def greedy(self, answers: Sequence[Answer]) -> Answer:
        """What greedy writing ends with."""
        written: Answer = ()
        while True:
            legal = legal_after(written, answers)
            token = max(legal, key=lambda i: float(self.logits[written][i]))
            if token == STOP:
                return written
            written = (*written, token)


def legal_after(prefix: Answer, answers: Sequence[Answer]) -> list[int]:
    """Legal tokens, found by looking at all answers."""
    n = len(prefix)
    return sorted({(*answer, STOP)[n] for answer in answers if answer[:n] == prefix})


def score_plainly(lm: nn.Module, prompt: Sequence[int], answers: Sequence[Answer]) -> OneByOne:
    """Score answers one by one, with gradient where it is enabled."""
    states: dict[Answer, Tensor] = {}
    logits: dict[Answer, Tensor] = {}
    scores, full = [], []
    for answer in answers:
        ids = torch.tensor([[*prompt, *answer]])
        output = lm(input_ids=ids, use_cache=False, output_hidden_states=True)
        total = everything = torch.zeros((), dtype=torch.float64)
        for t, token in enumerate((*answer, STOP)):
            place = len(prompt) - 1 + t
            states[answer[:t]] = output.hidden_states[-1][0, place]
            logits[answer[:t]] = output.logits[0, place].double()
            after = logits[answer[:t]]
            total = total + after[token] - after[legal_after(answer[:t], answers)].logsumexp(0)
            everything = everything + after.log_softmax(0)[token]
        scores.append(total)
        full.append(everything)
    return OneByOne(torch.stack(scores), torch.stack(full), states, logits)


def gold_feed(answers: Sequence[Sequence[int]], use_own: Sequence[Sequence[bool]]) -> GoldFeed:
    """Right-padded gold answers (stop included) and where the own token is fed."""
    ids, mask = padded(answers, "right", pad=STOP)
    own, _ = padded([[int(flag) for flag in row] for row in use_own], "right", pad=0)
    return GoldFeed(ids, mask, own.bool())


def random_draws(answers: Sequence[Sequence[int]], seed: int, p: float = 0.5) -> GoldFeed:
    """Gold answers of which each token gives way to the model's own with probability `p`."""
    generator = torch.Generator().manual_seed(seed)
    return gold_feed(answers, [(torch.rand(len(a), generator=generator) < p).tolist() for a in answers])


def trie_of(answers: Sequence[Answer]) -> Trie:
    """Answers as a trie with the tiny models' stop."""
    return Trie(answers, STOP)

"""Many questions behind one prompt: their suffixes and tries as one tree, each question's figures those of the question alone.

A question is a suffix of the prompt and a set of answers. Its suffix is a forced path under the prompt's root, and its trie
hangs below. What a token's state is follows from the tokens on its way, and from nothing else; so two questions share the
nodes of a common beginning, and nothing beyond: a forest is the trie of all that is written behind the prompt.

    prompt -> Question -> : -> Urgent  -> ? -> (yes | no)
                            -> Which   -> team -> ? -> (sales | tech -> nical)

    asked of each row -> passes of at most `max_nodes` nodes -> `Grove`s -> `AnswerScores`, `expand`: as for one question
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from predgen.codecs.base import FiniteSpace
from predgen.engine.answer_tree import AnswerTree, shared_head
from predgen.engine.backbone import Backbone
from predgen.engine.chains import Chains
from predgen.engine.expansion import rectangle
from predgen.engine.level_pass import LevelPass
from predgen.engine.prompt_pass import SharedPrefix, run_prompts
from predgen.engine.scores import AnswerScores
from predgen.engine.tree_pass import FusedPass, JointPass, NodePass, PathPass, TreePass

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Answers:
    """What may be answered to a question; questions that share one are scored together.

    Attributes:
        space: The legal answers.
        tree: All of them, to be run in one pass; None for grids that are expanded level by level (`expansion.expand`).
    """

    space: FiniteSpace
    tree: AnswerTree | None

    @property
    def head(self) -> tuple[int, ...]:
        """Content tokens that every answer starts with."""
        return shared_head(self.space)[0] if self.tree is None else self.tree.head

    def nodes(self, *, everything: bool) -> tuple[list[int], list[int]]:
        """Tokens and parents of the nodes to run below the head, numbered from 1; see `AnswerTree`."""
        if self.tree is None:
            return [], []
        layout, count = self.tree.layout(_CPU), self.tree.n_nodes if everything else self.tree.n_scored
        return layout.tokens[:count].tolist(), layout.parents[:count].tolist()


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a row.

    Attributes:
        suffix: Tokens between what the row's questions have in common and the answer.
        answers: What may be answered.
    """

    suffix: tuple[int, ...]
    answers: Answers


def split_shared(prompts: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Split the prompts of a row's questions into what they have in common, and the suffix of each.

    Each prompt is tokenised as it is where its question is asked alone. Wherever a tokenizer joins the end of one text and the
    beginning of the next, that token then belongs to the suffix: no question sees other tokens than alone.

    Args:
        prompts: Token ids of each question's whole prompt, one or more.

    Example:
        >>> split_shared([(1, 2, 3, 4), (1, 2, 5)])
        ((1, 2), [(3, 4), (5,)])
    """
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))  # all others lie between them
    width = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:width], [tuple(prompt[width:]) for prompt in prompts]


class _Plan(Chains):
    """Nodes of some questions of a row, and where each question stands among them.

    Attributes:
        questions: Place of each question in the row.
        tails: Of each, the nodes of its suffix's last token and of its answers' head; the prompt's where there is no suffix.
        places: Of each, the node of its root and of its tree's nodes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.questions: list[int] = []
        self.tails: list[list[int]] = []
        self.places: list[list[int]] = []

    def add(self, question: int, one: Asked, everything: bool, limit: int) -> bool:
        """Take in a question, unless that makes more than `limit` nodes; the first one always fits."""
        before = len(self.tokens)
        end = [0, *self.way(0, one.suffix)][-1]
        tail = [end, *self.way(end, one.answers.head)]
        places = [tail[-1]]
        for token, parent in zip(*one.answers.nodes(everything=everything), strict=True):
            places.append(self.node(places[parent], token))
        if len(self.tokens) > limit and self.questions:
            self.forget(before)
            return False
        self.questions.append(question)
        self.tails.append(tail)
        self.places.append(places)
        return True


def _plans(asked: Sequence[Asked], everything: bool, max_nodes: int) -> list[_Plan]:
    """A row's questions in as few passes as their order by tokens gives; in what order they were asked changes nothing."""
    order = sorted(
        range(len(asked)), key=lambda i: (asked[i].suffix, asked[i].answers.head, _key(asked[i], everything))
    )
    plans = [_Plan()]
    for question in order:
        if not plans[-1].add(question, asked[question], everything, max_nodes):
            plans.append(_Plan())
            plans[-1].add(question, asked[question], everything, max_nodes)
    return plans if order else []


def _key(one: Asked, everything: bool) -> tuple[list[int], list[int]]:
    """Tells apart answers to the same suffix."""
    return one.answers.nodes(everything=everything)


def count_nodes(asked: Sequence[Asked], *, everything: bool = False) -> int:
    """Nodes of a row's questions together.

    Args:
        asked: The questions.
        everything: Count all content nodes, not only those that probabilities depend on.
    """
    return sum(len(plan.tokens) for plan in _plans(asked, everything, 1 << 62))


@dataclass(frozen=True, slots=True)
class Grove:
    """Questions of many rows that have the same answers: a batch, as if each stood alone behind its prompt.

    Attributes:
        backbone: The language model.
        answers: What may be answered.
        pairs: Row, and place among its questions, of each.
        nodes: The pass behind their prompts; its tail stands at the last token of the question's prompt and at the head.
        everything: Whether all content nodes are run.
    """

    backbone: Backbone
    answers: Answers
    pairs: tuple[tuple[int, int], ...]
    nodes: NodePass
    everything: bool

    def scores(self) -> AnswerScores:
        """What the pass says about each question, with gradient where it is enabled; needs a tree."""
        assert self.answers.tree is not None, "answers fit into one pass"
        return AnswerScores(self.backbone, self.nodes, self.answers.tree, everything=self.everything)


def run_forest(
    backbone: Backbone,
    prompt_ids: Int[Tensor, "B P"],
    prompt_mask: Bool[Tensor, "B P"],
    asked: Sequence[Sequence[Asked]],
    *,
    obstacle: str | None = None,
    prefix: SharedPrefix | None = None,
    everything: bool = False,
    max_nodes: int = 256,
) -> list[Grove]:
    """Run all questions of all rows behind one prefill of each row's prompt, with gradient where it is enabled.

    Where the base model runs no trees (`obstacle`), each question becomes a row of its own, with its whole prompt, and takes the
    way that such models have.

    Args:
        backbone: The language model.
        prompt_ids: What each row's questions have in common, padded on the left; on either side as `run_prompts` says.
        prompt_mask: True for prompt tokens.
        asked: Questions of each row; rows may have different ones.
        obstacle: Why the base model runs no trees (`Abilities`); None: it does.
        prefix: Tokens before `prompt_ids`, already run; not with an obstacle.
        everything: Run all content nodes, not only those that probabilities depend on.
        max_nodes: Most nodes of a row in one pass; a single question always takes one.

    Returns:
        A grove for each `Answers` object among the questions, in the order of the first that has it, rows from top to bottom.
    """
    assert prefix is None or obstacle is None, "what runs no trees shares no prefix"
    by_level = obstacle is not None and backbone.runs_levels
    if obstacle is not None and not by_level:
        return _alone(backbone, prompt_ids, prompt_mask, asked, everything)

    known: dict[tuple[Asked, ...], list[_Plan]] = {}
    for questions in asked:
        if tuple(questions) not in known:
            known[tuple(questions)] = _plans(questions, everything, max_nodes)
    plans = [known[tuple(questions)] for questions in asked]
    # Where one pass has all questions of all rows, the prompts are run along with it; else several passes read their cache.
    has_trees = not (by_level or backbone.drops_caches)
    is_fused = has_trees and backbone.takes_any_mask and all(len(of_row) == 1 for of_row in plans)
    prompts = run_prompts(backbone, prompt_ids, prompt_mask, (), prefix) if has_trees and not is_fused else None

    def start(rows: Int[Tensor, " R"]) -> NodePass:
        if by_level:
            return LevelPass(backbone, prompt_ids[rows], prompt_mask[rows])
        if is_fused:
            return FusedPass(backbone, prompt_ids, prompt_mask, (), prefix)
        if prompts is None:
            return JointPass(backbone, prompt_ids[rows], prompt_mask[rows])
        return TreePass(backbone, prompts if len(rows) == len(prompt_ids) else prompts.fork(rows))

    passes = []
    for index in range(max(map(len, plans), default=0)):
        rows = [row for row, of_row in enumerate(plans) if index < len(of_row)]
        passes.append(_Pass(start, rows, [plans[row][index] for row in rows], prompt_ids.device))
    return [
        Grove(backbone, answers, tuple(pairs), _GroveNodes(passes, set(pairs)), everything)
        for answers, pairs in _by_answers(_stands(passes), asked)
    ]


def _stands(passes: Sequence["_Pass"]) -> list[tuple[int, int]]:
    """Row and question of all questions, in the order in which passes run them."""
    return [pair for one in passes for pair in one.pairs]


def _by_answers(
    pairs: Iterable[tuple[int, int]], asked: Sequence[Sequence[Asked]]
) -> Iterable[tuple[Answers, list[tuple[int, int]]]]:
    """Questions grouped by the answers that they share."""
    groups: dict[int, tuple[Answers, list[tuple[int, int]]]] = {}
    for row, question in pairs:
        answers = asked[row][question].answers
        groups.setdefault(id(answers), (answers, []))[1].append((row, question))
    return groups.values()


def _alone(
    backbone: Backbone,
    prompt_ids: Int[Tensor, "B P"],
    prompt_mask: Bool[Tensor, "B P"],
    asked: Sequence[Sequence[Asked]],
    everything: bool,
) -> list[Grove]:
    """Each question as a row of its own."""
    prompts = [ids[real].tolist() for ids, real in zip(prompt_ids, prompt_mask, strict=True)]
    every = [(row, question) for row, of_row in enumerate(asked) for question in range(len(of_row))]
    groves = []
    for answers, pairs in _by_answers(every, asked):
        rows = [[*prompts[row], *asked[row][question].suffix] for row, question in pairs]
        width = max(map(len, rows))
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, width - len(row) :], mask[i, width - len(row) :] = torch.tensor(row), True
        nodes = PathPass(backbone, ids.to(prompt_ids.device), mask.to(prompt_ids.device), answers.head)
        groves.append(Grove(backbone, answers, tuple(pairs), nodes, everything))
    return groves


class _Pass:
    """Some questions of some rows, run together.

    Args:
        start: Starts a pass over nodes behind some rows' prompts.
        rows: The rows.
        plans: Nodes of each.
        device: Where token ids have to be.

    Attributes:
        nodes: The pass.
        states: States at the prompt's last token and at all nodes.
        pairs: Row and question of each question, row by row.
    """

    def __init__(
        self,
        start: Callable[[Tensor], NodePass],
        rows: Sequence[int],
        plans: Sequence[_Plan],
        device: torch.device,
    ) -> None:
        self.nodes = start(torch.tensor(rows, device=device))
        self.rows, self.plans = rows, plans
        self.pairs = [(row, question) for row, plan in zip(rows, plans, strict=True) for question in plan.questions]
        # In this order: prompts may be run along with the first nodes.
        grown = self._grow([plan.tokens for plan in plans], [plan.parents for plan in plans])
        self.states: Float[Tensor, "R N H"] = torch.cat([self.nodes.tail[:, -1:], *grown], dim=1)

    def add(self, tokens: Sequence[Sequence[int]], parents: Sequence[Sequence[int]]) -> None:
        """Grow nodes of all rows; short rows are padded with nodes that hang on the root, where nobody looks."""
        self.states = torch.cat([self.states, *self._grow(tokens, parents)], dim=1)

    def _grow(self, tokens: Sequence[Sequence[int]], parents: Sequence[Sequence[int]]) -> list[Tensor]:
        """States of new nodes; empty where no row has any."""
        if not any(tokens):
            return []
        device = self.nodes.parents.device
        return [self.nodes.grow(rectangle(tokens).to(device), rectangle(parents).to(device))]


@dataclass(slots=True)
class _Stand:
    """Where one question of a grove stands.

    Attributes:
        at: Its pass.
        row: Its row in there.
        tail: Nodes of its suffix's last token and of its head.
        nodes: Nodes of its root and of all nodes below it, in the grove's own count.
    """

    at: _Pass
    row: int
    tail: list[int]
    nodes: list[int]


class _GroveNodes(NodePass):
    """The nodes of a grove: its own count of nodes, on passes that hold those of other questions, too.

    Nodes that the passes have run are handed out by the first `grow`; those that come later are run behind them, in one forward
    for all questions of a pass.
    """

    def __init__(self, passes: Sequence[_Pass], pairs: set[tuple[int, int]]) -> None:
        self._stands: list[_Stand] = []
        for one in passes:
            for row, (number, plan) in enumerate(zip(one.rows, one.plans, strict=True)):
                for question, tail, places in zip(plan.questions, plan.tails, plan.places, strict=True):
                    if (number, question) in pairs:
                        self._stands.append(_Stand(one, row, tail, [*places]))
        device = passes[0].states.device
        self._ready = len(self._stands[0].nodes) - 1
        self.parents: Int[Tensor, "B N"] = torch.zeros(len(self._stands), 1, dtype=torch.long, device=device)

    @cached_property
    def tail(self) -> Float[Tensor, "B T H"]:
        """See `NodePass.tail`."""
        return self._states([stand.tail for stand in self._stands])

    def grow(self, tokens: Int[Tensor, "B M"], parents: Int[Tensor, "B M"]) -> Float[Tensor, "B M H"]:
        first, new = self.parents.shape[1], tokens.shape[1]
        self.parents = torch.cat([self.parents, parents], dim=1)
        if self._ready:  # the tree's nodes, asked for in its own order
            assert new == self._ready, "a grove's first nodes are those of its tree"
            self._ready = 0
        else:
            self._run(tokens, parents)
        return self._states([stand.nodes[first : first + new] for stand in self._stands])

    def keep(self, nodes: Int[Tensor, "B K"]) -> None:
        for stand, kept in zip(self._stands, self._renumber(nodes).tolist(), strict=True):
            stand.nodes = [stand.nodes[node] for node in kept]

    def _run(self, tokens: Int[Tensor, "B M"], parents: Int[Tensor, "B M"]) -> None:
        """Run new nodes: those of one row's questions side by side."""
        for one in {id(stand.at): stand.at for stand in self._stands}.values():
            new_tokens: list[list[int]] = [[] for _ in one.rows]
            new_parents: list[list[int]] = [[] for _ in one.rows]
            first = one.states.shape[1]
            for stand, of_tokens, of_parents in zip(self._stands, tokens.tolist(), parents.tolist(), strict=True):
                if stand.at is one:
                    for token, parent in zip(of_tokens, of_parents, strict=True):
                        new_parents[stand.row].append(stand.nodes[parent])
                        stand.nodes.append(first + len(new_tokens[stand.row]))
                        new_tokens[stand.row].append(token)
            one.add(new_tokens, new_parents)

    def _states(self, nodes: Sequence[Sequence[int]]) -> Float[Tensor, "B W H"]:
        """States at some nodes of each question, all of one number."""
        found = []
        for one in {id(stand.at): stand.at for stand in self._stands}.values():  # questions stand pass by pass
            mine = [i for i, stand in enumerate(self._stands) if stand.at is one]
            rows = torch.tensor([self._stands[i].row for i in mine], device=one.states.device)[:, None]
            places = torch.tensor([list(nodes[i]) for i in mine], dtype=torch.long, device=one.states.device)
            found.append(one.states[rows, places])
        return torch.cat(found)


def forest_log_probs(groves: Sequence[Grove], n_questions: Sequence[int]) -> list[list[Float[Tensor, " A"]]]:
    """Log P(answer | prompt, question) of every answer to every question of every row, in the order in which they were asked.

    Args:
        groves: What `run_forest` returned; all have trees.
        n_questions: Questions of each row.
    """
    found: dict[tuple[int, int], Tensor] = {}
    for grove in groves:
        found |= zip(grove.pairs, grove.scores().log_probs, strict=True)
    return [[found[row, question] for question in range(count)] for row, count in enumerate(n_questions)]

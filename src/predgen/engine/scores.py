"""Exact probabilities of every answer of a trie, and what follows from them: own tokens, states, expectations."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from predgen.engine.answer_tree import AnswerTree, Layout, answer_log_probs, choice_log_probs
from predgen.engine.backbone import Backbone
from predgen.engine.tree_pass import NodePass
from predgen.engine.walk import GoldFeed, Walk


class AnswerScores:
    """What one pass over a trie says about a batch of prompts.

    Args:
        backbone: The language model.
        nodes: A pass that has grown no nodes yet.
        tree: The answers; `nodes` was made with its head.
        everything: Run all content nodes, not only those that probabilities depend on.

    Attributes:
        tree: The answers.
        log_probs: log P(a|X) of every answer: what constrained decoding follows; sums to 1 over the answers (docs/concepts.md, tree pass).
    """

    def __init__(self, backbone: Backbone, nodes: NodePass, tree: AnswerTree, *, everything: bool = False) -> None:
        self.backbone = backbone
        self.tree = tree
        self._nodes = nodes
        self._n_grown = tree.n_nodes if everything else tree.n_scored
        states = self._grow()
        self._table = torch.cat([nodes.tail[:, -1:], states], dim=1)  # B (1 + n_grown) H
        logits = backbone.logits_of(self._table[:, self.layout.branches], self.layout.alphabet)
        self._choices = choice_log_probs(logits, self.layout)  # B R U
        self.log_probs: Float[Tensor, "B A"] = answer_log_probs(self._choices, self.layout)

    @property
    def layout(self) -> Layout:
        """The tree's tensors."""
        return self.tree.layout(self._nodes.parents.device)

    @property
    def prompt_states(self) -> Float[Tensor, "B H"]:
        """States at the prompts' last tokens."""
        return self._nodes.tail[:, 0]

    def _grow(self) -> Float[Tensor, "B N H"]:
        """States of the tree's nodes, in its order."""
        batch = len(self._nodes.parents)
        tokens, parents = (t[: self._n_grown].expand(batch, -1) for t in (self.layout.tokens, self.layout.parents))
        return self._nodes.grow(tokens, parents) if self._n_grown else self._nodes.tail[:, :0]

    def walk(self, gold: GoldFeed | None = None) -> Walk:
        """Feed greedy own tokens (or gold ones, where `gold` says so) node by node, without a further forward."""
        best = self.layout.alphabet[self._best()].tolist()  # B R
        space, branch_of = self.tree.space, self.tree.branch_of
        walk = Walk(space, len(best), gold)

        def own(row: int) -> int:
            """Best legal token where a row stands."""
            if not walk.is_open[row]:
                return space.stop
            branch = branch_of.get(walk.states[row])
            return best[row][branch] if branch is not None else (space.legal(walk.states[row]) or (space.stop,))[0]

        while walk.step([own(row) for row in range(len(best))]):
            pass
        return walk

    def greedy(self) -> Int[Tensor, " B"]:
        """Index of the answer that greedy writing, node by node, ends with."""
        # The greedy answer is the one on whose way each choice is the best of its branch. `choices` (A D) names an answer's
        # choices by their place in the flattened (branch, alphabet) table; the place behind the table, which stands for
        # none, is always best. Answers fork at branches, so that there is exactly one.
        is_best = torch.zeros_like(self._choices, dtype=torch.bool)  # B R U
        is_best.scatter_(2, self._best()[..., None], True)
        flat = torch.cat([is_best.flatten(1), is_best.new_ones(len(is_best), 1)], dim=1)  # B (R * U + 1)
        return flat[:, self.layout.choices].all(dim=2).long().argmax(dim=1)

    def _best(self) -> Int[Tensor, "B R"]:
        """The best legal token at each branch, as its place in the alphabet."""
        if not self.tree.branch_of:  # a trie of one answer has no choices
            return torch.zeros(len(self._choices), 0, dtype=torch.long, device=self._choices.device)
        # Weights that are not finite make every choice nan, illegal ones too.
        return self._choices.masked_fill(~self.layout.legal, -torch.inf).argmax(dim=2)

    def content_states(self, answers: Int[Tensor, " B"]) -> tuple[Float[Tensor, "B C H"], Bool[Tensor, "B C"]]:
        """States at the content tokens of one answer per row, head included; what was not run yet is run now."""
        # `content` numbers an answer's nodes (B C, padded), and `_table` holds the states of those that were run: column 0 the
        # root, column i node i <= n_grown. Scored nodes come first and a node's ancestors are scored with it, so the nodes
        # of an answer that are missing are the last ones on its way, a chain below the last one that is known. Chains of all
        # rows are grown at once, `missing` nodes long (the longest; shorter rows repeat a node, which nobody reads), and
        # stand behind the table: the k-th missing node of a row in column n_grown + 1 + k.
        content, mask = self.layout.content[answers], self.layout.content_mask[answers]  # B C
        is_known = mask & (content <= self._n_grown)
        known = is_known.sum(dim=1)
        missing = int((mask.sum(dim=1) - known).max()) if len(answers) else 0
        table, index = self._table, content
        if missing:
            columns = known[:, None] + torch.arange(missing, device=content.device)
            chain = content.gather(1, columns.clamp(max=content.shape[1] - 1)).clamp(min=1)  # B missing, node numbers
            first = self._nodes.parents.shape[1]
            parents = torch.arange(first - 1, first - 1 + missing, device=content.device).repeat(len(answers), 1)
            # Each hangs on the one before it, in the pass's own count; the first one on the last known node, or the root.
            parents[:, 0] = torch.where(known > 0, content.gather(1, (known - 1).clamp(min=0)[:, None])[:, 0], 0)
            table = torch.cat([table, self._nodes.grow(self.layout.tokens[chain - 1], parents)], dim=1)
            place = torch.arange(content.shape[1], device=content.device) - known[:, None] + self._n_grown + 1
            index = torch.where(is_known, content, torch.where(mask, place, 0))
        states = table.gather(1, index[..., None].expand(-1, -1, table.shape[2]))
        return self._with_head(states, mask)

    def all_content_states(self) -> tuple[Float[Tensor, "B A C H"], Bool[Tensor, "A C"]]:
        """States at the content tokens of every answer, head included; needs `everything`."""
        assert self._n_grown == self.tree.n_nodes, "made without `everything`"
        head = self._nodes.tail[:, 1:]  # B D H
        states = torch.cat(
            [head[:, None].expand(-1, self.tree.size, -1, -1), self._table[:, self.layout.content]], dim=2
        )
        mask = torch.cat(
            [self.layout.content_mask.new_ones(self.tree.size, head.shape[1]), self.layout.content_mask], dim=1
        )
        return states, mask

    def predicting_states(self, answers: Int[Tensor, " B"]) -> Float[Tensor, "B T H"]:
        """States that predict the tokens of one answer per row, the stop's included; needs `everything`."""
        assert self._n_grown == self.tree.n_nodes, "made without `everything`"
        index = self.layout.content[answers]
        states = self._table.gather(1, index[..., None].expand(-1, -1, self._table.shape[2]))
        return torch.cat([self._nodes.tail, states], dim=1)

    def _with_head(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Put the head's states before an answer's own."""
        head = self._nodes.tail[:, 1:]
        return torch.cat([head, states], dim=1), torch.cat([mask.new_ones(head.shape[:2]), mask], dim=1)

    def full_vocabulary_log_probs(self) -> Float[Tensor, "B A"]:
        """Log-probability of every answer under the softmax over the whole vocabulary; needs `everything`.

        The sum of their exponentials is the legal mass: what a model that was free to write anything would give to legal
        answers. One vocabulary-wide row is computed at a time for each node.
        """
        assert self._n_grown == self.tree.n_nodes, "made without `everything`"
        # log P(a) = log P(head) + sum over the answer's nodes of log P(node's token | parent) + log P(stop | last node).
        # The scores of the few tokens that occur (U of them: the nodes' and the stop) come for all nodes at once, B (1 + N) U;
        # only their normaliser needs the whole vocabulary, and is taken node by node, B V at a time.
        #
        #   entering  B (1 + N)   log P(token of node i | its parent); column 0, the root, is 0
        #   stopping  B (1 + N)   log P(stop | node i)
        layout, space = self.layout, self.tree.space
        batch, width = self._table.shape[:2]
        log_z = torch.stack([self.backbone.logits(self._table[:, i]).logsumexp(dim=1) for i in range(width)], dim=1)
        tokens = torch.cat([layout.tokens, torch.tensor([space.stop], device=layout.tokens.device)])
        unique, place = torch.unique(tokens, return_inverse=True)
        logits = self.backbone.logits_of(self._table, unique)  # B (1 + N) U
        entering = logits[:, layout.parents, place[:-1]] - log_z[:, layout.parents]  # B N
        stopping = logits[:, :, place[-1]] - log_z  # B (1 + N)
        entering = torch.cat([entering.new_zeros(batch, 1), entering], dim=1)
        ends = (layout.content_mask.sum(dim=1, keepdim=True) - 1).clamp(min=0)
        padded = torch.cat([layout.content, layout.content.new_zeros(self.tree.size, 1)], dim=1)
        last = padded.gather(1, ends)[:, 0]  # the root, where an answer is the head alone
        inner = torch.where(layout.content_mask, entering[:, layout.content], 0.0).sum(dim=2)
        return self._head_log_prob()[:, None] + inner + stopping[:, last]

    def _head_log_prob(self) -> Float[Tensor, " B"]:
        """Full-vocabulary log-probability of the head's tokens."""
        total = self._table.new_zeros(len(self._table), dtype=torch.float32)
        for i, token in enumerate(self.tree.head):
            total = total + self.backbone.logits(self._nodes.tail[:, i]).log_softmax(dim=1)[:, token]
        return total

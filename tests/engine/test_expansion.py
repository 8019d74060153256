import copy
import functools
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from one_by_one import FAMILIES, PASSES, STOP, backbone_of, padded, prompts, start_pass
from predgen.codecs.number import NumberCodec
from predgen.codecs.number_grid import NumberGrid
from predgen.codecs.number_space import NumberSpace
from predgen.codecs.scientific_space import ScientificSpace
from predgen.distribution import Distribution
from predgen.engine.answer_tree import AnswerTree, shared_head
from predgen.engine.backbone import Backbone
from predgen.engine.expansion import Expansion, _Prefix, expand
from predgen.engine.scores import AnswerScores
from predgen.engine.tree_pass import NodePass, TreePass
from predgen.models.answers import distribution_of, distribution_of_expansion
from predgen.target_scale import TargetScale
from tiny_models import tiny_model

CHARACTERS = {character: 20 + index for index, character in enumerate("0123456789.-+e")}
QUICK = settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
SPACES = {
    "unsigned": NumberSpace(0, 300, 2, CHARACTERS, (4,), STOP),
    "signed": NumberSpace(-137, 88, 1, CHARACTERS, (4,), STOP),
    "negative": NumberSpace(-219, -100, 0, CHARACTERS, (), STOP),
    "narrow": NumberSpace(995, 1012, 1, CHARACTERS, (), STOP),
    "scientific": ScientificSpace(0, 290, 2, -1, CHARACTERS, (4,), STOP),
    "scientific, signed": ScientificSpace(-21, 120, 1, -12, CHARACTERS, (), STOP),
}
BOUNDS = (0.0, 1e-6, 0.01, 0.1, 0.5)


class Sharp(Backbone):
    """A writer whose logits are multiplied: above 1 peaked, below 1 flat."""

    def __init__(self, lm: torch.nn.Module, sharpness: float) -> None:
        super().__init__(lm)
        self.sharpness = sharpness

    def logits_of(self, states: Tensor, tokens: Tensor) -> Tensor:
        return super().logits_of(states, tokens) * self.sharpness


def sharp(family: str, sharpness: float) -> Sharp:
    return Sharp(backbone_of(family).lm, sharpness)


def codec_of(space: NumberGrid) -> NumberCodec:
    return NumberCodec(space, (space.number(space.low), space.number(space.high)), 0.0)


def expanded(
    backbone: Backbone,
    space: NumberGrid,
    bound: float,
    nodes_per_pass: int = 256,
    kind: str = "tree",
    seed: int = 0,
    lengths: tuple[int, ...] = (4, 21, 1),
    max_nodes: int = 10**6,
) -> list[Expansion]:
    nodes = start_pass(kind, backbone, *padded(prompts(seed, lengths)), shared_head(space)[0])
    return expand(backbone, nodes, space, bound, nodes_per_pass, max_nodes)


@torch.no_grad()
def enumerated(backbone: Backbone, space: NumberGrid, seed: int = 0) -> Tensor:
    """Probability of every number from one pass over the whole tree, in float64."""
    tree = AnswerTree(space)
    nodes = start_pass("tree", backbone, *padded(prompts(seed, (4, 21, 1))), tree.head)
    return AnswerScores(backbone, nodes, tree).log_probs.double().softmax(dim=1)


def check_row(row: Expansion, exact: np.ndarray, space: NumberGrid, bound: float) -> Distribution:
    """Everything that is promised of one row."""
    left = sum(prefix.mass for prefix in row.pending)
    assert left <= bound + 1e-9
    for index, mass in row.answers.items():
        assert mass == pytest.approx(exact[index], abs=1e-5)
    assert sum(row.answers.values()) + left == pytest.approx(1.0, abs=1e-9)
    covered = {*row.answers}
    for prefix in row.pending:  # what is pending covers the rest, each number once
        lowest, highest = space.range_of(prefix.state)
        below = range(lowest - space.low, highest - space.low + 1)
        assert prefix.mass == pytest.approx(exact[list(below)].sum(), abs=1e-5)
        assert not covered & {*below}
        covered |= {*below}
    assert covered == {*range(space.size)}
    return check_distribution(row, exact, codec_of(space))


def check_distribution(row: Expansion, exact: np.ndarray, codec: NumberCodec) -> Distribution:
    """What is promised of the distribution that callers see."""
    ours, whole = distribution_of_expansion(codec, row, TargetScale()), distribution_of(codec, exact, 0, TargetScale())
    assert ours.probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert (np.diff(ours.support) > 0).all()
    assert ours.unexpanded == pytest.approx(sum(prefix.mass for prefix in row.pending), abs=1e-12)
    assert abs(ours.mean() - whole.mean()) <= ours.mean_error + 1e-5 * max(1.0, np.abs(codec.grid).max())
    best = np.sort(exact)[-2:]
    if best[1] - best[0] > 1e-5:
        assert ours.mode() == whole.mode() == codec.grid[exact.argmax()]
    for level in (0.01, 0.1, 0.25, 0.5, 0.77, 0.99):
        # Cumulated probabilities are off by at most `unexpanded`; float32 adds 1e-5.
        slack = ours.unexpanded + 1e-5
        assert (
            whole.quantile(max(0.0, level - slack)) <= ours.quantile(level) <= whole.quantile(min(1.0, level + slack))
        )
    return ours


@given(
    st.sampled_from(sorted(SPACES)),
    st.sampled_from(FAMILIES),
    st.sampled_from([0.02, 0.3, 1.0, 3.0]),
    st.sampled_from(BOUNDS) | st.floats(1e-6, 0.5),
    st.integers(0, 10**6),
)
@QUICK
def test_bounds_hold_and_expanded_numbers_are_exact(
    name: str, family: str, sharpness: float, bound: float, seed: int
) -> None:
    backbone, space = sharp(family, sharpness), SPACES[name]
    exact = enumerated(backbone, space, seed).numpy()
    for row, probabilities in zip(expanded(backbone, space, bound, seed=seed), exact, strict=True):
        check_row(row, probabilities, space, bound)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("kind", PASSES)
def test_bound_zero_is_exact_enumeration(kind: str, name: str) -> None:
    space = SPACES[name] if kind == "tree" else NumberSpace(-13, 4, 1, CHARACTERS, (4,), STOP)
    backbone = sharp("llama", 0.2)
    exact = enumerated(backbone, space)
    assert exact.std(dim=1).min() > 1e-4  # not flat
    for row, probabilities in zip(expanded(backbone, space, 0.0, kind=kind), exact, strict=True):
        assert not row.pending
        assert row.nodes == AnswerTree(space).n_scored
        found = torch.tensor([row.answers[index] for index in range(space.size)], dtype=torch.float64)
        torch.testing.assert_close(found, probabilities, atol=1e-6, rtol=1e-4)
        numbers = distribution_of_expansion(codec_of(space), row, TargetScale())
        assert (numbers.unexpanded, numbers.mean_error, len(numbers.support)) == (0.0, 0.0, space.size)


@pytest.mark.parametrize("sharpness", [0.05, 1.0])
@pytest.mark.parametrize("name", SPACES)
def test_a_looser_bound_never_costs_more(name: str, sharpness: float) -> None:
    backbone, space = sharp("qwen3", sharpness), SPACES[name]
    costs = [[row.nodes for row in expanded(backbone, space, bound)] for bound in BOUNDS]
    for tighter, looser in itertools.pairwise(costs):
        assert all(less <= more for less, more in zip(looser, tighter, strict=True))


@pytest.mark.parametrize("name", SPACES)
def test_a_peaked_writer_leaves_most_of_a_grid_unexpanded(name: str) -> None:
    # Bound 0.5: at each level the most probable prefixes that make up half of the mass.
    space = SPACES[name]
    assert all(row.nodes == AnswerTree(space).n_scored for row in expanded(sharp("qwen3", 5.0), space, 0.0))
    assert all(row.nodes < AnswerTree(space).n_scored / 2 for row in expanded(sharp("qwen3", 5.0), space, 0.5))


@pytest.mark.parametrize("nodes_per_pass", [1, 2, 7])
@pytest.mark.parametrize("bound", [0.0, 0.05])
def test_small_passes_find_the_same_as_large_ones(bound: float, nodes_per_pass: int) -> None:
    backbone, space = sharp("gpt2", 0.3), NumberSpace(-37, 48, 1, CHARACTERS, (4,), STOP)
    for small, large in zip(
        expanded(backbone, space, bound, nodes_per_pass), expanded(backbone, space, bound, 10_000), strict=True
    ):
        assert small.answers.keys() == large.answers.keys()
        assert small.nodes == large.nodes
        assert list(small.answers.values()) == pytest.approx([large.answers[k] for k in small.answers], abs=1e-6)
        pending = {prefix.state: prefix.mass for prefix in large.pending}
        assert {prefix.state: prefix.mass for prefix in small.pending} == pytest.approx(pending, abs=1e-6)


def test_no_forward_runs_more_nodes_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, widths = sharp("llama", 0.3), []
    own = Backbone.masked_states

    def watched(self: Backbone, ids: Tensor, *rest: object, **named: object) -> Tensor:
        widths.append(ids.shape[1])
        return own(self, ids, *rest, **named)

    monkeypatch.setattr(Backbone, "masked_states", watched)
    expanded(backbone, SPACES["unsigned"], 0.0, nodes_per_pass=4)
    assert max(widths) <= 4
    assert len(widths) > 5


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    backbone, space = sharp("llama", 0.5), SPACES["signed"]
    together = expanded(backbone, space, 0.02)
    rows = prompts(0, (4, 21, 1))
    for row, prompt in zip(together, rows, strict=True):
        nodes = start_pass("tree", backbone, *padded([prompt], "right", 3), shared_head(space)[0])
        (alone,) = expand(backbone, nodes, space, 0.02, 256, 10**6)
        assert alone.answers == pytest.approx(row.answers, abs=1e-5)
        assert alone.nodes == row.nodes
    assert len({row.nodes for row in together}) > 1  # rows need different numbers of nodes


@functools.cache
def peaked() -> Sharp:
    """A writer that is almost sure of every digit."""
    return Sharp(tiny_model("llama"), 40.0)


def allow_nodes(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail, instead of running for hours, where a row needs more nodes."""
    own = TreePass.grow

    def counted(self: TreePass, tokens: Tensor, parents: Tensor) -> Tensor:
        assert self.parents.shape[1] + tokens.shape[1] - 1 <= most, "too many nodes"
        return own(self, tokens, parents)

    monkeypatch.setattr(TreePass, "grow", counted)


@pytest.mark.parametrize(("low", "high"), [(0, 10**9), (-(10**9), 10**9), (0, 10**9 - 1), (-(10**9) + 1, 10**9 - 1)])
def test_a_billion_numbers_are_expanded_in_bounded_work(low: int, high: int, monkeypatch: pytest.MonkeyPatch) -> None:
    space = NumberSpace(low, high, 3, CHARACTERS, (4,), STOP)
    allow_nodes(200, monkeypatch)
    for bound in (1e-2, 0.1):
        for row in expanded(peaked(), space, bound):
            assert sum(prefix.mass for prefix in row.pending) <= bound
            assert row.answers
            numbers = distribution_of_expansion(codec_of(space), row, TargetScale())
            assert numbers.mean_error <= bound * (space.high - space.low) / 1000
            assert numbers.probabilities.sum() == pytest.approx(1.0, abs=1e-12)
            assert numbers.mode() == codec_of(space).value_at(max(row.answers, key=row.answers.__getitem__))


def test_the_mode_is_found_under_any_bound() -> None:
    # Even where all of the mass may stay unexpanded, some number outweighs every prefix.
    for sharpness in (0.02, 1.0):
        backbone, space = sharp("llama", sharpness), SPACES["signed"]
        exact = enumerated(backbone, space)
        for row, probabilities in zip(expanded(backbone, space, 1.0), exact, strict=True):
            assert max(row.answers, key=row.answers.__getitem__) == int(probabilities.argmax())
            assert all(prefix.mass <= max(row.answers.values()) for prefix in row.pending)


def test_a_flat_writer_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # 0.0 .. 3.9: all tokens equally probable: 1/4 for each first digit, 1/40 for each number.
    space = NumberSpace(0, 39, 1, CHARACTERS, (), STOP)
    backbone = copy.copy(backbone_of("llama"))
    monkeypatch.setattr(
        Backbone, "logits_of", lambda self, states, tokens: torch.zeros(*states.shape[:-1], len(tokens))
    )
    for row in expanded(backbone, space, 0.0):
        assert row.answers == pytest.approx(dict.fromkeys(range(40), 1 / 40), abs=1e-12)
        assert row.nodes == 4 * 2  # each first digit and its point
    # Two of the four first digits may stay: 0.5 of the mass. But 1/4 outweighs 1/40: all four are expanded.
    assert [row.nodes for row in expanded(backbone, space, 0.5)] == [8, 8, 8]
    numbers = distribution_of_expansion(codec_of(space), expanded(backbone, space, 0.0)[0], TargetScale())
    assert numbers.mean() == pytest.approx(1.95, abs=1e-12)
    assert (numbers.quantile(0.25), numbers.median(), numbers.mode()) == (0.9, 1.9, 0.0)


class ByHand(Backbone):
    """P("0") = 0.9, P("1") = 0.1 of 0..19, two digits; below "0" the number 3 has 0.8 of it, the others share the rest."""

    asked = False

    def logits_of(self, states: Tensor, tokens: Tensor) -> Tensor:
        is_root = states.shape[1] == 1 and not self.asked
        self.asked = True
        wanted = {20: 0.9, 21: 0.1} if is_root else {20 + d: 0.8 if d == 3 else 0.2 / 9 for d in range(10)}
        values = [math.log(wanted.get(token, 1e-9)) for token in tokens.tolist()]
        return torch.tensor(values).expand(*states.shape[:2], -1)


def test_what_is_unexpanded_is_spread_over_its_interval_by_hand() -> None:
    space = NumberSpace(0, 19, 0, CHARACTERS, (), STOP)
    (row,) = expanded(ByHand(tiny_model("llama")), space, 0.2, lengths=(4,))
    assert row.answers == pytest.approx({d: 0.9 * (0.8 if d == 3 else 0.2 / 9) for d in range(10)}, abs=1e-6)
    assert [(prefix.state.digits, prefix.tokens) for prefix in row.pending] == [(1, (21,))]
    assert not row.is_cut
    numbers = distribution_of_expansion(codec_of(space), row, TargetScale())
    assert numbers.unexpanded == pytest.approx(0.1, abs=1e-6)
    # 10 .. 19 have 0.1 together: 0.01 each, and the middle of their interval, 14.5, is 4.5 from its ends.
    assert numbers.support.tolist() == [*map(float, range(20))]
    assert numbers.probabilities[10:].tolist() == pytest.approx([0.01] * 10, abs=1e-6)
    assert numbers.mean_error == pytest.approx(0.1 * 4.5, abs=1e-6)
    # 0.9 * (0.8 * 3 + 0.2 / 9 * 42) + 0.1 * 14.5, with 42 = 0 + 1 + ... + 9 - 3
    assert numbers.mean() == pytest.approx(0.9 * (2.4 + 0.2 / 9 * 42) + 1.45, abs=1e-5)
    assert (numbers.quantile(0.955), numbers.quantile_bounds(0.955)) == (15.0, (10.0, 19.0))
    assert numbers.quantile_bounds(0.5) == (3.0, 3.0)
    assert numbers.mode() == 3.0


def test_a_little_mass_stands_in_the_middle_and_much_of_it_in_steps() -> None:
    space = NumberSpace(0, 99, 0, CHARACTERS, (), STOP)
    states = [space.advance(space.start, CHARACTERS[digit]) for digit in "12"]
    row = Expansion({0: 0.9965}, [_Prefix(m, s, 0, ()) for m, s in zip((0.001, 0.0025), states, strict=True)])
    numbers = distribution_of_expansion(codec_of(space), row, TargetScale())
    # 20..29 in three steps, at the middles of thirds; (2 * 10 - 1) // 6 = 3 in.
    assert numbers.support.tolist() == [0.0, 14.0, 21.0, 24.0, 28.0]
    assert numbers.probabilities.tolist() == pytest.approx([0.9965, 0.001, *[0.0025 / 3] * 3], abs=1e-12)


HUGE = {
    "fixed": NumberSpace(0, 10**12, 2, CHARACTERS, (4,), STOP),
    "scientific": ScientificSpace(-(10**9), 10**9, 7, -12, CHARACTERS, (4,), STOP),
}


def flat(monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A writer to whom all tokens are equally probable."""
    monkeypatch.setattr(
        Backbone, "logits_of", lambda self, states, tokens: torch.zeros(*states.shape[:-1], len(tokens))
    )
    return copy.copy(backbone_of("llama"))


@pytest.mark.parametrize("name", HUGE)
def test_a_flat_writer_over_any_range_keeps_the_budget_and_says_what_is_left(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = HUGE[name]
    allow_nodes(150 + space.length, monkeypatch)
    for row in expanded(flat(monkeypatch), space, 1e-3, nodes_per_pass=64, max_nodes=150):
        assert row.is_cut
        assert row.nodes <= 150 + space.length
        numbers = distribution_of_expansion(codec_of(space), row, TargetScale())
        assert numbers.is_cut
        assert numbers.unexpanded > 1e-3
        assert numbers.probabilities.sum() == pytest.approx(1.0, abs=1e-9)
        assert (np.diff(numbers.support) > 0).all()
        assert numbers.mode() in [codec_of(space).value_at(index) for index in row.answers]
        for level in (0.05, 0.5, 0.95):
            low, high = numbers.quantile_bounds(level)
            assert low <= numbers.quantile(level) <= high


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("budget", [0, 3, 10, 40])
def test_what_a_budget_leaves_is_bounded(name: str, budget: int) -> None:
    backbone, space = sharp("llama", 0.3), SPACES[name]
    exact = enumerated(backbone, space).numpy()
    for row, probabilities in zip(expanded(backbone, space, 0.0, max_nodes=budget), exact, strict=True):
        assert row.nodes <= budget + space.length
        assert row.is_cut == bool(row.pending)
        assert row.answers  # there is a number to state
        for index, mass in row.answers.items():
            assert mass == pytest.approx(probabilities[index], abs=1e-5)
        ours = distribution_of_expansion(codec_of(space), row, TargetScale())
        whole = distribution_of(codec_of(space), probabilities, 0, TargetScale())
        assert abs(ours.mean() - whole.mean()) <= ours.mean_error + 1e-4 * max(1.0, np.abs(ours.support).max())
        for level in (0.05, 0.25, 0.5, 0.75, 0.95):
            low, high = ours.quantile_bounds(level)
            assert low <= ours.quantile(level) <= high
            assert whole.quantile(max(0.0, level - 1e-4)) <= high
            assert whole.quantile(min(1.0, level + 1e-4)) >= low


@pytest.mark.parametrize("name", SPACES)
def test_a_spent_budget_states_a_number_no_less_probable_than_the_greedy_one(name: str) -> None:
    backbone, space = sharp("llama", 0.3), SPACES[name]
    tree = AnswerTree(space)
    nodes = start_pass("tree", backbone, *padded(prompts(0, (4, 21, 1))), tree.head)
    greedy = AnswerScores(backbone, nodes, tree).greedy().tolist()
    exact = enumerated(backbone, space).numpy()
    found = [max(row.answers, key=row.answers.__getitem__) for row in expanded(backbone, space, 0.0, max_nodes=0)]
    for row, (stated, written) in enumerate(zip(found, greedy, strict=True)):
        assert exact[row, stated] >= exact[row, written] - 1e-6


@pytest.mark.parametrize("kind", PASSES)
def test_finished_nodes_are_dropped_and_nothing_changes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    space = SPACES["unsigned"] if kind == "tree" else NumberSpace(-43, 48, 1, CHARACTERS, (4,), STOP)
    backbone, widths = sharp("gpt2", 0.3), []
    own = NodePass._lineage

    def watched(self: NodePass, parents: Tensor) -> object:
        found = own(self, parents)
        widths.append(self.parents.shape[1] - 1)
        return found

    monkeypatch.setattr(NodePass, "_lineage", watched)
    few = expanded(backbone, space, 0.0, 4, kind)
    dropping, widths[:] = max(widths), []
    monkeypatch.setattr(NodePass, "keep", None)
    many = expanded(backbone, space, 0.0, 10**6, kind)
    for small, large in zip(few, many, strict=True):
        assert small.answers == pytest.approx(large.answers, abs=1e-6)
        assert small.nodes == large.nodes
    assert dropping <= max(widths)


@pytest.mark.parametrize("kind", PASSES)
def test_children_of_kept_nodes_are_what_they_would_have_been(kind: str) -> None:
    backbone = backbone_of("qwen3")
    ids, mask = padded(prompts(0, (4, 9)))
    tokens, parents = torch.tensor([[5, 6, 7, 8]] * 2), torch.tensor([[0, 0, 1, 2]] * 2)  # 1, 2; 3 on 1; 4 on 2
    whole, pruned = (start_pass(kind, backbone, ids, mask, (4,)) for _ in range(2))
    for nodes in (whole, pruned):
        nodes.grow(tokens, parents)
    pruned.keep(torch.tensor([[2, 4], [1, 0]]))  # the second row keeps one node
    assert pruned.parents.tolist() == [[0, 0, 1], [0, 0, 0]]
    more = torch.tensor([[9, 10]] * 2)
    expected = whole.grow(more, torch.tensor([[4, 2], [1, 1]]))
    found = pruned.grow(more, torch.tensor([[2, 1], [1, 1]]))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_expansion_keeps_no_graph() -> None:
    nodes = start_pass("tree", backbone_of("llama"), *padded(prompts()), (4,))
    expand(backbone_of("llama"), nodes, SPACES["signed"], 0.1, 64, 10**6)
    assert nodes.parents.shape[1] > 1
    assert torch.is_grad_enabled()

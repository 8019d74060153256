import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from one_by_one import STOP, Answer, answer_sets, legal_after, prefixes_of, spelled, trie_of
from predgen.codecs.base import FiniteSpace
from predgen.codecs.number_space import NumberSpace
from predgen.engine.answer_tree import AnswerTree, answer_log_probs, choice_log_probs, count_scored, shared_head

CPU = torch.device("cpu")
CHARACTERS = {character: 20 + index for index, character in enumerate("0123456789.-+")}
grids = st.tuples(st.integers(-60, 60), st.integers(1, 80), st.integers(0, 2), st.sampled_from([(), (4,), (4, 4)]))
drawn_spaces = answer_sets | grids


def space_of(drawn: list[Answer] | tuple[int, int, int, Answer]) -> FiniteSpace:
    """Labels, or a grid of numbers."""
    if isinstance(drawn, list):
        return trie_of(drawn)
    low, span, decimals, separator = drawn
    return NumberSpace(low, low + span, decimals, CHARACTERS, separator, STOP)


def proper_prefixes(answers: list[Answer], head: Answer) -> set[Answer]:
    """Everything below the head: content tokens up to and including some token of an answer."""
    return {a[:n] for a in answers for n in range(len(head) + 1, len(a) + 1)}


@given(drawn_spaces)
@settings(max_examples=40, deadline=None)
def test_nodes_are_the_prefixes_below_the_head_each_once(drawn: list[Answer] | tuple[int, int, int, Answer]) -> None:
    space = space_of(drawn)
    answers, tree = spelled(space), AnswerTree(space)
    nodes = prefixes_of(tree)
    assert len({*nodes}) == len(nodes) == tree.n_nodes + 1
    assert {*nodes[1:]} == proper_prefixes(answers, tree.head)
    parents = tree.layout(CPU).parents.tolist()
    assert all(parent < number for number, parent in enumerate(parents, start=1))
    assert tree.size == len(answers)


@given(drawn_spaces)
@settings(max_examples=40, deadline=None)
def test_the_head_is_the_longest_beginning_of_all_answers(drawn: list[Answer] | tuple[int, int, int, Answer]) -> None:
    space = space_of(drawn)
    answers = spelled(space)
    longest = 0
    while all(len(a) > longest for a in answers) and len({a[: longest + 1] for a in answers}) == 1:
        longest += 1
    head, state = shared_head(space)
    assert head == answers[0][:longest]
    assert {space.stop, *(a[longest] for a in answers if len(a) > longest)} >= {*space.legal(state)}


@given(drawn_spaces)
@settings(max_examples=40, deadline=None)
def test_scored_nodes_come_first_and_are_those_that_some_choice_needs(
    drawn: list[Answer] | tuple[int, int, int, Answer],
) -> None:
    space = space_of(drawn)
    answers, tree = spelled(space), AnswerTree(space)
    nodes = prefixes_of(tree)
    choices = [p for p in {*nodes} if len(legal_after(p, answers)) > 1]
    needed = {p for p in nodes[1:] if any(choice[: len(p)] == p for choice in choices)}
    assert {*nodes[1 : tree.n_scored + 1]} == needed
    layout = tree.layout(CPU)
    assert {nodes[i] for i in layout.branches.tolist()} == {*choices}
    for row, number in enumerate(layout.branches.tolist()):
        assert layout.alphabet[layout.legal[row]].tolist() == legal_after(nodes[number], answers)
    assert layout.legal.any(dim=0).all()  # no token of the alphabet is legal nowhere


@given(drawn_spaces, st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_counting_agrees_with_the_tree_up_to_the_limit(
    drawn: list[Answer] | tuple[int, int, int, Answer], limit: int
) -> None:
    space = space_of(drawn)
    exact = AnswerTree(space).n_scored
    assert count_scored(space, limit) == min(exact, limit + 1)


def test_counting_a_billion_answers_ends_at_the_limit() -> None:
    assert count_scored(NumberSpace(0, 10**9, 3, CHARACTERS, (), STOP), 256) == 257


@given(drawn_spaces)
@settings(max_examples=40, deadline=None)
def test_ways_spell_the_answers(drawn: list[Answer] | tuple[int, int, int, Answer]) -> None:
    space = space_of(drawn)
    answers, tree = spelled(space), AnswerTree(space)
    nodes, layout = prefixes_of(tree), tree.layout(CPU)
    for answer, way, mask in zip(answers, layout.content.tolist(), layout.content_mask.tolist(), strict=True):
        real = [node for node, is_real in zip(way, mask, strict=True) if is_real]
        assert mask == sorted(mask, reverse=True)  # padded on the right
        assert [nodes[node] for node in real] == [answer[:n] for n in range(len(tree.head) + 1, len(answer) + 1)]


@given(drawn_spaces, st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_answer_log_probs_add_the_choices_on_the_way(
    drawn: list[Answer] | tuple[int, int, int, Answer], seed: int
) -> None:
    space = space_of(drawn)
    answers, tree = spelled(space), AnswerTree(space)
    nodes, layout = prefixes_of(tree), tree.layout(CPU)
    logits = torch.randn(
        2, len(layout.branches), len(layout.alphabet), generator=torch.Generator().manual_seed(seed)
    ).double()
    found = answer_log_probs(choice_log_probs(logits, layout).float(), layout)
    row_of = {nodes[number]: row for row, number in enumerate(layout.branches.tolist())}
    column = {token: i for i, token in enumerate(layout.alphabet.tolist())}
    for index, answer in enumerate(answers):
        total = torch.zeros(2, dtype=torch.float64)
        for t, token in enumerate((*answer, STOP)):
            if (row := row_of.get(answer[:t])) is not None:
                legal = [column[other] for other in legal_after(answer[:t], answers)]
                total += logits[:, row, column[token]] - logits[:, row, legal].logsumexp(dim=1)
        torch.testing.assert_close(found[:, index].double(), total, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(2), atol=1e-5, rtol=0)


def test_layout_by_hand() -> None:
    #            4 (head)
    #       5 *        9            * : two or more legal continuations
    #     6    7
    #             8
    tree = AnswerTree(trie_of([(4, 5, 6), (4, 5, 7, 8), (4, 9), (4,)]))
    assert (tree.head, tree.size, tree.n_nodes, tree.n_scored) == ((4,), 4, 5, 1)
    layout = tree.layout(CPU)
    assert prefixes_of(tree)[:2] == [(4,), (4, 5)]
    assert layout.branches.tolist() == [0, 1]
    assert layout.alphabet.tolist() == [STOP, 5, 6, 7, 9]
    assert layout.legal.int().tolist() == [[1, 1, 0, 0, 1], [0, 0, 1, 1, 0]]
    # Answer 0: at the root 5 (column 1), at node 1 6 (column 2 of row 1: 5 + 2); answers 2 and 3: 9 and the stop at the root.
    assert layout.choices.tolist() == [[1, 7], [1, 8], [4, 10], [0, 10]]
    assert layout.content_mask.int().sum(dim=1).tolist() == [2, 3, 1, 0]


@pytest.mark.parametrize("answer", [(5,), (5, 6, 7)])
def test_a_single_answer_is_all_head(answer: Answer) -> None:
    tree = AnswerTree(trie_of([answer]))
    assert (tree.head, tree.n_nodes, tree.n_scored, tree.size) == (answer, 0, 0, 1)
    layout = tree.layout(CPU)
    assert answer_log_probs(torch.zeros(3, 0, 0), layout).tolist() == [[0.0]] * 3


def test_a_layout_is_copied_once_for_each_device() -> None:
    tree = AnswerTree(trie_of([(5,), (6,)]))
    meta = torch.device("meta")
    assert tree.layout(meta) is tree.layout(meta)
    assert tree.layout(meta).tokens.device == meta
    assert tree.layout(CPU).tokens.device == CPU

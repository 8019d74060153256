import functools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from one_by_one import (
    ARCHITECTURES,
    STOP,
    Answer,
    OneByOne,
    answer_sets,
    backbone_of,
    padded,
    prompts,
    score_plainly,
    trie_of,
)
from other_models import other_model
from predgen.codecs.number_space import NumberSpace
from predgen.engine.abilities import abilities_of
from predgen.engine.answer_tree import AnswerTree
from predgen.engine.backbone import Backbone
from predgen.engine.expansion import expand
from predgen.engine.forest import Answers, Asked, Grove, count_nodes, forest_log_probs, run_forest, split_shared
from predgen.engine.node_pass import start_pass
from predgen.engine.prompt_pass import share_prefix
from tiny_models import SLIDING_WINDOW, tiny_model

CHARACTERS = {character: 20 + index for index, character in enumerate("0123456789.-+")}
QUICK = settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected.double(), atol=1e-5, rtol=0)


# A yes/no question, labels with shared beginnings, and one whose answers all start alike.
ANSWER_SETS: tuple[tuple[Answer, ...], ...] = (
    ((5,), (6,)),
    ((5, 6), (5, 6, 7), (8,)),
    ((9, 5, 8), (9, 5), (9, 7, 30, 30)),
)


@functools.cache
def answers_of(answers: tuple[Answer, ...]) -> Answers:
    space = trie_of(answers)
    return Answers(space, AnswerTree(space))


def asked_of(questions: Sequence[tuple[Answer, tuple[Answer, ...]]]) -> list[Asked]:
    return [Asked(suffix, answers_of(answers)) for suffix, answers in questions]


def alone(backbone: Backbone, row: Sequence[int], questions: Sequence[Asked]) -> list[OneByOne]:
    """Each question by full forwards over prompt, suffix and one answer, without cache, mask or neighbours."""
    return [score_plainly(backbone.lm, [*row, *one.suffix], spelled_of(one)) for one in questions]


def spelled_of(one: Asked) -> list[Answer]:
    return next([*answers] for answers in KNOWN if answers_of(answers) is one.answers)


KNOWN: list[tuple[Answer, ...]] = [*ANSWER_SETS]
_suffixes = st.lists(st.integers(10, 12), max_size=4).map(tuple)  # few ids: common beginnings, equal and empty suffixes
_questions = st.tuples(_suffixes, st.one_of(st.sampled_from(ANSWER_SETS), answer_sets.map(tuple)))
FORESTS = st.lists(st.lists(_questions, max_size=5), min_size=3, max_size=3)


@given(
    FORESTS,
    st.sampled_from(ARCHITECTURES),
    st.sampled_from([("left", 0), ("left", 3), ("right", 2)]),
    st.sampled_from([3, 10, 256]),
    st.integers(0, 10**6),
)
@QUICK
@torch.no_grad()
def test_a_forest_equals_each_question_alone(
    forest: list[list[tuple[Answer, tuple[Answer, ...]]]], name: str, layout: tuple[str, int], most: int, seed: int
) -> None:
    KNOWN[:] = [*ANSWER_SETS, *(answers for questions in forest for _, answers in questions)]
    backbone = backbone_of(name)
    lengths = (4, SLIDING_WINDOW + 3, 1) if layout[0] == "left" or backbone.window is None else (3, 7, 1)
    rows = prompts(seed, lengths)
    asked = [asked_of(questions) for questions in forest]
    groves = run_forest(backbone, *padded(rows, *layout), asked, max_nodes=most)
    assert sorted(pair for grove in groves for pair in grove.pairs) == [
        (row, question) for row, questions in enumerate(asked) for question in range(len(questions))
    ]
    found = forest_log_probs(groves, [len(questions) for questions in asked])
    for row, questions, of_row in zip(rows, asked, found, strict=True):
        for plain, log_probs in zip(alone(backbone, row, questions), of_row, strict=True):
            assert_same(log_probs, plain.log_probs)
            assert_same(log_probs.double().exp().sum(), torch.tensor(1.0))


QUESTIONS = [((10, 11), ANSWER_SETS[0]), ((10, 12, 11), ANSWER_SETS[1]), ((), ANSWER_SETS[2]), ((10,), ANSWER_SETS[0])]
ROWS = [QUESTIONS, QUESTIONS[1:3], [QUESTIONS[3]]]


def three_rows(name: str, **how: object) -> tuple[Backbone, list[list[int]], list[list[Asked]], list[Grove]]:
    KNOWN[:] = ANSWER_SETS
    backbone, rows, asked = backbone_of(name), prompts(), [asked_of(questions) for questions in ROWS]
    return backbone, rows, asked, run_forest(backbone, *padded(rows), asked, **how)


@pytest.mark.parametrize("most", [256, 4])
@torch.no_grad()
def test_states_greedy_answers_and_the_whole_vocabulary_are_those_of_each_question(most: int) -> None:
    backbone, rows, asked, groves = three_rows("llama", everything=True, max_nodes=most)
    for grove in groves:
        scores = grove.scores()
        states, mask = scores.content_states(scores.greedy())
        for place, (row, question) in enumerate(grove.pairs):
            one = asked[row][question]
            plain = alone(backbone, rows[row], [one])[0]
            greedy = plain.greedy(spelled_of(one))
            assert_same(states[place][mask[place]], plain.content(greedy))
            assert_same(scores.full_vocabulary_log_probs()[place], plain.full)
            assert_same(scores.prompt_states[place], plain.states[()])


@torch.no_grad()
def test_nodes_that_are_asked_for_later_run_behind_those_of_other_questions() -> None:
    backbone, rows, asked, groves = three_rows("gemma3", max_nodes=6)
    for grove in groves:
        scores = grove.scores()
        chosen = torch.full((len(grove.pairs),), 1)
        states, mask = scores.content_states(chosen)
        for place, (row, question) in enumerate(grove.pairs):
            one = asked[row][question]
            assert_same(states[place][mask[place]], alone(backbone, rows[row], [one])[0].content(spelled_of(one)[1]))


@torch.no_grad()
def test_a_grid_too_large_for_one_pass_is_expanded_behind_its_suffix() -> None:
    backbone, rows = backbone_of("llama"), prompts()
    grid = NumberSpace(-12, 250, 1, CHARACTERS, (4,), STOP)
    asked = [[*asked_of(QUESTIONS[:2]), Asked((10, 12), Answers(grid, None))]] * 2 + [asked_of(QUESTIONS)]
    (grove,) = [g for g in run_forest(backbone, *padded(rows), asked) if g.answers.space is grid]
    assert grove.pairs == ((0, 2), (1, 2))
    found = expand(backbone, grove.nodes, grid, 0.0, 8, 10_000)
    lines = [[*row, 10, 12] for row in rows[:2]]
    expected = expand(backbone, start_pass(backbone, None, *padded(lines), grove.answers.head), grid, 0.0, 256, 10_000)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.answers.keys() == theirs.answers.keys()
        assert max(abs(ours.answers[k] - theirs.answers[k]) for k in theirs.answers) <= 1e-5


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_gradients_are_those_of_the_questions_alone(name: str) -> None:
    KNOWN[:] = ANSWER_SETS
    lm = tiny_model(name)
    backbone, rows, asked = Backbone(lm), prompts(), [asked_of(questions) for questions in ROWS]

    def gradients(losses: list[Tensor]) -> list[Tensor]:
        lm.zero_grad()
        torch.stack(losses).sum().backward()
        return [p.grad.clone() for p in lm.parameters() if p.grad is not None]

    for most in (256, 4):
        groves = run_forest(backbone, *padded(rows), asked, max_nodes=most)
        found = forest_log_probs(groves, [len(questions) for questions in asked])
        ours = gradients([one[-1] for of_row in found for one in of_row])
        theirs = gradients(
            [
                plain.log_probs[-1].float()
                for row, questions in zip(rows, asked, strict=True)
                for plain in alone(backbone, row, questions)
            ]
        )
        assert len(ours) == len(theirs) > 5
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one / theirs[0].norm(), other / theirs[0].norm())
        assert max(float(one.norm()) for one in ours) > 1e-3


def test_activation_checkpointing_changes_nothing() -> None:
    KNOWN[:] = ANSWER_SETS
    lm = tiny_model("llama")
    backbone, rows, asked = Backbone(lm), prompts(), [asked_of(questions) for questions in ROWS]
    counts = [len(questions) for questions in asked]
    plain = forest_log_probs(run_forest(backbone, *padded(rows), asked), counts)
    lm.activation_checkpointing_enable()
    lm.train()
    assert backbone.drops_caches
    again = forest_log_probs(run_forest(backbone, *padded(rows), asked, max_nodes=5), counts)
    for ours, theirs in zip(again, plain, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)


@pytest.mark.parametrize("name", ["bloom", "mamba", "jamba", "rwkv"])
@torch.no_grad()
def test_bases_without_trees_answer_each_question_on_their_own_way(name: str) -> None:
    KNOWN[:] = ANSWER_SETS
    lm = other_model(name)
    abilities = abilities_of(lm)
    backbone, rows, asked = Backbone(lm, abilities), prompts(), [asked_of(questions) for questions in ROWS]
    obstacle = abilities.detour or abilities.tree
    assert obstacle is not None
    groves = run_forest(backbone, *padded(rows), asked, obstacle=obstacle)
    found = forest_log_probs(groves, [len(questions) for questions in asked])
    for row, questions, of_row in zip(rows, asked, found, strict=True):
        for plain, log_probs in zip(alone(backbone, row, questions), of_row, strict=True):
            assert_same(log_probs, plain.log_probs)


@torch.no_grad()
def test_the_order_of_questions_and_their_neighbours_change_no_figure() -> None:
    backbone, rows, asked, groves = three_rows("llama", max_nodes=6)
    counts = [len(questions) for questions in asked]
    found = forest_log_probs(groves, counts)
    turned = [questions[::-1] for questions in asked]
    again = forest_log_probs(run_forest(backbone, *padded(rows), turned, max_nodes=6), counts)
    for ours, theirs in zip(found, again, strict=True):
        for one, other in zip(ours, theirs[::-1], strict=True):
            assert torch.equal(one, other)  # to the bit: what is run is the same
    single = forest_log_probs(run_forest(backbone, *padded(rows[:1]), [asked[0][:1]]), [1])
    assert_same(single[0][0], found[0][0])


@torch.no_grad()
def test_a_shared_instruction_is_run_once() -> None:
    KNOWN[:] = ANSWER_SETS
    backbone, rows = backbone_of("qwen3"), prompts()
    asked = [asked_of(questions) for questions in ROWS]
    counts = [len(questions) for questions in asked]
    instruction = [7, 3, 9, 2]
    found = forest_log_probs(
        run_forest(backbone, *padded(rows), asked, prefix=share_prefix(backbone, instruction)), counts
    )
    whole = forest_log_probs(run_forest(backbone, *padded([[*instruction, *row] for row in rows]), asked), counts)
    for ours, theirs in zip(found, whole, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)


def test_common_beginnings_are_run_once() -> None:
    one, two = asked_of([((10, 11, 12), ANSWER_SETS[0]), ((10, 11, 13), ANSWER_SETS[0])])
    assert count_nodes([one]) == 3  # both answers are chosen at its last token
    assert count_nodes([one, two]) == 4
    assert count_nodes([one, two, one]) == 4
    assert count_nodes([one], everything=True) == 5
    assert count_nodes([]) == 0


def test_prompts_are_split_where_their_tokens_first_differ() -> None:
    assert split_shared([(1, 2, 3), (1, 2)]) == ((1, 2), [(3,), ()])
    assert split_shared([(1, 2, 3)]) == ((1, 2, 3), [()])
    assert split_shared([(1, 9), (1, 2, 5), (1, 2)]) == ((1,), [(9,), (2, 5), (2,)])
    assert split_shared([(4,), (5,)]) == ((), [(4,), (5,)])

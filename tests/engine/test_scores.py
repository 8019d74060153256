import copy
from collections.abc import Sequence

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from one_by_one import (
    ARCHITECTURES,
    PASSES,
    STOP,
    Answer,
    OneByOne,
    answer_sets,
    backbone_of,
    gold_feed,
    padded,
    prefixes_of,
    prompts,
    random_draws,
    score_plainly,
    spelled,
    start_pass,
    trie_of,
)
from predgen.codecs.base import FiniteSpace
from predgen.codecs.number_space import NumberSpace
from predgen.engine.answer_tree import AnswerTree
from predgen.engine.backbone import Backbone
from predgen.engine.scores import AnswerScores
from predgen.engine.sequential import sequences, write
from tiny_models import FAMILIES, SLIDING_WINDOW, tiny_model

TOLERANCE = 1e-5
CPU = torch.device("cpu")
CHARACTERS = {character: 20 + index for index, character in enumerate("0123456789.-+")}
# Prefixes of others; a shared head, which is an answer itself; forced tokens in the middle and at the end.
ANSWERS = [(5,), (5, 6), (5, 6, 7), (5, 8, 9, 30), (5, 8, 5, 30), (5, 10, 11)]
NUMBERS = NumberSpace(-12, 9, 1, CHARACTERS, (4,), STOP)
QUICK = settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])


def score(
    kind: str,
    backbone: Backbone,
    batch: tuple[Tensor, Tensor],
    space: FiniteSpace,
    *,
    everything: bool = True,
) -> AnswerScores:
    tree = AnswerTree(space)
    return AnswerScores(backbone, start_pass(kind, backbone, *batch, tree.head), tree, everything=everything)


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected.double(), atol=TOLERANCE, rtol=0)


def assert_all(scores: AnswerScores, expected: Sequence[OneByOne], answers: Sequence[Answer]) -> None:
    """Probabilities, states and greedy answers are those of the plain loop."""
    assert_same(scores.log_probs, torch.stack([plain.log_probs for plain in expected]))
    assert_same(scores.log_probs.double().exp().sum(dim=1), torch.ones(len(expected)))
    full = scores.full_vocabulary_log_probs()
    assert_same(full, torch.stack([plain.full for plain in expected]))
    assert (full <= scores.log_probs + TOLERANCE).all()
    assert (full.double().exp().sum(dim=1) <= 1 + 1e-6).all()
    states, mask = scores.all_content_states()
    assert mask.sum(dim=1).tolist() == [len(answer) for answer in answers]
    for row, plain in enumerate(expected):
        for index, answer in enumerate(answers):
            assert_same(states[row, index][mask[index]], plain.content(answer))
    assert_gathered(scores, expected, answers)
    greedy = [answers[index] for index in scores.greedy().tolist()] if len(answers) > 1 else [*answers] * len(expected)
    assert greedy == [plain.greedy(answers) for plain in expected]


def assert_gathered(scores: AnswerScores, expected: Sequence[OneByOne], answers: Sequence[Answer]) -> None:
    """States of one answer per row, a different one in each."""
    chosen = [(3 * row + 1) % len(answers) for row in range(len(expected))]
    states, mask = scores.content_states(torch.tensor(chosen))
    predicting = scores.predicting_states(torch.tensor(chosen))
    for row, (plain, index) in enumerate(zip(expected, chosen, strict=True)):
        assert_same(states[row][mask[row]], plain.content(answers[index]))
        before = [plain.states[answers[index][:t]] for t in range(len(answers[index]) + 1)]
        assert_same(predicting[row, : len(before)], torch.stack(before))


@given(
    answer_sets,
    st.sampled_from(ARCHITECTURES),
    st.sampled_from(PASSES),
    st.sampled_from([("left", 0), ("left", 3), ("right", 0), ("right", 2)]),
    st.integers(0, 10**6),
)
@settings(QUICK, max_examples=60)
@torch.no_grad()
def test_a_tree_equals_scoring_one_by_one(
    answers: list[Answer], name: str, kind: str, layout: tuple[str, int], seed: int
) -> None:
    backbone = backbone_of(name)
    # Windows count the padding between a right-padded prompt and what was run behind it as plain columns.
    lengths = (4, SLIDING_WINDOW + 3, 1) if layout[0] == "left" or backbone.window is None else (3, 7, 1)
    rows = prompts(seed, lengths)
    scores = score(kind, backbone, padded(rows, *layout), trie_of(answers))
    assert_all(scores, [score_plainly(backbone.lm, row, answers) for row in rows], answers)


@pytest.mark.parametrize("kind", PASSES)
@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_labels_with_shared_head_and_prefixes(name: str, kind: str) -> None:
    backbone, rows = backbone_of(name), prompts()
    expected = [score_plainly(backbone.lm, row, ANSWERS) for row in rows]
    scores = score(kind, backbone, padded(rows, extra=1), trie_of(ANSWERS))
    assert scores.tree.head == (5,)
    assert_all(scores, expected, ANSWERS)
    # Guards: probabilities are not flat, prompts matter, some mass is illegal.
    assert scores.log_probs.exp().std(dim=1).min() > 0.05
    assert scores.log_probs.std(dim=0).min() > 1e-2
    assert scores.full_vocabulary_log_probs().exp().sum(dim=1).max() < 0.99


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_number_grids_equal_scoring_one_by_one(name: str) -> None:
    backbone, rows = backbone_of(name), prompts()
    answers = [NUMBERS.write(k) for k in range(NUMBERS.low, NUMBERS.high + 1)]
    expected = [score_plainly(backbone.lm, row, answers) for row in rows]
    assert_all(score("tree", backbone, padded(rows), NUMBERS), expected, answers)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_a_row_does_not_depend_on_its_neighbours(name: str) -> None:
    backbone, rows, trie = backbone_of(name), prompts(), trie_of(ANSWERS)
    together = score("tree", backbone, padded(rows), trie).log_probs
    alone = torch.cat([score("tree", backbone, padded([row]), trie).log_probs for row in rows])
    with_others = score("tree", backbone, padded([*rows[::-1], *prompts(9, (40, 2))], extra=4), trie).log_probs
    assert alone.std(dim=0).min() > 1e-3
    assert_same(together, alone)
    assert_same(with_others[:3].flip(0), alone)


@pytest.mark.parametrize("kind", PASSES)
@given(answer_sets, st.integers(0, 10**6))
@QUICK
@torch.no_grad()
def test_states_of_an_answer_that_were_not_run_are_run_when_asked_for(
    kind: str, answers: list[Answer], seed: int
) -> None:
    backbone, rows = backbone_of("gpt2"), prompts(seed)
    scores = score(kind, backbone, padded(rows), trie_of(answers), everything=False)
    plain = [score_plainly(backbone.lm, row, answers) for row in rows]
    assert_same(scores.log_probs, torch.stack([p.log_probs for p in plain]))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(2):  # asked twice, each time for other answers
        chosen = torch.randint(len(answers), (len(rows),), generator=generator)
        states, mask = scores.content_states(chosen)
        assert mask.sum(dim=1).tolist() == [len(answers[i]) for i in chosen.tolist()]
        for row, index in enumerate(chosen.tolist()):
            assert_same(states[row][mask[row]], plain[row].content(answers[index]))


@torch.no_grad()
def test_forced_tokens_are_not_run_for_probabilities() -> None:
    backbone, tree = backbone_of("llama"), AnswerTree(trie_of(ANSWERS))
    nodes = start_pass("tree", backbone, *padded(prompts()), tree.head)
    AnswerScores(backbone, nodes, tree)
    # Of 6, 7, 8, 9, 30, 5, 30, 10, 11 below the head only 6 and 8 are branches; none of the others is above one.
    assert (tree.n_nodes, tree.n_scored, nodes.parents.shape[1] - 1) == (9, 2, 2)
    assert {prefixes_of(tree)[i] for i in (1, 2)} == {(5, 6), (5, 8)}


@torch.no_grad()
def test_a_single_answer_has_probability_one() -> None:
    scores = score("tree", backbone_of("llama"), padded(prompts()), trie_of([(5, 6, 7)]), everything=False)
    assert scores.log_probs.tolist() == [[0.0]] * 3
    states, mask = scores.content_states(torch.zeros(3, dtype=torch.long))
    assert mask.all()
    plain = score_plainly(backbone_of("llama").lm, prompts()[1], [(5, 6, 7)])
    assert_same(states[1], plain.content((5, 6, 7)))


@torch.no_grad()
def test_a_single_answer_is_the_greedy_one() -> None:
    scores = score("tree", backbone_of("llama"), padded(prompts()), trie_of([(5, 6, 7)]), everything=False)
    assert sequences(*scores.walk().fed(CPU)) == [(5, 6, 7)] * 3
    assert scores.greedy().tolist() == [0, 0, 0]


def test_what_needs_all_nodes_says_so() -> None:
    scores = score("tree", backbone_of("llama"), padded(prompts()), trie_of(ANSWERS), everything=False)
    for call in (
        scores.all_content_states,
        scores.full_vocabulary_log_probs,
        lambda: scores.predicting_states(torch.zeros(3, dtype=torch.long)),
    ):
        with pytest.raises(AssertionError, match="everything"):
            call()


class Fixed(Backbone):
    """A writer whose logits are the same everywhere: 0.6 for token 5 and 0.4 for 8, then 6 and 7 alike."""

    def logits(self, states: Tensor) -> Tensor:
        logits = torch.full((*states.shape[:-1], self.vocabulary_size), -50.0)
        logits[..., 5], logits[..., 8] = torch.tensor([0.6, 0.4]).log()
        logits[..., 6] = logits[..., 7] = 0.0
        return logits

    def logits_of(self, states: Tensor, tokens: Tensor) -> Tensor:
        return self.logits(states)[..., tokens]


@torch.no_grad()
def test_greedy_answer_and_most_probable_answer_may_differ() -> None:
    # At the root 0.6 : 0.4 for token 5; below 5 two equal halves. Greedy writes "5 ..." with 0.3, argmax is (8,) with 0.4.
    trie, batch, backbone = trie_of([(5, 6), (5, 7), (8,)]), padded(prompts()), Fixed(tiny_model("llama"))
    scores = score("tree", backbone, batch, trie)
    torch.testing.assert_close(scores.log_probs.exp(), torch.tensor([[0.3, 0.3, 0.4]] * 3), atol=1e-6, rtol=0)
    assert scores.log_probs.argmax(dim=1).tolist() == [2, 2, 2]
    assert scores.greedy().tolist() == [0, 0, 0]  # of equal tokens the lower, as `write` has it
    assert write(backbone, *batch, trie, 3).sequences() == [(5, 6)] * 3


# --- walks ------------------------------------------------------------------------------------------------------------


@given(st.sampled_from(ARCHITECTURES), st.sampled_from(PASSES), st.integers(0, 10**6), st.booleans())
@QUICK
@torch.no_grad()
def test_walking_the_tree_is_writing(name: str, kind: str, seed: int, is_grid: bool) -> None:
    space = NUMBERS if is_grid else trie_of(ANSWERS)
    backbone, batch, answers = backbone_of(name), padded(prompts(seed, (4, 20, 1, 7))), spelled(space)
    scores = score(kind, backbone, batch, space, everything=False)
    longest = max(map(len, answers)) + 1
    generator = torch.Generator().manual_seed(seed)
    picked = torch.randint(len(answers), (4,), generator=generator).tolist()
    for gold in (None, random_draws([(*answers[i], STOP) for i in picked], seed)):
        fed = sequences(*scores.walk(gold).fed(CPU))
        assert fed == write(backbone, *batch, space, longest, gold=gold).sequences()
        if gold is None:
            assert [answers[i] for i in scores.greedy().tolist()] == fed


@given(answer_sets.filter(lambda answers: len(answers) > 1), st.integers(0, 10**6))
@QUICK
@torch.no_grad()
def test_walking_any_trie_is_writing(answers: list[Answer], seed: int) -> None:
    trie, backbone, batch = trie_of(answers), backbone_of("llama"), padded(prompts(seed))
    scores = score("tree", backbone, batch, trie, everything=False)
    gold = random_draws([(*answers[(seed + row) % len(answers)], STOP) for row in range(3)], seed)
    for feed in (None, gold):
        written = write(backbone, *batch, trie, 6, gold=feed).sequences()
        assert sequences(*scores.walk(feed).fed(CPU)) == written


@torch.no_grad()
def test_gold_and_own_tokens_mix_in_a_walk() -> None:
    # Guard: the draws above decide something.
    backbone, batch = backbone_of("llama"), padded(prompts())
    scores = score("tree", backbone, batch, NUMBERS, everything=False)
    answers = [(*NUMBERS.write(k), STOP) for k in (-11, 3, 9)]
    own = sequences(*scores.walk().fed(CPU))
    gold = sequences(*scores.walk(gold_feed(answers, [[False] * 6] * 3)).fed(CPU))
    assert gold == [answer[:-1] for answer in answers]
    assert sequences(*scores.walk(gold_feed(answers, [[True] * 6] * 3)).fed(CPU)) == own
    mixed = sequences(*scores.walk(random_draws(answers, seed=1)).fed(CPU))
    assert mixed not in (own, gold)


# --- gradients --------------------------------------------------------------------------------------------------------


def weights_like(tensor: Tensor, seed: int) -> Tensor:
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))


def objective(scores: AnswerScores, gold: Tensor) -> Tensor:
    """A random linear function of everything that has a gradient."""
    states, mask = scores.all_content_states()
    parts = [scores.log_probs, states * mask[..., None], scores.predicting_states(gold)[:, :2]]
    parts += [scores.full_vocabulary_log_probs(), scores.content_states(gold)[0][:, :1]]
    return torch.stack([(weights_like(part, seed) * part).sum() for seed, part in enumerate(parts)]).sum()


def plain_objective(plain: Sequence[OneByOne], answers: Sequence[Answer], gold: Sequence[int]) -> Tensor:
    """The same from plain forwards."""
    width, hidden = max(map(len, answers)), len(plain[0].states[()])
    states = torch.zeros(len(plain), len(answers), width, hidden)
    for row, one in enumerate(plain):
        for index, answer in enumerate(answers):
            states[row, index, : len(answer)] = one.content(answer)
    chosen = [answers[index] for index in gold]
    parts = [
        torch.stack([one.log_probs for one in plain]).float(),
        states,
        torch.stack([torch.stack([one.states[()], one.states[a[:1]]]) for one, a in zip(plain, chosen, strict=True)]),
        torch.stack([one.full for one in plain]).float(),
        torch.stack([one.states[a[:1]][None] for one, a in zip(plain, chosen, strict=True)]),
    ]
    return torch.stack([(weights_like(part, seed) * part).sum() for seed, part in enumerate(parts)]).sum()


def gradients_of(backbone: Backbone, value: Tensor) -> dict[str, Tensor]:
    backbone.lm.zero_grad(set_to_none=True)
    value.backward()
    return {name: p.grad.clone() for name, p in backbone.lm.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_are_those_of_scoring_one_by_one(name: str) -> None:
    backbone, rows, gold = Backbone(copy.deepcopy(backbone_of(name).lm)), prompts(), [3, 0, 2]
    plain = plain_objective([score_plainly(backbone.lm, row, ANSWERS) for row in rows], ANSWERS, gold)
    expected = gradients_of(backbone, plain)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 0.1
    for kind in PASSES:
        value = objective(score(kind, backbone, padded(rows), trie_of(ANSWERS)), torch.tensor(gold))
        assert value.item() == pytest.approx(plain.item(), abs=1e-3)
        found = gradients_of(backbone, value)
        assert found.keys() == expected.keys()
        for part, gradient in expected.items():
            scale = max(float(gradient.abs().max()), 0.01 * largest)
            assert float((found[part] - gradient).abs().max()) <= 1e-5 * scale, (kind, part)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox"])
def test_gradients_of_log_probs_agree_with_finite_differences(name: str) -> None:
    backbone = Backbone(copy.deepcopy(backbone_of(name).lm).double())

    def value() -> Tensor:
        log_probs = score("tree", backbone, padded(prompts()), trie_of(ANSWERS), everything=False).log_probs
        return (weights_like(log_probs, 0) * log_probs).sum()

    found, step = gradients_of(backbone, value()), 1e-3
    for weight_name in [name for name in found if name.endswith("weight") and found[name].ndim == 2][1::2]:
        weight = backbone.lm.get_parameter(weight_name)
        place = tuple(torch.unravel_index(found[weight_name].abs().argmax(), weight.shape))
        values = []
        with torch.no_grad():
            for move in (step, -2 * step):
                weight[place] += move
                values.append(float(value()))
            weight[place] += step
        # Logits are float32: their rounding, 1e-6, over 2 * step is 5e-4; step^2 times a third derivative is less.
        by_hand = (values[0] - values[1]) / (2 * step)
        assert abs(by_hand) > 0.1
        assert float(found[weight_name][place]) == pytest.approx(by_hand, rel=1e-3, abs=1e-3)


@torch.no_grad()
def test_bfloat16_probabilities_sum_to_one() -> None:
    for name in FAMILIES:
        backbone = Backbone(copy.deepcopy(backbone_of(name).lm).to(torch.bfloat16))
        scores = score("tree", backbone, padded(prompts()), trie_of(ANSWERS))
        assert scores.log_probs.dtype == torch.float32
        assert_same(scores.log_probs.exp().sum(dim=1), torch.ones(3))
        exact = score("tree", backbone_of(name), padded(prompts()), trie_of(ANSWERS)).log_probs
        assert (scores.log_probs - exact).abs().max() < 0.5

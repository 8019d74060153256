from collections.abc import Hashable, Sequence

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from one_by_one import FAMILIES, STOP, Answer, backbone_of, gold_feed, padded, prompts, random_draws
from predgen.codecs.answer_space import AnswerAutomaton
from predgen.codecs.base import AnswerSpace
from predgen.engine.backbone import Backbone
from predgen.engine.prompt_pass import run_prompts
from predgen.engine.sequential import sequences, write
from predgen.engine.walk import GoldFeed
from predgen.sampling.parallel import write_in_parallel

CHARACTERS = {character: 20 + index for index, character in enumerate("0123456789.-")}
MATH = AnswerAutomaton((2, 3), (4,), CHARACTERS, STOP, budget=6, max_integer_digits=4, max_decimals=2)
QUICK = settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])


def number(text: str) -> Answer:
    return tuple(CHARACTERS[character] for character in text)


# Rationale, cue, separator, number, stop; one without a rationale, one with the cue begun twice.
GOLD = [
    (30, 31, 50, 2, 3, 4, *number("12.5"), STOP),
    (2, 3, 4, *number("7"), STOP),
    (99, 2, 2, 3, 4, *number("-30"), STOP),
    (60, 61, 62, 63, 64, 65, 2, 3, 4, *number("0"), STOP),
]
LENGTHS = (4, 20, 1, 7)


def fed_in_parallel(backbone: Backbone, rows: Sequence[Sequence[int]], gold: GoldFeed, passes: int) -> list[Answer]:
    cached = run_prompts(backbone, *padded(rows))
    own = write_in_parallel(backbone, cached, MATH, gold, passes)
    return sequences(own.ids, own.mask)


@torch.no_grad()
def one_pass(lm: torch.nn.Module, prompt: Sequence[int], before: Answer, answer: Answer, own: Sequence[bool]) -> Answer:
    """One row of Mihaylova and Martins' second pass: own tokens are chosen from logits over what was fed before."""
    logits = lm(input_ids=torch.tensor([[*prompt, *before]]), use_cache=False).logits[0, len(prompt) - 1 :]
    state: Hashable = MATH.start
    fed: list[int] = []
    for t in range(len(answer) - 1):
        legal = MATH.legal(state)
        allowed = [i for i in range(logits.shape[1]) if i != STOP] if legal is None else list(legal)
        # Behind a row's own early stop there is no token to read; the forward there is never looked at.
        token = max(allowed, key=lambda i, t=t: float(logits[min(t, len(logits) - 1), i]))
        if not own[t] and answer[t] in allowed:
            token = answer[t]
        if token == STOP:
            break
        fed.append(token)
        state = MATH.advance(state, token)
    return tuple(fed)


@pytest.mark.parametrize("family", FAMILIES)
def test_gold_is_fed_at_p_zero(family: str) -> None:
    gold = gold_feed(GOLD, [[False] * len(answer) for answer in GOLD])
    for passes in (1, 3):
        found = fed_in_parallel(backbone_of(family), prompts(lengths=LENGTHS), gold, passes)
        assert found == [answer[:-1] for answer in GOLD]


@given(st.sampled_from(FAMILIES), st.sampled_from([0.3, 0.6, 1.0]), st.integers(0, 10**6))
@settings(QUICK, max_examples=10)
def test_as_many_passes_as_tokens_are_writing_left_to_right(family: str, p: float, seed: int) -> None:
    backbone, rows, gold = backbone_of(family), prompts(seed, LENGTHS), random_draws(GOLD, seed, p)
    width = max(map(len, GOLD)) - 1
    written = write(backbone, *padded(rows), MATH, MATH.max_tokens, gold=gold).sequences()
    # What is fed ends with the gold answer: behind it there is nothing to score.
    expected = [fed[: len(answer) - 1] for fed, answer in zip(written, GOLD, strict=True)]
    assert fed_in_parallel(backbone, rows, gold, width) == expected


@given(st.sampled_from(FAMILIES), st.sampled_from([0.3, 0.6, 1.0]), st.integers(0, 10**6))
@QUICK
def test_one_pass_is_a_plain_loop_over_logits_of_the_gold_answer(family: str, p: float, seed: int) -> None:
    backbone, rows, gold = backbone_of(family), prompts(seed, LENGTHS), random_draws(GOLD, seed, p)
    expected = [
        one_pass(backbone.lm, row, answer[:-1], answer, own)
        for row, answer, own in zip(rows, GOLD, gold.use_own.tolist(), strict=True)
    ]
    assert fed_in_parallel(backbone, rows, gold, 1) == expected


@given(st.sampled_from(FAMILIES), st.integers(1, 5), st.sampled_from([0.3, 1.0]), st.integers(0, 10**6))
@QUICK
def test_fed_tokens_are_legal_and_no_longer_than_gold(family: str, passes: int, p: float, seed: int) -> None:
    gold = random_draws(GOLD, seed, p)
    for fed, answer in zip(
        fed_in_parallel(backbone_of(family), prompts(seed, LENGTHS), gold, passes), GOLD, strict=True
    ):
        assert 1 <= len(fed) <= len(answer) - 1
        state: Hashable = MATH.start
        for token in fed:
            legal = MATH.legal(state)
            assert token != STOP if legal is None else token in legal
            state = MATH.advance(state, token)
        if len(fed) < len(answer) - 1:  # it stopped earlier: it might
            assert STOP in (MATH.legal(state) or ())


def test_passes_differ_until_they_settle() -> None:
    # Guard: with one pass instead of many, or gold instead of own tokens, the tests above would notice.
    backbone, rows = backbone_of("llama"), prompts(lengths=LENGTHS)
    gold = random_draws(GOLD, 3, 0.7)
    found = [fed_in_parallel(backbone, rows, gold, passes) for passes in (1, 2, 12)]
    assert found[0] != found[1] != found[2]
    assert all(fed != answer[:-1] for fed, answer in zip(found[2], GOLD, strict=True))


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    backbone, rows, gold = backbone_of("gpt_neox"), prompts(lengths=LENGTHS), random_draws(GOLD, 5)
    together = fed_in_parallel(backbone, rows, gold, 2)
    for row in range(len(GOLD)):
        n = len(GOLD[row])
        alone = GoldFeed(*(t[row : row + 1, :n] for t in (gold.ids, gold.mask, gold.use_own)))
        assert fed_in_parallel(backbone, rows[row : row + 1], alone, 2) == together[row : row + 1]


def test_prompts_are_left_as_they_are_and_no_graph_is_kept() -> None:
    backbone = backbone_of("llama")
    cached = run_prompts(backbone, *padded(prompts(lengths=LENGTHS)))
    length = cached.cache.get_seq_length()
    space: AnswerSpace = MATH
    first = write_in_parallel(backbone, cached, space, random_draws(GOLD, 1), 2)
    second = write_in_parallel(backbone, cached, space, random_draws(GOLD, 1), 2)
    assert sequences(first.ids, first.mask) == sequences(second.ids, second.mask)
    assert cached.cache.get_seq_length() == length
    assert cached.tail.requires_grad

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from predgen.codecs.answer import AnswerCodec
from predgen.codecs.answer_space import AnswerAutomaton
from predgen.codecs.base import AnswerSpace, Codec
from predgen.codecs.label import LabelCodec
from predgen.codecs.number import NumberCodec
from predgen.codecs.number_space import NumberSpace
from predgen.codecs.trie import Trie
from predgen.core import Target
from predgen.engine.backbone import Backbone
from predgen.engine.free_text import FreeText
from predgen.engine.sequential import GoldFeed, Written, answer_log_probs, mask_illegal, write
from tiny_models import END_ID, FAMILIES, SLIDING_WINDOW, tiny_model
from tokenizers_for_tests import char_level, gpt2_like, llama2_like

TOLERANCE = 1e-5
CHARACTERS = {character: 20 + index for index, character in enumerate("0123456789.-+")}
TRIE = Trie([(5,), (5, 6), (5, 6, 7), (8, 9), (8, 5), (10,)], END_ID)  # with answers that are prefixes of others
NUMBERS = NumberSpace(-150, 2000, 2, CHARACTERS, (4,), END_ID)
MATH = AnswerAutomaton((2, 3), (4,), CHARACTERS, END_ID, budget=6, max_integer_digits=4, max_decimals=2)
FREE = FreeText(128, END_ID, budget=7)
SPACES: dict[str, tuple[AnswerSpace, int]] = {
    "trie": (TRIE, 4),
    "numbers": (NUMBERS, NUMBERS.length + 1),
    "math": (MATH, MATH.max_tokens),
    "free": (FREE, 8),
}
PROMPT_LENGTHS = (3, SLIDING_WINDOW + 5, 1, 8)


@functools.cache
def backbone_of(family: str, seed: int = 0, vocab_size: int = 128) -> Backbone:
    return Backbone(tiny_model(family, vocab_size, seed))


def prompts(seed: int = 0, lengths: Sequence[int] = PROMPT_LENGTHS, vocab_size: int = 128) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(2, vocab_size, (length,), generator=generator).tolist() for length in lengths]


def left_padded(rows: list[list[int]], extra: int = 0, pad: int = 0) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows)) + extra
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows])
    return ids, mask


@dataclass
class Plain:
    """What the reference loop wrote for one row."""

    content: tuple[int, ...]
    states: Tensor
    legal_mass: list[float]


@torch.no_grad()
def write_plainly(
    lm: torch.nn.Module, prompt: list[int], space: AnswerSpace, max_tokens: int, gold: Sequence[int | None] = ()
) -> Plain:
    """One row, no cache, no padding, the model's own logits. `gold[t]` None: feed the model's own token."""
    content: list[int] = []
    state: Hashable = space.start
    mass = []
    for step in range(max_tokens):
        logits = lm(input_ids=torch.tensor([prompt + content]), use_cache=False).logits[0, -1]
        legal = space.legal(state)
        allowed = list(legal) if legal is not None else [i for i in range(len(logits)) if i != space.stop]
        mass.append(float(logits.softmax(0)[allowed].sum()))
        token = max(allowed, key=lambda i: float(logits[i]))
        if step < len(gold) and gold[step] in allowed:
            token = gold[step]
        if token == space.stop:
            output = lm(input_ids=torch.tensor([prompt + content]), output_hidden_states=True, use_cache=False)
            return Plain(tuple(content), output.hidden_states[-1][0, len(prompt) :], mass)
        content.append(token)
        state = space.advance(state, token)
    raise AssertionError(f"no stop within {max_tokens} tokens")


def assert_same(written: Written, expected: Sequence[Plain]) -> None:
    assert written.sequences() == [plain.content for plain in expected]
    for row, plain in enumerate(expected):
        torch.testing.assert_close(written.states[row][written.mask[row]], plain.states, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("family", FAMILIES)
def test_writing_equals_a_plain_loop_without_cache(family: str, name: str) -> None:
    space, max_tokens = SPACES[name]
    backbone, rows = backbone_of(family), prompts()
    expected = [write_plainly(backbone.lm, row, space, max_tokens) for row in rows]
    assert len({plain.content for plain in expected}) > 1 or name == "trie"  # the prompt matters
    assert_same(write(backbone, *left_padded(rows), space, max_tokens), expected)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("family", FAMILIES)
def test_neighbours_order_size_and_padding_do_not_change_a_row(family: str, name: str) -> None:
    space, max_tokens = SPACES[name]
    backbone, rows = backbone_of(family), prompts()
    expected = [write_plainly(backbone.lm, row, space, max_tokens) for row in rows]
    others = prompts(seed=9, lengths=(30, 2))
    order = [2, 0, 3, 1]
    assert_same(
        write(backbone, *left_padded([rows[i] for i in order]), space, max_tokens), [expected[i] for i in order]
    )
    assert_same(write(backbone, *left_padded(rows[1:2]), space, max_tokens), expected[1:2])
    assert_same(write(backbone, *left_padded(rows, extra=5, pad=99), space, max_tokens), expected)
    with_others = write(backbone, *left_padded([*rows, *others]), space, max_tokens)
    assert with_others.sequences()[: len(rows)] == [plain.content for plain in expected]
    for row, plain in enumerate(expected):
        states = with_others.states[row][with_others.mask[row]]
        torch.testing.assert_close(states, plain.states, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_right_padded_prompts_write_the_same(family: str) -> None:
    # Prompt, padding and answer together stay within Gemma 3's window, which counts padding between them.
    backbone, rows = backbone_of(family), prompts(lengths=(2, 6, 1))
    ids = torch.tensor([row + [99] * (6 - len(row)) for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (6 - len(row)) for row in rows])
    expected = [write_plainly(backbone.lm, row, NUMBERS, NUMBERS.length + 1) for row in rows]
    assert_same(write(backbone, ids, mask, NUMBERS, NUMBERS.length + 1), expected)


def test_the_constraint_changes_what_is_written() -> None:
    # Guard: without it, the tests above would pass for a writer that ignores the space.
    backbone, rows = backbone_of("llama"), prompts()
    plain = [write_plainly(backbone.lm, row, NUMBERS, NUMBERS.length + 1) for row in rows]
    assert max(max(p.legal_mass) for p in plain) < 0.999
    free = write(backbone, *left_padded(rows), FREE, 8).sequences()
    assert [tokens[: NUMBERS.length] for tokens in free] != [p.content for p in plain]


# --- gold tokens ------------------------------------------------------------------------------------------------------


def gold_feed(answers: Sequence[Sequence[int]], use_own: Sequence[Sequence[bool]]) -> GoldFeed:
    """Right-padded gold answers (stop included) and where the own token is fed."""
    width = max(map(len, answers))
    fill = [width - len(answer) for answer in answers]
    return GoldFeed(
        torch.tensor([[*answer, *[END_ID] * n] for answer, n in zip(answers, fill, strict=True)]),
        torch.tensor([[True] * len(answer) + [False] * n for answer, n in zip(answers, fill, strict=True)]),
        torch.tensor([[*own, *[False] * n] for own, n in zip(use_own, fill, strict=True)]),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_gold_everywhere_feeds_gold_exactly(family: str) -> None:
    answers = [(5, 6, END_ID), (10, END_ID), (5, 6, 7, END_ID), (8, 5, END_ID)]
    feed = gold_feed(answers, [[False] * len(answer) for answer in answers])
    backbone, rows = backbone_of(family), prompts()
    written = write(backbone, *left_padded(rows), TRIE, 4, gold=feed)
    assert written.sequences() == [answer[:-1] for answer in answers]
    assert_same(written, [write_plainly(backbone.lm, r, TRIE, 4, a) for r, a in zip(rows, answers, strict=True)])


@pytest.mark.parametrize("family", FAMILIES)
def test_own_everywhere_is_plain_writing(family: str) -> None:
    answers = [(5, 6, END_ID), (10, END_ID), (5, 6, 7, END_ID), (8, 5, END_ID)]
    feed = gold_feed(answers, [[True] * len(answer) for answer in answers])
    backbone, rows = backbone_of(family), prompts()
    fed = write(backbone, *left_padded(rows), TRIE, 4, gold=feed)
    assert_same(fed, [write_plainly(backbone.lm, row, TRIE, 4) for row in rows])
    assert fed.sequences() != [answer[:-1] for answer in answers]


@pytest.mark.parametrize("family", FAMILIES)
def test_mixed_feeding_equals_a_plain_loop(family: str) -> None:
    backbone, generator = backbone_of(family), torch.Generator().manual_seed(3)
    rows = prompts(seed=4, lengths=(3, 7, 2, 9, 20, 4))
    grid = torch.randint(NUMBERS.low, NUMBERS.high + 1, (len(rows),), generator=generator).tolist()
    answers = [(*NUMBERS.write(k), END_ID) for k in grid]
    use_own = (torch.rand((len(rows), len(answers[0])), generator=generator) < 0.5).tolist()
    wanted = [[None if own else t for t, own in zip(a, u, strict=True)] for a, u in zip(answers, use_own, strict=True)]
    max_tokens = NUMBERS.length + 1
    expected = [write_plainly(backbone.lm, r, NUMBERS, max_tokens, w) for r, w in zip(rows, wanted, strict=True)]
    written = write(backbone, *left_padded(rows), NUMBERS, max_tokens, gold=gold_feed(answers, use_own))
    assert_same(written, expected)
    own = [write_plainly(backbone.lm, row, NUMBERS, max_tokens).content for row in rows]
    assert written.sequences() != own
    assert written.sequences() != [answer[:-1] for answer in answers]


def other_first_token(backbone: Backbone, prompt: list[int]) -> tuple[int, ...]:
    """An answer of `TRIE` that does not begin as the model's own."""
    own = write_plainly(backbone.lm, prompt, TRIE, 4).content[0]
    return (8, 9, END_ID) if own != 8 else (5, 6, 7, END_ID)


@pytest.mark.parametrize("family", FAMILIES)
def test_gold_that_is_illegal_after_an_own_token_gives_way_to_the_own(family: str) -> None:
    backbone, row = backbone_of(family), prompts()[0]
    answer = other_first_token(backbone, row)
    # Own first token, then gold: gold's second token does not follow the own first one.
    feed = gold_feed([answer], [[True] + [False] * (len(answer) - 1)])
    own_first = write_plainly(backbone.lm, row, TRIE, 4, [None, *answer[1:]])
    written = write(backbone, *left_padded([row]), TRIE, 4, gold=feed)
    assert_same(written, [own_first])
    assert written.sequences()[0][0] != answer[0]
    assert TRIE.answer_at(TRIE_NODE[written.sequences()[0]]) is not None


TRIE_NODE = {path.tokens[:-1]: path.nodes[-1] for path in TRIE.paths()}


def test_gold_stop_is_fed_where_it_is_legal() -> None:
    # Gold says "5"; the model alone may go on with 6 and 7. Both branches: the stop is an edge that gold can take.
    backbone, rows = backbone_of("llama"), prompts()
    feed = gold_feed([(5, END_ID)] * len(rows), [[False, False]] * len(rows))
    assert write(backbone, *left_padded(rows), TRIE, 4, gold=feed).sequences() == [(5,)] * len(rows)
    only_first = gold_feed([(5, END_ID)] * len(rows), [[False, True]] * len(rows))
    expected = [write_plainly(backbone.lm, row, TRIE, 4, [5]) for row in rows]
    assert_same(write(backbone, *left_padded(rows), TRIE, 4, gold=only_first), expected)


def test_gold_free_text_is_fed_and_its_early_stop_is_not() -> None:
    backbone, rows = backbone_of("gpt2"), prompts()[:1]
    answer = (30, END_ID, 31, 2, 3, 4, CHARACTERS["7"], END_ID)  # the stop is illegal inside the rationale
    feed = gold_feed([answer], [[False] * len(answer)])
    written = write(backbone, *left_padded(rows), MATH, MATH.max_tokens, gold=feed)
    assert_same(written, [write_plainly(backbone.lm, rows[0], MATH, MATH.max_tokens, answer)])
    assert written.sequences()[0][0] == 30
    assert written.sequences()[0][1] != END_ID
    assert written.sequences()[0][2:] == (31, 2, 3, 4, CHARACTERS["7"])


# --- exact answer probabilities ---------------------------------------------------------------------------------------

STOP = END_ID
# Few token ids, so that prefixes of others and shared beginnings are common.
answer_sets = st.lists(
    st.lists(st.integers(5, 8), min_size=1, max_size=4).map(tuple), min_size=1, max_size=7, unique=True
)


@torch.no_grad()
def score_plainly(lm: torch.nn.Module, prompt: list[int], answers: list[tuple[int, ...]]) -> Tensor:
    """log P(a|X) of each answer: full sequences, no cache, legal tokens found by looking at all answers."""
    scores = []
    for answer in answers:
        log_probs = lm(input_ids=torch.tensor([prompt + list(answer)]), use_cache=False).logits[0].double()
        total = torch.zeros((), dtype=torch.float64)
        for t, token in enumerate((*answer, STOP)):
            follow = {(*a, STOP)[t] for a in answers if len(a) >= t and a[:t] == answer[:t]}
            logits = log_probs[len(prompt) - 1 + t]
            total += logits[token] - logits[sorted(follow)].logsumexp(0)
        scores.append(total)
    return torch.stack(scores)


@settings(max_examples=25, deadline=None)
@given(answer_sets, st.sampled_from(FAMILIES), st.integers(0, 100))
def test_answer_log_probs_equal_one_by_one_scoring(answers: list[tuple[int, ...]], family: str, seed: int) -> None:
    backbone, rows = backbone_of(family), prompts(seed, lengths=(4, 19, 1))
    log_probs = answer_log_probs(backbone, *left_padded(rows), Trie(answers, STOP)).double()
    assert log_probs.shape == (len(rows), len(answers))
    for row, prompt in enumerate(rows):
        torch.testing.assert_close(log_probs[row], score_plainly(backbone.lm, prompt, answers), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(len(rows)).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_answer_log_probs_do_not_depend_on_the_batch(family: str) -> None:
    backbone, rows = backbone_of(family), prompts()
    together = answer_log_probs(backbone, *left_padded(rows), TRIE)
    alone = torch.cat([answer_log_probs(backbone, *left_padded([row]), TRIE) for row in rows])
    padded = answer_log_probs(backbone, *left_padded(rows[::-1], extra=4, pad=99), TRIE).flip(0)
    assert alone.std(dim=0).min() > 1e-3  # prompts differ in every answer
    torch.testing.assert_close(together, alone, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(padded, alone, atol=TOLERANCE, rtol=0)


def test_a_single_answer_has_probability_one() -> None:
    log_probs = answer_log_probs(backbone_of("llama"), *left_padded(prompts()), Trie([(5, 6, 7)], STOP))
    assert log_probs.tolist() == [[0.0]] * len(PROMPT_LENGTHS)


def test_greedy_answer_and_most_probable_answer_may_differ() -> None:
    # At the root 0.6 : 0.4 for token 5; below 5 two equal halves. Greedy writes "5 ..." with 0.3, argmax is (8,) with 0.4.
    trie = Trie([(5, 6), (5, 7), (8,)], STOP)

    class Fixed(Backbone):
        def logits(self, states: Tensor) -> Tensor:
            logits = torch.full((*states.shape[:-1], self.vocabulary_size), -50.0)
            logits[..., 5], logits[..., 8] = torch.tensor([0.6, 0.4]).log()
            logits[..., 6] = logits[..., 7] = 0.0
            return logits

    backbone, batch = Fixed(tiny_model("llama")), left_padded(prompts())
    probabilities = answer_log_probs(backbone, *batch, trie).exp()
    torch.testing.assert_close(probabilities, torch.tensor([[0.3, 0.3, 0.4]] * len(PROMPT_LENGTHS)), atol=1e-6, rtol=0)
    assert {tokens[0] for tokens in write(backbone, *batch, trie, 3).sequences()} == {5}


# --- what the caller finds afterwards ---------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("call", ["write", "answer_log_probs"])
def test_train_and_eval_state_of_every_submodule_is_left_as_found(call: str, training: bool) -> None:
    model = tiny_model("gpt2").train(training)
    model.transformer.h[0].train(not training)  # a frozen part in another state than the whole
    before = [module.training for module in model.modules()]
    batch = left_padded(prompts())
    if call == "write":
        write(Backbone(model), *batch, TRIE, 4)
    else:
        answer_log_probs(Backbone(model), *batch, TRIE)
    assert [module.training for module in model.modules()] == before


def test_state_is_restored_after_an_error() -> None:
    model = tiny_model("gpt2").train()
    with pytest.raises(AssertionError, match="longer than the codec's max_tokens"):
        write(Backbone(model), *left_padded(prompts()), NUMBERS, 2)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("training", [True, False])
def test_writing_is_free_of_dropout(training: bool) -> None:
    model = tiny_model("gpt2")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    expected = [write_plainly(model.eval(), row, NUMBERS, NUMBERS.length + 1) for row in prompts()]
    model.train(training)
    assert_same(write(Backbone(model), *left_padded(prompts()), NUMBERS, NUMBERS.length + 1), expected)


def test_writing_keeps_no_graph() -> None:
    assert torch.is_grad_enabled()
    written = write(backbone_of("llama"), *left_padded(prompts()), TRIE, 4)
    assert not written.states.requires_grad
    assert torch.is_grad_enabled()


# --- every prediction parses ------------------------------------------------------------------------------------------

TOKENIZERS = {"char_level": char_level, "gpt2_like": gpt2_like, "llama2_like": llama2_like}


@functools.cache
def codecs_of(name: str) -> dict[str, Codec]:
    tokenizer = TOKENIZERS[name]()
    return {
        "label": LabelCodec.fit(["no", "not", "not sure", "yes", "1"], tokenizer),
        "number": NumberCodec.fit([-3.25, 0.0, 17.5], tokenizer),
        "unsigned": NumberCodec.fit([0.25, 0.5], tokenizer, scale=(0.0, 1.0)),
        "math": AnswerCodec.fit([Target(72.0, "Half of 48 is 24."), Target(-1.5)], tokenizer),
    }


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(list(TOKENIZERS)),
    st.sampled_from(["label", "number", "unsigned", "math"]),
    st.sampled_from(FAMILIES),
    st.integers(0, 3),
    st.integers(0, 10**6),
)
def test_what_a_random_model_writes_always_parses(
    name: str, kind: str, family: str, seed: int, prompt_seed: int
) -> None:
    codec, vocab_size = codecs_of(name)[kind], len(TOKENIZERS[name]())
    backbone = backbone_of(family, seed, vocab_size)
    batch = left_padded(prompts(prompt_seed, (2, 5, 11), vocab_size))
    for content in write(backbone, *batch, codec.space, codec.max_tokens).sequences():
        assert 1 <= len(content) <= codec.max_tokens - 1
        value = codec.decode(content).value
        if isinstance(codec, LabelCodec):
            assert value in codec.labels
        else:
            assert isinstance(value, float)
        if isinstance(codec, NumberCodec):
            assert codec.low <= value <= codec.high
        # The written answer is the codec's own spelling of its value, except for a rationale before it.
        spelled = codec.encode(Target(value))[:-1]
        assert content[len(content) - len(spelled) :] == spelled


# --- free text --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1, 4, 9])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_rationale_ends_within_max_tokens(family: str, budget: int) -> None:
    space = AnswerAutomaton((2, 3), (4,), CHARACTERS, END_ID, budget, max_integer_digits=4, max_decimals=2)
    codec = AnswerCodec(space)
    written = write(backbone_of(family), *left_padded(prompts()), space, space.max_tokens)
    assert written.ids.shape[1] <= space.max_tokens - 1
    for content in written.sequences():
        assert content[: budget + 2].index(3) <= budget + 1  # the cue comes after at most `budget` tokens
        assert isinstance(codec.decode(content).value, float)


def stop_logits(backbone: Backbone, bonus: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add `bonus` to the stop token's logit."""
    own = Backbone.logits

    def biased(self: Backbone, states: Tensor) -> Tensor:
        logits = own(self, states)
        logits[..., END_ID] += bonus
        return logits

    monkeypatch.setattr(Backbone, "logits", biased)


def test_free_text_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = backbone_of("llama")
    stop_logits(backbone, 1000.0, monkeypatch)
    written = write(backbone, *left_padded(prompts()), FREE, 8)
    assert written.sequences() == [()] * len(PROMPT_LENGTHS)
    assert written.states.shape == (len(PROMPT_LENGTHS), 0, backbone.hidden_size)


def test_free_text_stops_at_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = backbone_of("llama")
    stop_logits(backbone, -1000.0, monkeypatch)
    written = write(backbone, *left_padded(prompts()), FREE, 8)
    assert [len(tokens) for tokens in written.sequences()] == [7] * len(PROMPT_LENGTHS)  # the budget, then the stop


def test_mask_illegal_keeps_legal_logits_and_bars_the_stop_from_free_text() -> None:
    logits = torch.arange(8.0).reshape(2, 4)
    masked = mask_illegal(logits, [(0, 3), None], stop=2)
    inf = float("inf")
    assert masked.tolist() == [[0.0, -inf, -inf, 3.0], [4.0, 5.0, -inf, 7.0]]

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from one_by_one import backbone_of, gold_feed, padded, random_draws
from one_by_one import prompts as random_prompts
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
from predgen.engine.prompt_pass import run_prompts, share_prefix
from predgen.engine.sequential import Written, mask_illegal, write, write_on
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


def prompts(seed: int = 0, lengths: Sequence[int] = PROMPT_LENGTHS, vocab_size: int = 128) -> list[list[int]]:
    return random_prompts(seed, lengths, vocab_size)


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
    assert_same(write(backbone, *padded(rows), space, max_tokens), expected)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("family", FAMILIES)
def test_neighbours_order_size_and_padding_do_not_change_a_row(family: str, name: str) -> None:
    space, max_tokens = SPACES[name]
    backbone, rows = backbone_of(family), prompts()
    expected = [write_plainly(backbone.lm, row, space, max_tokens) for row in rows]
    others = prompts(seed=9, lengths=(30, 2))
    order = [2, 0, 3, 1]
    assert_same(write(backbone, *padded([rows[i] for i in order]), space, max_tokens), [expected[i] for i in order])
    assert_same(write(backbone, *padded(rows[1:2]), space, max_tokens), expected[1:2])
    assert_same(write(backbone, *padded(rows, extra=5), space, max_tokens), expected)
    with_others = write(backbone, *padded([*rows, *others]), space, max_tokens)
    assert with_others.sequences()[: len(rows)] == [plain.content for plain in expected]
    for row, plain in enumerate(expected):
        states = with_others.states[row][with_others.mask[row]]
        torch.testing.assert_close(states, plain.states, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_right_padded_prompts_write_the_same(family: str) -> None:
    # Prompt, padding and answer together stay within Gemma 3's window, which counts padding between them.
    backbone, rows = backbone_of(family), prompts(lengths=(2, 6, 1))
    expected = [write_plainly(backbone.lm, row, NUMBERS, NUMBERS.length + 1) for row in rows]
    assert_same(write(backbone, *padded(rows, "right"), NUMBERS, NUMBERS.length + 1), expected)


def test_the_constraint_changes_what_is_written() -> None:
    # Guard: without it, the tests above would pass for a writer that ignores the space.
    backbone, rows = backbone_of("llama"), prompts()
    plain = [write_plainly(backbone.lm, row, NUMBERS, NUMBERS.length + 1) for row in rows]
    assert max(max(p.legal_mass) for p in plain) < 0.999
    free = write(backbone, *padded(rows), FREE, 8).sequences()
    assert [tokens[: NUMBERS.length] for tokens in free] != [p.content for p in plain]


# --- gold tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_gold_everywhere_feeds_gold_exactly(family: str) -> None:
    answers = [(5, 6, END_ID), (10, END_ID), (5, 6, 7, END_ID), (8, 5, END_ID)]
    feed = gold_feed(answers, [[False] * len(answer) for answer in answers])
    backbone, rows = backbone_of(family), prompts()
    written = write(backbone, *padded(rows), TRIE, 4, gold=feed)
    assert written.sequences() == [answer[:-1] for answer in answers]
    assert_same(written, [write_plainly(backbone.lm, r, TRIE, 4, a) for r, a in zip(rows, answers, strict=True)])


@pytest.mark.parametrize("family", FAMILIES)
def test_own_everywhere_is_plain_writing(family: str) -> None:
    answers = [(5, 6, END_ID), (10, END_ID), (5, 6, 7, END_ID), (8, 5, END_ID)]
    feed = gold_feed(answers, [[True] * len(answer) for answer in answers])
    backbone, rows = backbone_of(family), prompts()
    fed = write(backbone, *padded(rows), TRIE, 4, gold=feed)
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
    written = write(backbone, *padded(rows), NUMBERS, max_tokens, gold=gold_feed(answers, use_own))
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
    written = write(backbone, *padded([row]), TRIE, 4, gold=feed)
    assert_same(written, [own_first])
    assert written.sequences()[0][0] != answer[0]
    end = functools.reduce(TRIE.advance, written.sequences()[0], TRIE.start)
    assert TRIE.answer_at(end) is not None


def test_gold_stop_is_fed_where_it_is_legal() -> None:
    # Gold says "5"; the model alone may go on with 6 and 7. Both branches: the stop is an edge that gold can take.
    backbone, rows = backbone_of("llama"), prompts()
    feed = gold_feed([(5, END_ID)] * len(rows), [[False, False]] * len(rows))
    assert write(backbone, *padded(rows), TRIE, 4, gold=feed).sequences() == [(5,)] * len(rows)
    only_first = gold_feed([(5, END_ID)] * len(rows), [[False, True]] * len(rows))
    expected = [write_plainly(backbone.lm, row, TRIE, 4, [5]) for row in rows]
    assert_same(write(backbone, *padded(rows), TRIE, 4, gold=only_first), expected)


def test_gold_free_text_is_fed_and_its_early_stop_is_not() -> None:
    backbone, rows = backbone_of("gpt2"), prompts()[:1]
    answer = (30, END_ID, 31, 2, 3, 4, CHARACTERS["7"], END_ID)  # the stop is illegal inside the rationale
    feed = gold_feed([answer], [[False] * len(answer)])
    written = write(backbone, *padded(rows), MATH, MATH.max_tokens, gold=feed)
    assert_same(written, [write_plainly(backbone.lm, rows[0], MATH, MATH.max_tokens, answer)])
    assert written.sequences()[0][0] == 30
    assert written.sequences()[0][1] != END_ID
    assert written.sequences()[0][2:] == (31, 2, 3, 4, CHARACTERS["7"])


# --- prompts that were run before -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("family", FAMILIES)
def test_writing_on_cached_prompts_is_writing(family: str, name: str) -> None:
    (space, max_tokens), backbone, rows = SPACES[name], backbone_of(family), prompts()
    cached = run_prompts(backbone, *padded(rows, extra=2))
    expected = [write_plainly(backbone.lm, row, space, max_tokens) for row in rows]
    for _ in range(2):  # the cache is left as it was
        assert_same(write_on(backbone, cached, space, max_tokens), expected)
    assert cached.cache.get_seq_length() == max(PROMPT_LENGTHS) + 2


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "gemma3"])
def test_writing_behind_a_shared_prefix_equals_writing_behind_all_of_it(family: str) -> None:
    backbone, rows, start = backbone_of(family), prompts(), prompts(seed=7, lengths=(9,))[0]
    answers = [(*NUMBERS.write(k), END_ID) for k in (-150, 0, 1234, 7)]
    draws = random_draws(answers, seed=2)
    wanted = [*zip(answers, draws.use_own.tolist(), strict=True)]
    prefix, max_tokens = share_prefix(backbone, start), NUMBERS.length + 1
    for side in ("left", "right"):
        cached = run_prompts(backbone, *padded(rows, side), prefix=prefix)
        own = [write_plainly(backbone.lm, [*start, *row], NUMBERS, max_tokens) for row in rows]
        assert_same(write_on(backbone, cached, NUMBERS, max_tokens), own)
        mixed = [
            write_plainly(
                backbone.lm,
                [*start, *row],
                NUMBERS,
                max_tokens,
                [None if flag else token for token, flag in zip(answer, flags, strict=True)],
            )
            for row, (answer, flags) in zip(rows, wanted, strict=True)
        ]
        assert_same(write_on(backbone, cached, NUMBERS, max_tokens, gold=draws), mixed)


# --- what the caller finds afterwards ---------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_train_and_eval_state_of_every_submodule_is_left_as_found(training: bool) -> None:
    model = tiny_model("gpt2").train(training)
    model.transformer.h[0].train(not training)  # a frozen part in another state than the whole
    before = [module.training for module in model.modules()]
    write(Backbone(model), *padded(prompts()), TRIE, 4)
    assert [module.training for module in model.modules()] == before


def test_state_is_restored_after_an_error() -> None:
    model = tiny_model("gpt2").train()
    with pytest.raises(AssertionError, match="longer than the codec's max_tokens"):
        write(Backbone(model), *padded(prompts()), NUMBERS, 2)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("training", [True, False])
def test_writing_is_free_of_dropout(training: bool) -> None:
    model = tiny_model("gpt2")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    expected = [write_plainly(model.eval(), row, NUMBERS, NUMBERS.length + 1) for row in prompts()]
    model.train(training)
    assert_same(write(Backbone(model), *padded(prompts()), NUMBERS, NUMBERS.length + 1), expected)


def test_writing_keeps_no_graph() -> None:
    assert torch.is_grad_enabled()
    written = write(backbone_of("llama"), *padded(prompts()), TRIE, 4)
    assert not written.states.requires_grad
    cached = run_prompts(backbone_of("llama"), *padded(prompts()))
    assert cached.tail.requires_grad
    assert not write_on(backbone_of("llama"), cached, TRIE, 4).states.requires_grad
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
    batch = padded(prompts(prompt_seed, (2, 5, 11), vocab_size), pad=0)
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
    written = write(backbone_of(family), *padded(prompts()), space, space.max_tokens)
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
    written = write(backbone, *padded(prompts()), FREE, 8)
    assert written.sequences() == [()] * len(PROMPT_LENGTHS)
    assert written.states.shape == (len(PROMPT_LENGTHS), 0, backbone.hidden_size)


def test_free_text_stops_at_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = backbone_of("llama")
    stop_logits(backbone, -1000.0, monkeypatch)
    written = write(backbone, *padded(prompts()), FREE, 8)
    assert [len(tokens) for tokens in written.sequences()] == [7] * len(PROMPT_LENGTHS)  # the budget, then the stop


def test_mask_illegal_keeps_legal_logits_and_bars_the_stop_from_free_text() -> None:
    logits = torch.arange(8.0).reshape(2, 4)
    masked = mask_illegal(logits, [(0, 3), None], stop=2)
    inf = float("inf")
    assert masked.tolist() == [[0.0, -inf, -inf, 3.0], [4.0, 5.0, -inf, 7.0]]

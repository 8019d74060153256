import json
import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from predgen.codecs.answer import AnswerCodec
from predgen.codecs.answer_space import AnswerAutomaton, is_canonical, next_characters
from predgen.codecs.base import FiniteCodec, FiniteSpace
from predgen.core import Target
from predgen.errors import CodecError
from predgen.registries import codecs
from tokenizers_for_tests import char_level, every_tokenizer, gpt2_like, llama2_like, without_digits

CHARACTERS = {character: 10 + index for index, character in enumerate("0123456789.-")}
STOP = 0
# Two token ids for cue and rationale, so that a rationale often holds pieces of the cue; one is a digit's, one no one's.
few_tokens = st.lists(st.sampled_from([10, 4]), max_size=8).map(tuple)
cues = st.lists(st.sampled_from([10, 4]), min_size=1, max_size=4).map(tuple)
texts = st.text("ab #.$-=\n0123456789", max_size=20).map(str.strip).filter(lambda text: "####" not in text)
values = st.floats(-9999, 9999) | st.integers(-9999, 9999) | st.sampled_from([0.0, -0.0, -0.00004, 0.1, -0.5, 1 / 3])


def make_space(cue: tuple[int, ...] = (4, 6), budget: int = 0, decimals: int = 4) -> AnswerAutomaton:
    return AnswerAutomaton(cue, (5,), CHARACTERS, STOP, budget, 4, decimals)


def follow(space: AnswerAutomaton, ids: tuple[int, ...]) -> list[object]:
    """States along a legal path; fails where a token is not legal."""
    states = [space.start]
    for token in ids:
        legal = space.legal(states[-1])
        assert legal is None or token in legal
        states.append(space.advance(states[-1], token))
    return states


def walk(space: AnswerAutomaton, rng: random.Random, free: tuple[int, ...]) -> list[int]:
    """A random answer: `free` are the tokens to draw from in free text."""
    state, content = space.start, []
    for _ in range(space.max_tokens):
        legal = space.legal(state)
        assert legal is None or legal  # never empty
        token = rng.choice(free if legal is None else legal)
        if token == space.stop:
            return content
        content.append(token)
        state = space.advance(state, token)
    raise AssertionError(f"no stop within {space.max_tokens} tokens: {content}")


@given(cues, st.integers(0, 6), st.integers(0, 2**32))
def test_random_walks_stop_in_time_and_decode(cue: tuple[int, ...], budget: int, seed: int) -> None:
    space = make_space(cue, budget)
    codec = AnswerCodec(space)
    content = walk(space, random.Random(seed), (4, 10, 12))
    decoded = codec.decode(content)
    length = follow(space, tuple(content))[-1].used
    assert length <= budget
    assert content[length : length + len(cue)] == [*cue]
    assert decoded.flags == ({"out_of_budget"} if length == budget > 0 else set())
    number = codec.encode(Target(decoded.value))
    assert (*content[length:], STOP) == number  # canonical: the number has this spelling only


@given(cues, few_tokens, st.integers(0, 3))
def test_a_rationale_is_legal_wherever_the_cue_ends_it_first(
    cue: tuple[int, ...], rationale: tuple[int, ...], spare: int
) -> None:
    space = make_space(cue, len(rationale) + spare)
    whole = (*rationale, *cue)
    ends = [end for end in range(len(cue), len(whole) + 1) if whole[end - len(cue) : end] == cue]  # plain search
    assert space.reads_cue_early(rationale) == (ends[0] < len(whole))
    assume(ends[0] == len(whole))
    state = follow(space, (*whole, 5))[-1]
    assert (state.phase, state.used) == ("number", len(rationale))


@given(
    st.sampled_from(sorted(every_tokenizer())), st.lists(st.tuples(values, st.none() | texts), min_size=1, max_size=4)
)
@settings(max_examples=60, deadline=None)
def test_every_encoded_target_is_a_legal_path(name: str, rows: list[tuple[float, str | None]]) -> None:
    targets = [Target(value, rationale) for value, rationale in rows]
    codec = AnswerCodec.fit(targets, every_tokenizer()[name], rationale_budget=None)
    loaded = AnswerCodec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert loaded.to_dict() == codec.to_dict()
    assert (loaded.max_tokens, loaded.with_rationale) == (codec.max_tokens, codec.with_rationale)
    for target in targets:
        ids = codec.encode(target)
        states = follow(loaded.space, ids[:-1])
        assert ids[-1] in loaded.space.legal(states[-1])
        assert len(ids) <= codec.max_tokens
        assert loaded.decode(ids[:-1]) == codec.decode(ids[:-1])
        assert abs(codec.decode(ids[:-1]).value - target.value) <= 1e-4
        weighed = codec.weighed_positions(ids)
        assert any(weighed)
        assert all(states[i].phase == "number" for i, is_weighed in enumerate(weighed) if is_weighed)
        loaded.attach(every_tokenizer()[name])
        assert loaded.encode(target) == ids


@pytest.mark.parametrize("name", sorted(every_tokenizer()))
def test_answers_read_as_written(name: str) -> None:
    tokenizer = every_tokenizer()[name]
    codec = AnswerCodec.fit([Target(72, " 48 + 24 = 72. \n")], tokenizer, rationale_budget=None)
    prompt = "Question?"
    ids = [*tokenizer.encode(prompt, add_special_tokens=False), *codec.encode(Target(72, "48 + 24 = 72."))[:-1]]
    assert tokenizer.decode(ids) == "Question? 48 + 24 = 72.\n#### 72"
    assert codec.parse(tokenizer.decode(ids)) == 72.0
    plain = AnswerCodec.fit([Target(72)], tokenizer, rationale_budget=None)
    ids = [*tokenizer.encode(prompt, add_special_tokens=False), *plain.encode(Target(-0.5))[:-1]]
    assert tokenizer.decode(ids) == "Question? #### -0.5"


def test_codec_is_in_the_registry() -> None:
    assert codecs.get("answer") is AnswerCodec


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (-0.00004, "0"),
        (7.50, "7.5"),
        (100, "100"),
        (-12.04, "-12.04"),
        (0.05, "0.05"),
        (3.799999952316284, "3.8"),
        (1 / 3, "0.3333"),
        (9999.99999, None),
        (9999.9999, "9999.9999"),
        (10000, None),
    ],
)
def test_numbers_have_one_spelling(value: float, text: str | None) -> None:
    codec = AnswerCodec(make_space())
    if text is None:
        with pytest.raises(CodecError, match=rf"value {float(value)} has more than 4 digits.*max_integer_digits"):
            codec.encode(Target(value))
    else:
        assert codec.encode(Target(value)) == (4, 6, 5, *(CHARACTERS[c] for c in text), STOP)


@pytest.mark.parametrize("digits", [1, 2])
@pytest.mark.parametrize("decimals", [0, 1, 2])
def test_number_grammar_is_exactly_the_canonical_numbers(digits: int, decimals: int) -> None:
    written, open_texts = set(), [""]
    while open_texts:
        text = open_texts.pop()
        written |= {text} if is_canonical(text) else set()
        follow_ups = next_characters(text, digits, decimals)
        assert follow_ups or is_canonical(text)
        open_texts += [text + character for character in follow_ups]
    # Second route: print every number in its shortest form.
    expected = {
        f"{k / 10**decimals:.{decimals}f}" for k in range(-(10 ** (digits + decimals)) + 1, 10 ** (digits + decimals))
    }
    expected = {text.rstrip("0").rstrip(".") if "." in text else text for text in expected} - {"-0"}
    assert written == expected


def test_budget_forces_the_cue_token_by_token() -> None:
    space = make_space((4, 6), budget=2)
    states = follow(space, (9, 9, 4, 6, 5))
    assert [space.legal(state) for state in states[:5]] == [None, None, (4,), (6,), (5,)]
    assert states[-1].phase == "number"
    with pytest.raises(CodecError, match=r"token 9 is not legal in phase 'rationale'; legal: \(4,\)"):
        space.advance(states[2], 9)


def test_cue_begun_at_the_end_of_the_budget_may_be_completed_or_begun_anew() -> None:
    space = make_space((4, 6), budget=2)
    state = follow(space, (9, 4))[-1]
    assert space.legal(state) == (4, 6)
    assert follow(space, (9, 4, 6))[-1].used == 1  # the 4 was the cue's
    assert follow(space, (9, 4, 4, 6))[-1].used == 2  # the first 4 was the rationale's


def test_the_model_may_write_the_cue_itself() -> None:
    codec = AnswerCodec(make_space((4, 4, 6), budget=9))
    # Overlap: 4 4 4 6 holds the cue 4 4 6 from its second token on.
    content = (8, 4, 4, 4, 6, 5, CHARACTERS["7"])
    assert follow(codec.space, content)[-1].used == 2
    assert codec.decode(content).value == 7.0
    assert codec.decode(content).flags == frozenset()


def test_running_out_of_budget_is_flagged() -> None:
    codec = AnswerCodec(make_space((4, 6), budget=3))
    assert codec.decode((9, 9, 9, 4, 6, 5, CHARACTERS["7"])).flags == {"out_of_budget"}
    assert codec.decode((9, 9, 4, 6, 5, CHARACTERS["7"])).flags == frozenset()
    assert AnswerCodec(make_space()).decode((4, 6, 5, CHARACTERS["7"])).flags == frozenset()  # there is no rationale


def test_stop_is_never_legal_in_free_text() -> None:
    space = make_space(budget=3)
    with pytest.raises(CodecError, match="token 0 is not legal in phase 'rationale'; legal: every token but the stop"):
        space.advance(space.start, STOP)


def test_only_free_number_tokens_are_weighed() -> None:
    codec = AnswerCodec(make_space((4, 6), budget=2))
    #               rationale cue  sep  -     0     .      5     stop
    assert codec.weighed_positions((9, 4, 6, 5, *(CHARACTERS[c] for c in "-0.5"), STOP)) == (
        *(False, False, False, False),
        *(True, True, False, True),  # after "-0" only "." is legal
        False,
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("so 72.\n#### 72", 72.0),
        ("#### 1 then #### 2", 2.0),
        ("####72", 72.0),
        ("#### $1,234.50", 1234.5),
        ("#### -$5", -5.0),
        ("#### $-5", -5.0),
        ("#### 12.", 12.0),
        ("#### 1,234,567.\n\nQuestion: 3", 1234567.0),
        ("#### .5", 0.5),
        ("#### +3", 3.0),
        ("#### -0", 0.0),
        ("#### 72 apples", 72.0),
        ("#### 72 dollars and 50 cents", 72.0),
        ("####\n72", 72.0),
        ("#### 72\n#### 72\n", 72.0),
        ("#### 72, that is all", 72.0),
        ("#### 5 1/2", 5.5),
        ("#### -5 1/2 miles", -5.5),
        ("#### -0 1/2", -0.5),
        ("#### 1 000", 1000.0),
        ("#### $1\u202f234\u202f567.50", 1234567.5),
        ("#### 12 345 apples", 12345.0),
        ("#### 1000 miles", 1000.0),
        ("#### 72 orders", 72.0),
        ("#### 3 and a bit", 3.0),
        ("#### 72!", 72.0),
        ("#### **72**", 72.0),
        ("#### **$1,234.50**.", 1234.5),
        ("#### \\boxed{-7.5}", -7.5),
        ("#### $\\boxed{72}$", 72.0),
        ("#### $72$.", 72.0),
        ("#### \\(72\\)", 72.0),
        ("#### \\$72", 72.0),
        ("#### \u22125", -5.0),
        ("#### 007", 7.0),
        ("#### 4.0", 4.0),
        ("#### 0.6666666666666666", 0.6666666666666666),
        ("#### 7 or 8", None),
        ("#### 7 or eight", None),
        ("#### 9 \u2013 4", None),
        ("#### 9 - 4", None),
        ("#### 9 \u2212 4", None),
        ("#### 3 x = 9", 3.0),
        ("#### 3 = x", None),
        ("#### 7, 8", None),
        ("#### 7 and 8", None),
        ("#### 7 (8)", None),
        ("#### 5 million", None),
        ("#### 5 percent", None),
        ("#### 5 3/2", None),
        ("#### 5 1/0", None),
        ("#### 5.5 1/2", None),
        ("#### 5 1/2 1/2", None),
        ("#### 1 00", None),
        ("#### 1 0000", None),
        ("#### 1,000 000", None),
        ("#### 1 234,50", None),
        ("72", None),
        ("The answer is 72.", None),
        ("### 72", None),
        ("#### The answer is 72", None),
        ("#### seventy-two", None),
        ("#### x = 72", None),
        ("#### 72apples", None),
        ("#### 72-75", None),
        ("#### 1/2", None),
        ("#### 1 234,50 ####", None),
        ("#### 1,234,56", None),
        ("#### 5..", None),
        ("#### \\frac{1}{2}", None),
        ("#### inf", None),
        ("#### \u0663", None),  # a digit of another script
        ("#### 3 ####", None),
        ("#### none", None),
        ("#### ", None),
        ("####", None),
        ("#### .", None),
        ("#### $", None),
        ("#### 1,23", None),
        ("#### 12%", None),
        ("#### 1e5", None),
        ("#### --5", None),
        ("#### -$-5", None),
        ("#### 1.2.3", None),
        ("#### nan", None),
        ("#### " + "9" * 400, None),
    ],
)
def test_parse_reads_the_number_after_the_last_cue(text: str, value: float | None) -> None:
    assert AnswerCodec(make_space()).parse(text) == value


def test_limits_come_from_training() -> None:
    space = AnswerCodec.fit([Target(123456), Target(0.125)], char_level(), rationale_budget=None).space
    assert (space.max_integer_digits, space.max_decimals, space.budget) == (7, 3, 0)
    space = AnswerCodec.fit([Target(7)], char_level(), rationale_budget=50).space
    assert (space.max_integer_digits, space.max_decimals, space.budget) == (4, 2, 0)
    space = AnswerCodec.fit([Target(3.799999952316284, "ab"), Target(1)], char_level(), rationale_budget=None).space
    assert (space.max_decimals, space.budget) == (2, 3)  # blank, a, b
    codec = AnswerCodec.fit([Target(7, "a")], char_level(), rationale_budget=9, max_integer_digits=2, max_decimals=0)
    assert (codec.space.max_integer_digits, codec.space.max_decimals, codec.space.budget) == (2, 0, 9)
    with pytest.raises(CodecError, match=r"value 7\.5 needs more than 0 decimals.*Raise `max_decimals`"):
        codec.encode(Target(7.5))


@pytest.mark.parametrize(
    ("targets", "settings", "message"),
    [
        ([], {}, "`targets` is empty"),
        ([Target(float("nan"))], {}, "target 0 is nan"),
        ([Target(1), Target("2")], {}, "target 1 is '2'"),
        ([Target(1e13)], {}, "target 0: value .* more than 12 digits"),
        (
            [Target(1, "a"), Target(1, "abcd")],
            {"rationale_budget": 3},
            r"target 1: rationale 'abcd'.* has 5 tokens.* is 3\. Raise it",
        ),
        ([Target(1, "a")], {"rationale_budget": 0}, "`rationale_budget` is 0"),
        ([Target(1)], {"max_decimals": 5}, r"`max_decimals` is 5, but must be a whole number 0\.\.4"),
        ([Target(1)], {"max_integer_digits": 0}, "`max_integer_digits` is 0"),
        ([Target(1, "x\n#### 1")], {}, "target 0: rationale .*contains the cue '####'"),
        ([Target(1), Target(1, "caf\u00e9")], {}, "rationale of target 1: .*cannot spell"),
    ],
)
def test_bad_training_targets_are_errors(targets: list[Target], settings: dict[str, int], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        AnswerCodec.fit(targets, char_level(), **settings)


def test_tokenizer_without_digits_is_an_error() -> None:
    with pytest.raises(CodecError, match="cannot spell the character '0'"):
        AnswerCodec.fit([Target(1)], without_digits(), rationale_budget=None)


def test_blank_rationales_count_as_none() -> None:
    assert not AnswerCodec.fit([Target(1, " \n"), Target(2, "")], gpt2_like(), rationale_budget=None).with_rationale


def test_rationale_where_training_had_none_is_an_error() -> None:
    codec = AnswerCodec.fit([Target(1)], gpt2_like(), rationale_budget=None)
    with pytest.raises(CodecError, match="rationale 'so' came, but no training target had one"):
        codec.encode(Target(1, "so"))


def test_a_row_without_rationale_goes_straight_to_the_cue() -> None:
    codec = AnswerCodec.fit([Target(1, "so")], llama2_like(), rationale_budget=None)
    assert codec.encode(Target(1))[: len(codec.space.cue)] == codec.space.cue


def test_loaded_codec_asks_for_its_tokenizer_where_it_needs_one() -> None:
    codec = AnswerCodec.fit([Target(1, "a so")], llama2_like(), rationale_budget=None)
    loaded = AnswerCodec.from_dict(codec.to_dict())
    assert loaded.encode(Target(1)) == codec.encode(Target(1))
    with pytest.raises(CodecError, match=r"Call `attach\(tokenizer\)`"):
        loaded.encode(Target(1, "so"))
    loaded.attach(llama2_like())
    assert loaded.encode(Target(1, "so")) == codec.encode(Target(1, "so"))


def test_illegal_tokens_are_errors() -> None:
    codec = AnswerCodec(make_space())
    with pytest.raises(CodecError, match="the 3 tokens end before the answer does"):
        codec.decode((4, 6, 5))
    with pytest.raises(CodecError, match="end before the answer does"):
        codec.decode((4, 6, 5, CHARACTERS["1"], CHARACTERS["."], CHARACTERS["0"]))
    with pytest.raises(CodecError, match="token 10 is not legal in phase 'number'"):
        codec.decode((4, 6, 5, CHARACTERS["0"], CHARACTERS["0"]))
    with pytest.raises(CodecError, match="must end with the stop token 0"):
        codec.weighed_positions((4, 6, 5, CHARACTERS["1"]))


def test_damaged_data_is_an_error() -> None:
    data = AnswerCodec(make_space()).to_dict()
    for name in set(data) - {"codec"}:
        with pytest.raises(CodecError, match=f"saved answer codec is damaged.*{name}"):
            AnswerCodec.from_dict({key: value for key, value in data.items() if key != name})
    with pytest.raises(CodecError, match="none equal to the stop 4"):
        AnswerCodec.from_dict(data | {"stop": 4})
    with pytest.raises(CodecError, match="budget -1"):
        AnswerCodec.from_dict(data | {"budget": -1})


def test_math_answers_cannot_be_counted() -> None:
    assert not isinstance(make_space(), FiniteSpace)
    assert not isinstance(AnswerCodec(make_space()), FiniteCodec)

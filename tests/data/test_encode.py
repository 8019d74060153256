import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from predgen.codecs.label import LabelCodec
from predgen.codecs.number import NumberCodec
from predgen.core import Example, Target
from predgen.data.encode import Encoder, uses_bos
from predgen.data.shorten import CUT_PARTS
from predgen.errors import CodecError, ConfigError, DataError
from tokenizers_for_tests import char_level, every_tokenizer, gpt2_like, llama2_like

TEMPLATE = "Title: {title}\nReview: {text}\nScore:"
TOKENIZERS = every_tokenizer()
every_kind = pytest.mark.parametrize("name", TOKENIZERS)
# Any Unicode text survives these, but for Llama's mark "▁", which decodes to a blank; char_level knows ASCII only.
unicode_kind = pytest.mark.parametrize("name", [name for name in TOKENIZERS if name != "char_level"])
SPECIAL = ("<|endoftext|>", "</s>", "<s>", "<unk>", "<eos>", "<pad>")
any_characters = st.characters(exclude_characters="▁", exclude_categories=["Cs"])
any_text = st.lists(
    st.text(any_characters, max_size=12) | st.sampled_from([*SPECIAL, " ", "\n", "a good film"]), max_size=8
).map("".join)
ascii_characters = st.characters(min_codepoint=32, max_codepoint=126)
ascii_text = st.text(ascii_characters, max_size=60)


def label_codec(tokenizer: PreTrainedTokenizerFast) -> LabelCodec:
    return LabelCodec.fit(["no", "not sure", "yes"], tokenizer)


def encoder_of(name: str, template: str = TEMPLATE, max_length: int = 512, **options: object) -> Encoder:
    tokenizer = TOKENIZERS[name]
    codec = label_codec(tokenizer)
    return Encoder(tokenizer, template, codec, labels=codec.labels, max_length=max_length, **options)


def decoded(encoder: Encoder, ids: tuple[int, ...]) -> str:
    """Text of a prompt, without the BOS that stands before it."""
    bos = encoder.tokenizer.bos_token_id
    content = ids[1:] if uses_bos(encoder.tokenizer) and ids[:1] == (bos,) else ids
    return encoder.tokenizer.decode(content, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def example(title: str = "Up", text: str = "A good film.", label: str = "yes", **rest: object) -> Example:
    return Example(rest.pop("row_id", 0), {"title": title, "text": text}, Target(label), **rest)


# --- BOS --------------------------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("text", ["A good film.", "<s> a film", "<s><s>", "</s>", "<|endoftext|>", ""])
def test_a_prompt_has_one_bos_at_most_and_only_in_front(name: str, text: str) -> None:
    for template in (TEMPLATE, "{text}{title}", "<s>{text} {title}", "<s> {text}: {title}"):
        encoder = encoder_of(name, template)
        ids = encoder.encode(example(text=text)).prompt_ids
        assert bool(encoder._bos) is (name == "llama2_like")
        if encoder._bos:
            assert [i for i, token in enumerate(ids) if token == encoder.tokenizer.bos_token_id] == [0]


def test_bos_is_that_of_the_tokenizers_own_convention() -> None:
    assert uses_bos(llama2_like())
    assert not uses_bos(char_level())  # it has none
    assert not uses_bos(gpt2_like())  # it has one, but puts it before no text


def test_prompt_equals_the_tokenizers_own_ids() -> None:
    prompt = "Title: Up\nReview: A good film.\nScore:"
    for name, tokenizer in TOKENIZERS.items():
        expected = tuple(tokenizer.encode(prompt, add_special_tokens=True))
        assert encoder_of(name).encode(example()).prompt_ids == expected, name


def test_a_template_may_write_the_bos_itself() -> None:
    ids = encoder_of("llama2_like", "<s>Review: {text}").encode(example()).prompt_ids
    assert ids == tuple(llama2_like().encode("<s>Review: A good film.", add_special_tokens=False))
    assert ids.count(llama2_like().bos_token_id) == 1


# --- answers ----------------------------------------------------------------------------------------------------------


@every_kind
def test_every_answer_ends_with_the_one_stop(name: str) -> None:
    encoder = encoder_of(name)
    for label in encoder.labels:
        ids = encoder.encode(example(label=label)).answer_ids
        assert ids == encoder.codec.encode(Target(label))
        assert [token == encoder.tokenizer.eos_token_id for token in ids] == [False] * (len(ids) - 1) + [True]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(TOKENIZERS)),
    st.integers(24, 60),
    st.text(ascii_characters, max_size=5),
    ascii_text,
    st.sampled_from(["no", "not sure", "yes"]),
)
def test_answers_are_never_shortened(name: str, max_length: int, title: str, text: str, label: str) -> None:
    encoder = encoder_of(name, "{title}: {text}?", max_length)
    row = encoder.encode(example(title, text, label))
    assert row.answer_ids == encoder.codec.encode(Target(label))
    assert len(row.prompt_ids) + len(row.answer_ids) <= max_length
    assert len(row.prompt_ids) <= encoder.max_prompt_tokens  # room for the longest answer, whatever this one is


def test_rows_without_target_codec_or_wish_have_no_answer() -> None:
    encoder = encoder_of("char_level")
    unlabelled = encoder.encode(Example(3, {"title": "Up", "text": "Good."}))
    assert (unlabelled.answer_ids, unlabelled.weighed) == ((), ())
    assert math.isnan(unlabelled.target)
    scored_only = encoder.encode(example(), with_answer=False)
    assert (scored_only.answer_ids, scored_only.target) == ((), 2.0)
    predictor = Encoder(char_level(), TEMPLATE, None, labels=("no", "yes"))
    assert predictor.encode(example()).answer_ids == ()
    assert predictor.max_prompt_tokens == 512


def test_a_number_outside_the_range_can_be_scored_but_not_written() -> None:
    codec = NumberCodec.fit([0.0, 5.0], char_level(), scale=(0.0, 5.0))
    encoder = Encoder(char_level(), TEMPLATE, codec)
    row = Example(0, {"title": "Up", "text": "Good."}, Target(7.25))
    assert encoder.encode(row, with_answer=False).target == 7.25
    with pytest.raises(CodecError, match=r"value 7.25 is outside the range 0.0..5.0"):
        encoder.encode(row)


# --- targets and weights ----------------------------------------------------------------------------------------------


def test_target_is_class_index_or_raw_number() -> None:
    encoder = encoder_of("char_level")
    assert [encoder.encode(example(label=label)).target for label in encoder.labels] == [0.0, 1.0, 2.0]
    codec = NumberCodec.fit([0.0, 5.0], char_level(), decimals=1)
    numbers = Encoder(char_level(), TEMPLATE, codec)
    row = numbers.encode(Example(0, {"title": "", "text": "x"}, Target(1.26)))
    assert row.target == 1.26  # heads see the raw number, only its tokens are rounded
    assert codec.decode(row.answer_ids[:-1]).value == 1.3


def test_weighed_marks_choices_and_never_separator_point_or_stop() -> None:
    codec = NumberCodec.fit([0.0, 99.9], char_level(), scale=(0.0, 99.9), decimals=1)
    row = Encoder(char_level(), TEMPLATE, codec).encode(Example(0, {"title": "", "text": "x"}, Target(13.4)))
    assert "".join(char_level().convert_ids_to_tokens(list(row.answer_ids))) == " 13.4<eos>"
    assert row.weighed == (False, True, True, False, True, False)


def test_row_id_and_weight_are_kept() -> None:
    row = encoder_of("char_level").encode(example(row_id=41, weight=2.5))
    assert (row.row_id, row.weight, row.is_truncated) == (41, 2.5, False)


def test_unseen_label_is_refused_by_row_and_name() -> None:
    with pytest.raises(DataError, match=r"row 8 has the label 'maybe'.*'no', 'not sure', 'yes'"):
        encoder_of("char_level").encode(example(label="maybe", row_id=7), with_answer=False)


# --- shortening -------------------------------------------------------------------------------------------------------


def check_shortened(encoder: Encoder, row: Example, shortened: str, other: str) -> str:
    """The prompt is the template with all but one field whole; return what is left of that field."""
    encoded = encoder.encode(row)
    assert len(encoded.prompt_ids) <= encoder.max_prompt_tokens
    assert encoded.is_truncated
    before, after = {
        "text": (f"Title: {other}\nReview: ", "\nScore:"),
        "title": ("Title: ", f"\nReview: {other}\nScore:"),
    }[shortened]
    prompt = decoded(encoder, encoded.prompt_ids)
    assert prompt.startswith(before)
    assert prompt.endswith(after)
    left = prompt[len(before) : len(prompt) - len(after)]
    assert row.fields[shortened].startswith(left)
    assert len(left) < len(row.fields[shortened])
    return left


@unicode_kind
@settings(max_examples=40, deadline=None)
@given(any_text, any_text)
def test_a_prompt_is_the_template_filled_in(name: str, title: str, text: str) -> None:
    encoder = encoder_of(name, max_length=2000)
    encoded = encoder.encode(example(title, text))
    assert decoded(encoder, encoded.prompt_ids) == f"Title: {title}\nReview: {text}\nScore:"
    assert not encoded.is_truncated


@unicode_kind
@settings(max_examples=40, deadline=None)
@given(any_text, st.integers(0, 30))
def test_only_the_long_field_is_shortened_whatever_it_holds(name: str, text: str, room: int) -> None:
    long = text + " and so on" * 30
    encoder = encoder_of(name)
    empty = len(encoder.encode(example("Up", "")).prompt_ids)
    encoder = encoder_of(name, max_length=empty + room + encoder.codec.max_tokens)
    check_shortened(encoder, example("Up", long), "text", "Up")


@settings(max_examples=40, deadline=None)
@given(ascii_text, st.integers(0, 60))
def test_shortening_wastes_no_room_where_tokens_are_characters(text: str, room: int) -> None:
    # One token per character: what the template leaves is filled to the last token.
    long = text + "x" * 100
    assert len("Title: Up\nReview: \nScore:") == 25
    encoder = encoder_of("char_level")
    encoder = encoder_of("char_level", max_length=25 + room + encoder.codec.max_tokens)
    assert check_shortened(encoder, example("Up", long), "text", "Up") == long[:room]


def test_the_longest_field_of_the_row_is_shortened() -> None:
    encoder = encoder_of("char_level", max_length=60)
    check_shortened(encoder, example("Up", "x" * 90), "text", "Up")
    check_shortened(encoder, example("y" * 90, "Good."), "title", "Good.")


def test_truncate_field_decides_which_field_is_shortened() -> None:
    encoder = encoder_of("char_level", max_length=70, truncate_field="title")
    check_shortened(encoder, example("y" * 20, "x" * 30), "title", "x" * 30)  # though it is the shorter one


def test_a_row_that_fits_exactly_is_left_whole() -> None:
    row = example("Up", "x" * 30)
    encoder = encoder_of("char_level")
    fits = 25 + 30 + encoder.codec.max_tokens  # 25: see above
    assert not encoder_of("char_level", max_length=fits).encode(row).is_truncated
    assert encoder_of("char_level", max_length=fits - 1).encode(row).is_truncated


@every_kind
def test_a_field_of_special_token_strings_is_shortened_like_any_other(name: str) -> None:
    # As ordinary text each has many tokens, as special token one: a count of special tokens would be far too low.
    encoder = encoder_of(name)
    template = len(encoder.encode(example("Up", "")).prompt_ids)
    encoder = encoder_of(name, max_length=template + 10 + encoder.codec.max_tokens)
    left = check_shortened(encoder, example("Up", encoder.tokenizer.eos_token * 20), "text", "Up")
    assert left


def test_a_field_that_stands_twice_is_shortened_in_both_places() -> None:
    encoder = encoder_of("char_level", "{text}|{text}:", max_length=12 + label_codec(char_level()).max_tokens)
    encoded = encoder.encode(example(text="xyz" * 20))
    # 122 tokens are 110 too many, more than the 60 of the field alone; 12 leave 5 for each place.
    assert decoded(encoder, encoded.prompt_ids) == "xyzxy|xyzxy:"


def parts_of(encoder: Encoder, row: Example) -> tuple[str, str]:
    """What a shortened prompt holds of title and text."""
    encoded = encoder.encode(row)
    assert len(encoded.prompt_ids) <= encoder.max_prompt_tokens
    assert encoded.is_truncated
    found = re.fullmatch(r"Title: (.*)\nReview: (.*)\nScore:", decoded(encoder, encoded.prompt_ids), re.DOTALL)
    assert found is not None
    return found[1], found[2]


def room_for(n: int, **settings: Any) -> Encoder:
    """An encoder of one token per character that has room for `n` characters of fields; the template has 23."""
    return encoder_of("char_level", max_length=23 + n + label_codec(char_level()).max_tokens, **settings)


@pytest.mark.parametrize(
    ("title", "text", "room", "left"),
    [
        (40, 50, 45, (40, 5)),  # one field gives enough: the other stays whole
        (40, 50, 30, (15, 15)),  # it does not: both are cut to one length
        (4, 90, 20, (4, 16)),  # a short field stays whole beside a long one
        (40, 50, 31, (15, 15)),  # 31 is odd: a common length leaves one place free
        (40, 50, 0, (0, 0)),
    ],
)
def test_two_long_fields_are_shortened_longest_first(title: int, text: int, room: int, left: tuple[int, int]) -> None:
    found = parts_of(room_for(room), example("y" * title, "x" * text))
    assert found == ("y" * left[0], "x" * left[1])


def test_a_named_field_gives_all_it_has_before_others_are_touched() -> None:
    encoder = room_for(35, truncate_field="title")
    assert parts_of(encoder, example("y" * 40, "x" * 50)) == ("", "x" * 35)
    assert parts_of(encoder, example("y" * 40, "x" * 20)) == ("y" * 15, "x" * 20)


@pytest.mark.parametrize(("part", "left"), [("tail", "abcdefg"), ("head", "tuvwxyz"), ("middle", "abcdxyz")])
def test_what_is_cut_is_a_choice(part: str, left: str) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    assert parts_of(room_for(9, truncate=part), example("Up", letters)) == ("Up", left)


@every_kind
@pytest.mark.parametrize("part", CUT_PARTS)
@settings(max_examples=25, deadline=None)
@given(any_text, any_text, st.integers(0, 80), st.sampled_from([None, "title", "text"]))
def test_a_row_whose_template_fits_is_never_refused(
    name: str, part: str, title: str, text: str, room: int, field: str | None
) -> None:
    row = example(title + " and so on" * 9, text + " or not" * 9)
    whole = encoder_of(name, max_length=2000)
    empty = len(whole.encode(example("", "")).prompt_ids)
    limit = empty + room
    encoder = encoder_of(
        name, max_length=limit + label_codec(whole.tokenizer).max_tokens, truncate=part, truncate_field=field
    )
    encoded, before = encoder.encode(row), whole.encode(row)
    if len(before.prompt_ids) <= limit:
        assert encoded == before  # what fits is left as it is
        return
    assert encoded.is_truncated
    assert len(encoded.prompt_ids) + len(encoded.answer_ids) <= encoder.max_length
    assert encoded.answer_ids == before.answer_ids
    prompt = decoded(encoder, encoded.prompt_ids)
    assert prompt.startswith("Title: ")
    assert prompt.endswith("\nScore:")


def test_ids_of_a_shortened_prompt_are_those_of_its_text() -> None:
    # The tokens at a cut are not those that the whole field had there: the shortened text is tokenised as one.
    encoder = encoder_of("gpt2_like", max_length=60)
    encoded = encoder.encode(example("a cold evening " * 20, "a splendid play " * 30))
    assert list(encoded.prompt_ids) == encoder.tokenizer.encode(
        decoded(encoder, encoded.prompt_ids), add_special_tokens=False
    )


def test_shortening_a_long_row_takes_few_passes_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of("gpt2_like", max_length=100)
    passes: list[int] = []
    original = encoder._ids
    monkeypatch.setattr(encoder, "_ids", lambda text: passes.append(len(text)) or original(text))
    encoder.encode(example("a cold evening " * 9000, "a splendid play " * 8000))
    whole = 9000 * 15 + 8000 * 16
    assert sum(passes) < 3 * whole


@pytest.mark.parametrize("part", CUT_PARTS)
@pytest.mark.parametrize("name", ["gpt2_like", "llama2_like"])
@pytest.mark.parametrize("sizes", [(0, 900), (700, 900), (900, 900), (20, 2000)])
def test_a_huge_field_is_cut_before_it_is_tokenised_to_what_all_of_it_gives(
    name: str, part: str, sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = example(" ".join(map(str, range(sizes[0]))), " and ".join(map(str, range(sizes[1]))))
    encoder = encoder_of(name, max_length=60, truncate=part)
    whole = encoder.encode(row)
    monkeypatch.setattr("predgen.data.shorten.MOST_FIELD_CHARACTERS", 500)
    monkeypatch.setattr("predgen.data.shorten._LONGEST_TOKEN", 16)
    longest: list[int] = []
    original = encoder._ids
    monkeypatch.setattr(encoder, "_ids", lambda text: longest.append(len(text)) or original(text))
    assert encoder.encode(row) == whole
    assert max(longest) < 2 * (500 + 16 * 60) + 50


def test_a_template_that_does_not_fit_is_named() -> None:
    encoder = encoder_of("char_level", max_length=30)
    with pytest.raises(DataError, match=r"row 5: `prompt` has 23 tokens .* `max_length` 30 leaves 20"):
        encoder.encode(example("y" * 40, "x" * 50, row_id=4))


def test_no_room_for_a_prompt_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"up to 10 tokens, so `max_length` 10 leaves no room"):
        encoder_of("char_level", max_length=10)  # " not sure" and the stop: 10


def test_truncate_field_must_be_in_the_template() -> None:
    with pytest.raises(ConfigError, match="`truncate_field` is 'body', but the prompt has the fields title, text"):
        encoder_of("char_level", truncate_field="body")


def test_an_empty_prompt_is_refused() -> None:
    encoder = encoder_of("char_level", "{text}")
    with pytest.raises(DataError, match="row 3: the prompt is empty"):
        encoder.encode(example(text=" \n", row_id=2))
    assert encoder_of("llama2_like", "{text}").encode(example(text="")).prompt_ids == (1,)  # the BOS is a prompt


# --- special tokens ---------------------------------------------------------------------------------------------------


@every_kind
@settings(max_examples=40, deadline=None)
@given(any_text, any_text)
def test_special_token_strings_in_a_row_stay_ordinary_text(name: str, title: str, text: str) -> None:
    encoder = encoder_of(name, "{title}|{text}:")
    ids = encoder.encode(example(title, text)).prompt_ids
    special = {i for i in encoder.tokenizer.all_special_ids if i != encoder.tokenizer.unk_token_id}
    if name == "char_level":
        special.discard(encoder.tokenizer.unk_token_id)
    assert special.isdisjoint(ids[len(encoder._bos) :])


@every_kind
def test_the_eos_string_in_a_row_never_yields_the_eos_id(name: str) -> None:
    encoder = encoder_of(name)
    end = encoder.tokenizer.eos_token
    for text in (end, f"a {end} b", f"{end}{end}", f"it ends.{end}"):
        row = example(end, text)
        ids = encoder.encode(row).prompt_ids
        assert encoder.tokenizer.eos_token_id not in ids
        assert decoded(encoder, ids) == f"Title: {end}\nReview: {text}\nScore:"
    # Guard: the tokenizer itself reads the string as the special token.
    assert encoder.tokenizer.eos_token_id in encoder.tokenizer.encode(f"a {end} b")


def test_a_special_token_is_not_made_of_template_and_text_together() -> None:
    encoder = encoder_of("gpt2_like", "Read <|{text} {title}:")
    ids = encoder.encode(example(text="endoftext|>")).prompt_ids
    assert gpt2_like().eos_token_id not in ids
    assert decoded(encoder, ids) == "Read <|endoftext|> Up:"
    encoder = encoder_of("llama2_like", "{title}{text}?")
    ids = encoder.encode(example("<", "/s>")).prompt_ids
    assert llama2_like().eos_token_id not in ids


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """GPT-2's kind with an added special token that has no name of its own, as Llama 3's <|start_header_id|>."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=gpt2_like().backend_tokenizer, eos_token="<|endoftext|>")
    tokenizer.add_tokens([AddedToken("<|turn|>", special=True, normalized=False)], special_tokens=True)
    return tokenizer


def test_special_tokens_without_a_name_stay_ordinary_text_in_a_row() -> None:
    tokenizer = chat_tokenizer()
    turn = tokenizer.convert_tokens_to_ids("<|turn|>")
    assert turn in tokenizer.encode("a <|turn|> b")
    encoder = Encoder(tokenizer, "Review: {text}\nScore:", None)
    assert turn not in encoder.encode(Example(0, {"text": "a <|turn|> b"})).prompt_ids


def test_special_tokens_of_the_template_are_special_even_beside_a_rows_own() -> None:
    tokenizer = chat_tokenizer()
    turn, end = tokenizer.convert_tokens_to_ids("<|turn|>"), tokenizer.eos_token_id
    encoder = Encoder(tokenizer, "<|turn|>Review: {text}<|turn|>Score:", None)
    for text in ("a good film", "a <|turn|><|endoftext|> b"):
        ids = encoder.encode(Example(0, {"text": text})).prompt_ids
        assert (ids[0], ids.count(turn), ids.count(end)) == (turn, 2, 0)
        assert tokenizer.decode(ids) == f"<|turn|>Review: {text}<|turn|>Score:"


def test_the_tokenizer_is_left_as_it_was() -> None:
    tokenizer = gpt2_like()
    before = tokenizer.encode("a <|endoftext|> b")
    encoder_of("gpt2_like").encode(example(text="<|endoftext|>" * 3))
    assert tokenizer.encode("a <|endoftext|> b") == before
    assert tokenizer.eos_token_id in before


# --- blanks -----------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(list(TOKENIZERS)),
    st.sampled_from(["{title} {text}", "{text}", "{title}: {text}", "{title}{text}", "Q: {title} {text}", TEMPLATE]),
    ascii_text | st.sampled_from(["", " ", "a  ", " \n ", "a \n "]),
    st.sampled_from(["", "  ", "Up", "Up \n"]),
    st.sampled_from([20, 200]),
)
def test_prompts_end_without_blanks(name: str, template: str, text: str, title: str, max_length: int) -> None:
    encoder = encoder_of(name, template, 200 if template == TEMPLATE else max_length)
    full = template.format(title=title, text=text).rstrip()
    if not full and not encoder._bos:
        with pytest.raises(DataError, match="empty"):
            encoder.encode(example(title, text))
        return
    encoded = encoder.encode(example(title, text))
    prompt = decoded(encoder, encoded.prompt_ids)
    assert prompt == prompt.rstrip()
    if not encoded.is_truncated:
        assert prompt.lstrip() == full.lstrip()  # Llama 2's kind loses a blank at the start when decoding


def test_braces_are_literal_where_doubled() -> None:
    encoder = encoder_of("char_level", "{{x}} {text} {{{title}}}:")
    ids = encoder.encode(example()).prompt_ids
    assert "".join(char_level().convert_ids_to_tokens(list(ids))) == "{x} A good film. {Up}:"


def test_index_of_the_answer_is_kept() -> None:
    tokenizer = TOKENIZERS["char_level"]
    labels = label_codec(tokenizer)  # "no" starts "not sure"
    numbers = NumberCodec.fit([0.25, -1.5, 3.75], tokenizer, scale=(-2.0, 4.0))
    for codec, values in ((labels, labels.labels), (numbers, (-2.0, -0.25, 0.0, 3.75, 4.0))):
        encoder = Encoder(tokenizer, "{text}:", codec, labels=getattr(codec, "labels", ()))
        rows = [encoder.encode(Example(0, {"text": "x"}, Target(value))) for value in values]
        assert [codec.value_at(row.answer) for row in rows] == list(values)
        assert encoder.encode(Example(0, {"text": "x"}, Target(values[0])), with_answer=False).answer is None
        with pytest.raises(CodecError):
            codec.space.index_of([codec.space.stop])
    assert labels.space.index_of(()) is None

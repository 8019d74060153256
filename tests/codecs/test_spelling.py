import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from predgen.codecs.spelling import char_ids, continuation_ids, separator_ids, stop_id, text_ids
from predgen.core import Example
from predgen.data.encode import Encoder
from predgen.errors import CodecError, ModelError
from tokenizers_for_tests import char_level, every_tokenizer, gpt2_like, llama2_like, without_digits, word_level

CHARACTERS = "0123456789.-+"
TOKENIZERS = every_tokenizer()


@pytest.fixture(params=sorted(TOKENIZERS))
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return TOKENIZERS[request.param]


def written(tokenizer: PreTrainedTokenizerFast, ids: tuple[int, ...], prompt: str = "Score:") -> str:
    return tokenizer.decode(tokenizer.encode(prompt, add_special_tokens=False) + list(ids))[len(prompt) :]


def test_characters_and_separator_spell_a_number_after_a_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = char_ids(tokenizer, CHARACTERS)
    number = "-2024.13+5678900"
    assert written(tokenizer, (*separator_ids(tokenizer), *(ids[c] for c in number))) == " " + number
    assert len({*ids.values()}) == len(CHARACTERS)


def test_characters_are_not_word_starts() -> None:
    ids = char_ids(llama2_like(), "4")
    assert llama2_like().convert_ids_to_tokens(ids["4"]) == "4"
    assert separator_ids(llama2_like()) == (llama2_like().convert_tokens_to_ids("▁"),)


def test_merged_digits_are_still_found_one_by_one() -> None:
    tokenizer = gpt2_like()
    assert len(tokenizer.encode(" 2024", add_special_tokens=False)) == 1  # the tokenizer would merge them
    assert tokenizer.convert_ids_to_tokens(list(char_ids(tokenizer, "204").values())) == ["2", "0", "4"]


def test_characters_without_a_token_use_byte_tokens() -> None:
    tokenizer = llama2_like()
    assert tokenizer.convert_ids_to_tokens(char_ids(tokenizer, "6")["6"]) == "<0x36>"
    assert written(tokenizer, (char_ids(tokenizer, "6")["6"],)) == "6"


def test_word_level_tokenizers_have_digits_but_no_separator() -> None:
    assert separator_ids(word_level()) == ()
    ids = char_ids(word_level(), "13")
    assert word_level().convert_ids_to_tokens(list(ids.values())) == ["1", "3"]


def test_missing_character_names_tokenizer_and_character() -> None:
    with pytest.raises(CodecError, match=r"tokenizer \w+ cannot spell the character '0' alone.*Use a base model"):
        char_ids(without_digits(), CHARACTERS)


@pytest.mark.parametrize(
    "text", ["positive", "not sure", "2024", "A film.\n\nTwo lines: 3 < 5", "a####b", "#### 12", "it's  spaced", "yes."]
)
def test_text_continues_the_prompt(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert written(tokenizer, text_ids(tokenizer, text)) == " " + text


def test_text_is_spelled_as_the_tokenizer_spells_it_after_a_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    whole = tokenizer.encode("Answer: positive surprise", add_special_tokens=False)
    ids = text_ids(tokenizer, "positive surprise")
    assert tuple(whole[-len(ids) :]) == ids


@pytest.mark.parametrize("special", ["<|endoftext|>", "</s>", "<s>", "<eos>", "<unk>", "<|end|>", "<pad>"])
def test_special_strings_are_ordinary_text(tokenizer: PreTrainedTokenizerFast, special: str) -> None:
    ids = text_ids(tokenizer, f"a {special} b")
    assert not {*ids} & {*tokenizer.all_special_ids}
    assert written(tokenizer, ids) == f" a {special} b"


def test_looking_up_leaves_the_tokenizer_as_it_was(tokenizer: PreTrainedTokenizerFast) -> None:
    eos = tokenizer.eos_token
    before = tokenizer.backend_tokenizer.to_str()
    text_ids(tokenizer, f"a {eos} b")
    assert tokenizer.backend_tokenizer.encode_special_tokens is False
    assert tokenizer.backend_tokenizer.to_str() == before
    assert tokenizer.eos_token_id in tokenizer.encode(f"a {eos} b")


def test_cue_continues_a_rationale(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = continuation_ids(tokenizer, "\n####")
    assert written(tokenizer, ids, "so a") == "\n####"


def test_unknown_characters_are_an_error() -> None:
    with pytest.raises(CodecError, match=r"cannot spell ' caf\u00e9'.*other characters"):
        text_ids(char_level(), "caf\u00e9")
    with pytest.raises(CodecError, match=r"cannot spell ' a terrible film'"):
        text_ids(word_level(), "a terrible film")


def test_long_text_is_shortened_in_messages() -> None:
    with pytest.raises(CodecError, match=r"\.\.\.': its tokens|x\.\.\.'") as caught:
        text_ids(char_level(), "x" * 5000 + "\u00e9")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_blank_text_is_an_error(text: str) -> None:
    with pytest.raises(CodecError, match="visible character"):
        text_ids(char_level(), text)


def test_tokenizer_without_end_token_is_an_error() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=char_level().backend_tokenizer)
    with pytest.raises(CodecError, match=r"eos_token_id None.*tokenizer_config\.json"):
        stop_id(tokenizer)


def test_stop_is_the_end_token(tokenizer: PreTrainedTokenizerFast) -> None:
    assert stop_id(tokenizer) == tokenizer.eos_token_id


def with_pattern(pattern: str) -> PreTrainedTokenizerFast:
    """Split by a pattern that somebody else has chosen."""
    backend = Tokenizer.from_str(gpt2_like().backend_tokenizer.to_str())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end, bos_token=end)


def test_a_pattern_that_never_comes_to_an_end_is_given_up_in_a_sentence() -> None:
    tokenizer, text = with_pattern("(a+)+$"), "a" * 30 + "!"  # 2^30 ways to divide the letters
    for template in ("{text}", "<|endoftext|>{text}<|endoftext|>"):
        encoder = Encoder(tokenizer, template, None)
        assert encoder.encode(Example(0, {"text": "no"})).prompt_ids
        with pytest.raises(ModelError, match=r"gave up on a text: .*retry-limit.*Shorten"):
            encoder.encode(Example(0, {"text": text}))
    with pytest.raises(ModelError, match="gave up on a text"):
        text_ids(tokenizer, text)


def test_a_text_that_a_vocabulary_cannot_take_is_named_as_the_tokenizer_s() -> None:
    without_unknown = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "</s>": 1})))
    with pytest.raises(ModelError, match=r"gave up on a text: .*UNK"):
        text_ids(without_unknown, "b")

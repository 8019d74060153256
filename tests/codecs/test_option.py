"""Options as answers: any text up to a budget."""

import json

import pytest

from predgen.codecs.option import OptionCodec, OptionSpace
from predgen.core import Target
from predgen.errors import CodecError
from predgen.registries import codecs
from tokenizers_for_tests import char_level, every_tokenizer


@pytest.mark.parametrize("name", sorted(every_tokenizer()))
def test_options_read_as_written(name: str) -> None:
    tokenizer = every_tokenizer()[name]
    codec = OptionCodec.fit([("a dry cup", "rain"), ("12 eggs, fried",)], tokenizer)
    for text in ("a dry cup", "rain", "12 eggs, fried"):
        ids = codec.encode(Target(f" {text} "))
        assert codec.decode(ids[:-1]).value == text
        assert ids[-1] == codec.space.stop
        assert len(ids) <= codec.max_tokens
        assert codec.weighed_positions(ids) == (False,) * len(ids)
    assert codec.parse(" rain\n") == "rain"
    assert codec.parse(" ") is None


def test_space_ends_at_its_budget() -> None:
    space = OptionSpace(stop=0, budget=2)
    assert space.legal(space.start) is None
    state = space.advance(space.advance(space.start, 5), 6)
    assert space.legal(state) == (0,)
    for state, token in ((2, 5), (0, 0)):
        with pytest.raises(CodecError, match=f"token {token} cannot follow {state} of 2 tokens"):
            space.advance(state, token)


def test_saved_codec_needs_its_tokenizer_again() -> None:
    codec = OptionCodec.fit([("ab", "c")], char_level())
    loaded = codecs.get("option").from_dict(json.loads(json.dumps(codec.to_dict())))
    assert (loaded.to_dict(), loaded.max_tokens) == (codec.to_dict(), 4)  # blank, a, b, stop
    with pytest.raises(CodecError, match=r"has no tokenizer, which options need\. Call `attach"):
        loaded.encode(Target("ab"))
    loaded.attach(char_level())
    assert loaded.encode(Target("ab")) == codec.encode(Target("ab"))


def test_nothing_to_fit_and_damaged_data_are_errors() -> None:
    with pytest.raises(CodecError, match="`options` is empty"):
        OptionCodec.fit([()], char_level())
    with pytest.raises(CodecError, match="saved option codec is damaged"):
        OptionCodec.from_dict({"stop": 0})

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predgen.codecs.base import FiniteCodec, FiniteSpace
from predgen.codecs.label import LabelCodec
from predgen.core import Target
from predgen.errors import CodecError
from predgen.registries import codecs
from tokenizers_for_tests import char_level, every_tokenizer, gpt2_like, word_level

names = st.text(string.ascii_letters + " #'.-", min_size=1, max_size=8).map(str.strip).filter(bool)
prefixed = st.lists(names, min_size=2, max_size=6).map(lambda found: [*found, found[0] + found[1], found[0] + "s"])
label_sets = (
    (st.lists(names, min_size=2, max_size=8) | prefixed)
    .map(lambda found: sorted({*found}))
    .filter(lambda found: len(found) > 1)
)


@given(label_sets, st.sampled_from(sorted(every_tokenizer())))
def test_labels_round_trip_along_legal_paths(labels: list[str], tokenizer: str) -> None:
    codec = LabelCodec.fit(labels, every_tokenizer()[tokenizer])
    loaded = LabelCodec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert loaded.to_dict() == codec.to_dict()
    for index, label in enumerate(labels):
        *content, stop = codec.encode(Target(label))
        assert loaded.encode(Target(label)) == (*content, stop)
        assert stop == codec.space.stop
        state = codec.space.start
        for token in content:
            assert token in codec.space.legal(state)
            state = codec.space.advance(state, token)
        assert stop in codec.space.legal(state)
        assert codec.decode(content).value == loaded.decode(content).value == codec.text(content) == label
        assert codec.space.answer_at(state) == codec.index(label) == index
        assert codec.value_at(index) == label
        assert codec.parse(f"  {label}\n") == label
        assert len(content) + 1 <= codec.max_tokens
    assert max(len(codec.encode(Target(label))) for label in labels) == codec.max_tokens
    assert codec.space.size == len(labels)
    assert isinstance(codec, FiniteCodec)
    assert isinstance(codec.space, FiniteSpace)


def test_codec_is_in_the_registry() -> None:
    assert codecs.get("label") is LabelCodec


def test_weighed_positions_are_where_labels_part() -> None:
    codec = LabelCodec(["ab", "acd", "ace"], [(1, 2), (1, 3, 4), (1, 3, 5)], stop=0)
    assert codec.weighed_positions((1, 2, 0)) == (False, True, False)
    assert codec.weighed_positions((1, 3, 5, 0)) == (False, True, True, False)
    # "a" may stop or go on: the token after it is free, the stop itself never counts.
    codec = LabelCodec(["a", "ab"], [(1,), (1, 2)], stop=0)
    assert codec.weighed_positions((1, 0)) == (False, False)
    assert codec.weighed_positions((1, 2, 0)) == (False, True, False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("positive", "positive"),
        (" Positive \n", "positive"),
        ("US", "US"),
        ("us", "us"),
        ("Us", None),  # "US" or "us"?
        ("positive.", None),
        ("positive and more", None),
        ("pos", None),
        ("", None),
    ],
)
def test_parse_never_guesses(text: str, value: str | None) -> None:
    codec = LabelCodec(["positive", "US", "us"], [(1,), (2,), (3,)], stop=0)
    assert codec.parse(text) == value


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "one class only, or none"),
        (["yes"], r"labels are \['yes'\]: one class only"),
        (["yes", "no", "yes"], "label 'yes' stands twice"),
        (["yes", " no"], "label 1 is ' no'.*Strip it"),
        (["yes", ""], "label 1 is ''"),
    ],
)
def test_bad_label_sets_are_errors(labels: list[str], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        LabelCodec.fit(labels, gpt2_like())


def test_labels_that_a_tokenizer_spells_alike_are_an_error() -> None:
    with pytest.raises(CodecError, match="labels 'Yes' and 'yes' have the same tokens"):
        LabelCodec.fit(["Yes", "yes"], word_level())


def test_labels_that_a_tokenizer_cannot_spell_are_an_error() -> None:
    with pytest.raises(CodecError, match="cannot spell ' na\u00efve'"):
        LabelCodec.fit(["na\u00efve", "wise"], char_level())


def test_unseen_label_names_near_matches() -> None:
    codec = LabelCodec.fit(["positive", "negative"], gpt2_like())
    with pytest.raises(CodecError, match=r"label 'postive' is not one of the 2.*Did you mean 'positive'"):
        codec.index("postive")
    with pytest.raises(CodecError, match=r"label 1\.0 is not one"):
        codec.encode(Target(1.0))


def test_illegal_tokens_are_errors() -> None:
    codec = LabelCodec(["ab", "ac"], [(1, 2), (1, 3)], stop=0)
    with pytest.raises(CodecError, match="token 7 is not legal"):
        codec.decode([1, 7])
    with pytest.raises(CodecError, match=r"tokens \(1,\) end inside a label"):
        codec.decode([1])
    with pytest.raises(CodecError, match="not legal"):
        codec.decode([1, 2, 0])
    with pytest.raises(CodecError, match=r"\(1, 2\) must end with the stop token 0"):
        codec.weighed_positions([1, 2])
    with pytest.raises(CodecError, match="must end with the stop"):
        codec.weighed_positions([])


@pytest.mark.parametrize("data", [{}, {"labels": ["a", "b"], "tokens": 3, "stop": 0}, {"labels": None}])
def test_damaged_data_is_an_error(data: dict[str, object]) -> None:
    with pytest.raises(CodecError, match="saved label codec is damaged"):
        LabelCodec.from_dict(data)


def test_each_label_needs_tokens() -> None:
    with pytest.raises(CodecError, match="2 labels but 1 token sequences"):
        LabelCodec(["a", "b"], [(1,)], stop=0)

"""Tokens as labels: characters of several bytes, pieces of words, blanks, and which tokens are the row's own."""

from typing import Any

import pytest
from transformers import AutoTokenizer

from predgen.analysis.words import field_tokens, token_labels, token_texts
from predgen.core import Example
from predgen.data.encode import Encoder
from predgen.engine.base_model import load_tokenizer
from tokenizers_for_tests import gpt2_like, llama2_like

TEXTS = ["a funny film,\nisn't it?", "naïve café 中文 🙂🙂 end", "🙂", "100.5 % $x_1$", ""]


@pytest.fixture(scope="module")
def embedded() -> Any:
    return load_tokenizer("embedded")


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("make", [gpt2_like, llama2_like, None], ids=["gpt2", "llama2", "embedded"])
def test_texts_join_to_the_decoded_text(make: Any, text: str, embedded: AutoTokenizer) -> None:
    tokenizer = make() if make else embedded
    ids = tokenizer.encode(text, add_special_tokens=False)
    texts = token_texts(tokenizer, ids)
    assert len(texts) == len(ids)
    decoded = tokenizer.decode(ids)
    assert "".join(texts) == decoded
    assert "\N{REPLACEMENT CHARACTER}" not in decoded
    assert len(token_labels(texts)) == len(ids)


def test_characters_of_several_tokens_stand_at_the_last_of_them() -> None:
    tokenizer = gpt2_like()
    ids = tokenizer.encode("a🙂b", add_special_tokens=False)
    assert len(ids) == 6  # four bytes, a token each
    assert token_texts(tokenizer, ids) == ["a", "", "", "", "🙂", "b"]
    assert token_labels(token_texts(tokenizer, ids)) == ["a", "…", "…", "…", "🙂", "b"]


def test_cut_characters_are_shown_as_they_are() -> None:
    tokenizer = gpt2_like()
    ids = tokenizer.encode("a🙂", add_special_tokens=False)[:3]
    assert token_texts(tokenizer, ids) == ["a", "", "\N{REPLACEMENT CHARACTER}"]


@pytest.mark.parametrize(
    ("template", "fields", "own"),
    [
        ("Review: {text}\nVerdict:", {"text": "fun and warm"}, "fun and warm"),
        ("A: {a}\nB: {b}\nRelated:", {"a": "a dog", "b": "a cat"}, "a dog|a cat"),
        ("{text}", {"text": "only this"}, "only this"),
        ("Is '{a}' (or {b}) right?", {"a": "x+y*", "b": "?"}, "x+y*|?"),
        ("Say {text} ", {"text": "so"}, "so"),
    ],
)
def test_fields_of_the_row_are_told_from_the_template(
    template: str, fields: dict[str, str], own: str, embedded: AutoTokenizer
) -> None:
    encoder = Encoder(embedded, template, None)
    ids = encoder.encode(Example(0, fields), with_answer=False).prompt_ids
    texts = token_texts(embedded, ids)
    marks = field_tokens(encoder, texts)
    kept = "".join(text if mark else "|" for text, mark in zip(texts, marks, strict=True))
    found = [part.strip() for part in kept.split("|") if part.strip()]
    assert [part in piece for part, piece in zip(own.split("|"), found, strict=True)] == [True] * len(found)
    assert template == "{text}" or not all(marks)


def test_prompt_that_is_not_the_template_is_shown_whole(embedded: AutoTokenizer) -> None:
    encoder = Encoder(embedded, "Review: {text}\nVerdict:", None)
    assert field_tokens(encoder, ["something", " else"]) == [True, True]
    assert field_tokens(encoder, ["Review:", " ", "\nVerdict:"]) == [True, True, True]  # the field is empty

"""Texts in words, and texts without one."""

import itertools
import re

import pytest

from predgen.explanation.parts import left_out, row_parts, word_spans


def words_of(text: str) -> list[str]:
    return [text[start:end] for start, end in word_spans(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \n\t", []),
        ("one", ["one"]),
        ("dull dull dull", ["dull", "dull", "dull"]),
        ('He said: "don\'t!"', ["He", "said", ":", '"', "don't", '!"']),
        ("a  b\u00a0c", ["a", "b", "c"]),
        ("well-made :) 3.5", ["well-made", ":)", "3.5"]),
        ("東京は good", ["東", "京", "は", "good"]),
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा", "।"]),
        ("cafe\u0301, 👩‍🚀 ok", ["cafe\u0301", ",", "👩‍🚀", "ok"]),
    ],
)
def test_words_are_found(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize("text", ["a b", " dull,  but (warm)! ", "東京 は\nx", "!!", "it\u2019s \u0301odd"])
def test_words_and_blanks_together_are_the_text(text: str) -> None:
    spans = word_spans(text)
    assert "".join(words_of(text)) == re.sub(r"\s", "", text)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


@pytest.mark.parametrize(
    ("text", "word", "rest"),
    [
        ("a dull day", "dull", "a day"),
        ("a dull day", "a", "dull day"),
        ("a dull day", "day", "a dull"),
        ("dull, but long", "dull", ", but long"),
        ("dull, but long", ",", "dull but long"),
        ('was "dull" and', '"', 'was dull" and'),
        ("not dull.", "dull", "not."),
        ("dull", "dull", ""),
        ("a  b   c", "b", "a  c"),
    ],
)
def test_a_word_leaves_with_its_blanks(text: str, word: str, rest: str) -> None:
    start = text.index(word)
    assert left_out(text, start, start + len(word)) == rest


def test_long_rows_lose_neighbours_together() -> None:
    fields = {"first": "w " * 700, "second": "v " * 5, "none": ""}
    parts = row_parts(fields, most=100)
    assert len(parts) <= 100
    assert " ".join(p.of(fields) for p in parts if p.field == "first").split() == ["w"] * 700
    assert {len(p.of(fields).split()) for p in parts[:-2]} == {8}, "of one size, the last of a field aside"
    assert len(row_parts(fields, most=705)) == 705

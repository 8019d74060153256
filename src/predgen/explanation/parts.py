"""A text in words, and the text without some of them."""

import itertools
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Scripts that put no blanks between words: kana, Chinese characters and their extensions. Each character is a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_RUN = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a field's text that is left out as a whole: a word, or several where a row has too many.

    Attributes:
        field: Field of the prompt.
        start: Place of its first character.
        end: Place behind its last character.
    """

    field: str
    start: int
    end: int

    def of(self, fields: Mapping[str, str]) -> str:
        """Return its text."""
        return fields[self.field][self.start : self.end]


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return start and end of the words of a text.

    A word is what stands between blanks; marks at its ends ("dull," and "(warm)") are words of their own, those inside
    stay ("don't"). Of Chinese and Japanese every character is a word.

    Example:
        >>> text = "It's dull, no?"
        >>> [text[start:end] for start, end in word_spans(text)]
        ["It's", 'dull', ',', 'no', '?']
    """
    return [span for run in _RUN.finditer(text) for span in _without_marks(run[0], run.start())]


def _without_marks(run: str, at: int) -> Iterator[tuple[int, int]]:
    """Spans of the marks before a word, of the word, and of the marks behind it, those that are there."""
    letters = [i for i, one in enumerate(run) if one.isalnum()]
    if not letters:
        yield at, at + len(run)
        return
    first, last = letters[0], letters[-1] + 1
    while last < len(run) and unicodedata.category(run[last]).startswith("M"):  # accents, and vowels of Indic scripts
        last += 1
    ends = (0, first, last, len(run))
    yield from ((at + start, at + end) for start, end in itertools.pairwise(ends) if start < end)


def left_out(text: str, start: int, end: int) -> str:
    """Return a text without what stands between two places, and without blanks that would be too many; never joins words.

    Example:
        >>> left_out("not dull, but long", 4, 8), left_out("not dull, but long", 8, 9), left_out("a b", 0, 1)
        ('not, but long', 'not dull but long', 'b')
    """
    before, behind = text[:start], text[end:]
    if not before or before[-1].isspace():
        if not behind or not (behind[0].isspace() or behind[0].isalnum()):
            return before.rstrip() + behind  # the end, or a mark that belonged to the word
        return before + behind.lstrip()
    return before + behind


def row_parts(fields: Mapping[str, str], most: int) -> list[Part]:
    """Return the words of a row's fields, in order; so many neighbours together that there are at most `most` parts.

    Example:
        >>> [part.of({"text": "a b c d e"}) for part in row_parts({"text": "a b c d e"}, most=3)]
        ['a b', 'c d', 'e']
    """
    words = {field: word_spans(text) for field, text in fields.items()}
    together, longest = 1, max(map(len, words.values()), default=0)
    while sum(math.ceil(len(spans) / together) for spans in words.values()) > most and together < longest:
        together += 1
    return [
        Part(field, spans[i][0], spans[min(i + together, len(spans)) - 1][1])
        for field, spans in words.items()
        for i in range(0, len(spans), together)
    ]

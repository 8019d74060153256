"""Prompts that are too long: which fields are cut, how far, and where inside."""

import math
from collections.abc import Callable, Mapping, Sequence

MOST_FIELD_CHARACTERS = 1 << 20
"""A longer field is cut to about this before it is tokenised: tokenizers take some hundred bytes of memory per character."""
_LONGEST_TOKEN = 128  # characters: the longest runs of blanks that vocabularies have

CUT_PARTS = ("tail", "head", "middle")
"""What can be cut from a field: its tail (the head is kept), its head (the tail is kept), or its middle (both ends are)."""

Fields = Mapping[str, str]
Offsets = Sequence[tuple[int, int]]


def cut(text: str, offsets: Offsets, keep: int, part: str) -> str:
    """Return a text without some of its tokens.

    Args:
        text: The text.
        offsets: (start, end) of each of its tokens, in characters.
        keep: Tokens to keep, 0 <= keep < len(offsets).
        part: What to cut, one of `CUT_PARTS`. Of an odd number to keep around a middle, the head has one more.

    Example:
        >>> words = [(0, 3), (3, 7), (7, 11)]
        >>> cut("one two six", words, 2, "tail"), cut("one two six", words, 2, "middle"), cut("one two six", words, 1, "head")
        ('one two', 'one six', ' six')
    """
    first = {"tail": keep, "head": 0, "middle": math.ceil(keep / 2)}[part]
    last = keep - first
    head = text[: offsets[first - 1][1]] if first else ""
    return head + (text[offsets[len(offsets) - last][0] :] if last else "")


def _ends(text: str, keep: int, part: str) -> str:
    """A text of more than `keep` characters without some in between; where it joins the template, its tokens stay as they are."""
    margin = keep // 16
    first = {"tail": keep - margin, "head": margin, "middle": keep // 2}[part]
    return text[:first] + text[len(text) - (keep - first) :]


class Shortener:
    """Cuts fields until the prompt fits. Only fields are cut, never the template around them.

    Args:
        places: Field -> how often the template names it.
        encode: Fields -> the prompt's tokens.
        offsets: A text -> (start, end) of each of its tokens, in characters.
        first: Field to cut first; None: the longest of the row.
        part: What is cut from a field, one of `CUT_PARTS`.
    """

    def __init__(
        self,
        places: Mapping[str, int],
        encode: Callable[[Fields], list[int]],
        offsets: Callable[[str], Offsets],
        *,
        first: str | None,
        part: str,
    ) -> None:
        self.places = places
        self.encode = encode
        self.offsets = offsets
        self.first = first
        self.part = part

    def within_reach(self, fields: Fields, limit: int) -> dict[str, str]:
        """Return fields without the characters of huge ones that `limit` tokens cannot reach.

        What is left of a field has more than `limit` tokens still, so it is shortened further, to the tokens that the whole
        field would have been shortened to; its true length does not matter to the others.
        """
        most = MOST_FIELD_CHARACTERS + _LONGEST_TOKEN * limit
        return {name: _ends(text, most, self.part) if len(text) > most else text for name, text in fields.items()}

    def __call__(self, fields: Fields, ids: list[int], limit: int) -> list[int] | None:
        """Return the tokens of the shortened prompt.

        Where one field can give enough, only that one is cut: all others stay whole. Otherwise no field is given up for
        another: the longest is cut down to the next, then both alike, and so on, to one common number of tokens. A field that
        the user names gives all it has before others are touched.

        Args:
            fields: The row's fields.
            ids: The whole prompt's tokens, more than `limit`.
            limit: Most tokens of the prompt.

        Returns:
            At most `limit` tokens, or None where the template alone has more.
        """
        first = self.first or max(self.places, key=lambda name: len(fields[name]))
        found = self._cut_to_one_length(fields, [first], ids, limit)
        rest = [name for name in self.places if name != self.first]
        if found is not None or not rest:
            return found
        if self.first is not None:
            fields = {**fields, self.first: ""}
            ids = self.encode(fields)
        return self._cut_to_one_length(fields, rest, ids, limit)

    def _cut_to_one_length(self, fields: Fields, names: list[str], ids: list[int], limit: int) -> list[int] | None:
        """Cut some fields to the largest common length that fits; None where emptying them is not enough.

        A field alone has other tokens than inside the prompt: a word at its end may join what follows, and a cut may split
        one. So counts of tokens only say where to cut; what counts is the prompt tokenised anew. By as many tokens as that is
        too long the fields give up more, so that each further try is shorter than the last, and a few are enough: the first one
        already leaves little more than `limit` tokens.
        """
        tokens = {name: self.offsets(fields[name]) for name in names}
        kept = sum(self.places[name] * len(tokens[name]) for name in names)
        length = max(map(len, tokens.values()))
        while len(ids) > limit and length:
            length = self._common_length(tokens, kept - (len(ids) - limit))
            kept = sum(self.places[name] * min(length, len(tokens[name])) for name in names)
            shorter = {
                name: cut(fields[name], tokens[name], length, self.part) for name in names if len(tokens[name]) > length
            }
            ids = self.encode({**fields, **shorter})
        return ids if len(ids) <= limit else None

    def _common_length(self, tokens: Mapping[str, Offsets], budget: int) -> int:
        """The largest length to which all fields can be cut so that together they have at most `budget` tokens, or 0."""
        low, high = 0, max(map(len, tokens.values()))
        while low < high:
            middle = (low + high + 1) // 2
            needed = sum(self.places[name] * min(middle, len(offsets)) for name, offsets in tokens.items())
            low, high = (middle, high) if needed <= budget else (low, middle - 1)
        return low

"""Which rows a model was trained on, as a set of short digests: enough to recognise a row, not to read it."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from predgen.core import Example
from predgen.plain_data import read_json

_MOST_BYTES = 1 << 30  # fifty million rows
_BYTES = 8  # a million rows meet a million others by chance with probability 1e12 / 2^64, below 1e-7

_Digest = Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * _BYTES}}}$")]


def row_digest(example: Example) -> str:
    r"""Digest of a row's prompt fields and options; its target does not count, nor do case and runs of blanks, as in `splits`.

    Example:
        >>> row_digest(Example(0, {"q": "How many pens?"})) == row_digest(Example(9, {"q": " how  many\npens?"}))
        True
    """
    texts = (" ".join(text.casefold().split()) for text in (*example.fields.values(), *example.options))
    return hashlib.blake2b("\x1f".join(texts).encode("utf-8", "surrogatepass"), digest_size=_BYTES).hexdigest()


@dataclass(frozen=True)
class RowDigests:
    """Digests of a set of rows.

    Attributes:
        digests: `row_digest` of each.
    """

    digests: frozenset[str]

    @classmethod
    def of(cls, examples: Iterable[Example]) -> "RowDigests":
        """Digest rows."""
        return cls(frozenset(map(row_digest, examples)))

    def shared(self, examples: Iterable[Example]) -> Iterator[Example]:
        """Yield the examples that are among these rows."""
        return (example for example in examples if row_digest(example) in self.digests)

    def write(self, path: Path) -> None:
        """Write the digests as a JSON list, sorted: nothing is left of the rows' order."""
        path.write_text(json.dumps(sorted(self.digests), indent=0) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "RowDigests":
        """Read what `write` wrote.

        Raises:
            SavedModelError: If the file is damaged.
        """
        return cls(frozenset(read_json(path, list[_Digest], most_bytes=_MOST_BYTES)))

"""Seeded splits that keep rows with a shared text together, and seeded choices of rows."""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from predgen.core import Row
from predgen.data.cells import is_missing
from predgen.errors import ConfigError, DataError

T = TypeVar("T")
R = TypeVar("R", bound=Row)


def split_rows(
    rows: Sequence[R], fractions: Mapping[str, float], *, group: Sequence[str], seed: int
) -> dict[str, list[R]]:
    """Split rows by seed; rows that share a text, even through a chain of other rows, stay in one part.

    Texts are compared over all `group` columns together (sentence 1 of one row may be sentence 2 of another), without
    regard to case and to blanks around and between words. Empty and missing texts join nothing. Rows keep their order.
    The same rows, fractions and seed give the same parts on every platform and Python version.

    Args:
        rows: The rows.
        fractions: Part -> share of the rows, > 0, summing to 1. Shares are met as closely as the groups allow.
        group: Columns whose shared text keeps rows together; empty: each row stands alone.
        seed: Seed of the split.

    Returns:
        Part -> its rows, in the order of `fractions`; no part is empty.

    Raises:
        ConfigError: If fractions are not positive or do not sum to 1.
        DataError: If there are fewer groups than parts.

    Example:
        >>> rows = [{"a": text} for text in ("x", "y", " X", "z")]
        >>> {part: len(chosen) for part, chosen in split_rows(rows, {"train": 0.75, "test": 0.25}, group=["a"], seed=0).items()}
        {'train': 3, 'test': 1}
    """
    if not fractions or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ConfigError(f"fractions {dict(fractions)} must each be above 0 and sum to 1.")
    components = _components(rows, group)
    if len(components) < len(fractions):
        raise DataError(
            f"{len(rows)} rows fall into {len(components)} groups with a shared {' or '.join(group) or 'row'}, too few for "
            f"{len(fractions)} parts ({', '.join(fractions)}). Give more rows, or a file for each part."
        )
    # Only random(): its sequence for a seed is the one thing that Python's documentation promises to keep.
    rng = random.Random(seed)
    keys = [rng.random() for _ in components]
    # Large groups first: placed last, they could only overshoot a part that is nearly full.
    order = sorted(range(len(components)), key=lambda i: (-len(components[i]), keys[i]))
    parts = _assigned(
        [components[i] for i in order], {part: share * len(rows) for part, share in fractions.items()}, rng
    )
    return {part: [rows[i] for i in sorted(i for c in parts[part] for i in c)] for part in fractions}


def limit_rows(rows: Sequence[T], n: int, seed: int) -> list[T]:
    """Choose `n` rows by seed, in their order; all rows if there are no more than `n`.

    With one seed a smaller choice is part of a larger one, so learning curves add rows and never swap them.

    Raises:
        ConfigError: If `n` is below 1.

    Example:
        >>> set(limit_rows("abcdef", 2, seed=1)) <= set(limit_rows("abcdef", 4, seed=1))
        True
    """
    if n < 1:
        raise ConfigError(f"`limit` is {n}, but must be at least 1 row.")
    rng = random.Random(seed)
    keys = [rng.random() for _ in rows]
    return [rows[i] for i in sorted(sorted(range(len(rows)), key=keys.__getitem__)[:n])]


def _components(rows: Sequence[Row], group: Sequence[str]) -> list[list[int]]:
    """Return row numbers by connected component, in the order of their first rows (union-find over shared texts)."""
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first_with: dict[str, int] = {}
    for i, row in enumerate(rows):
        for text in _texts(row, group):
            a, b = sorted((root(i), root(first_with.setdefault(text, i))))
            parent[b] = a
    members: dict[int, list[int]] = defaultdict(list)
    for i in range(len(rows)):
        members[root(i)].append(i)
    return list(members.values())


def _texts(row: Row, group: Iterable[str]) -> list[str]:
    """Return a row's normalised group texts, without empty and missing ones."""
    values = (row.get(column) for column in group)
    texts = (" ".join(str(value).casefold().split()) for value in values if not is_missing(value))
    return [text for text in texts if text]


def _assigned(
    components: Sequence[list[int]], wanted: Mapping[str, float], rng: random.Random
) -> dict[str, list[list[int]]]:
    """Deal out components: a part is drawn in proportion to its missing rows, among those with room."""
    missing = dict(wanted)
    parts: dict[str, list[list[int]]] = {part: [] for part in wanted}
    for component in components:
        room = [part for part in wanted if missing[part] >= len(component)]
        part = _drawn(room, missing, rng) if room else max(missing, key=missing.__getitem__)
        parts[part].append(component)
        missing[part] -= len(component)
    for part in parts:
        if not parts[part]:  # few, large groups: take the smallest from the part that has the most
            donor = max(parts, key=lambda p: len(parts[p]))
            parts[part].append(parts[donor].pop())
    return parts


def _drawn(room: Sequence[str], missing: Mapping[str, float], rng: random.Random) -> str:
    """Draw a part with probability proportional to its missing rows."""
    point = rng.random() * sum(missing[part] for part in room)
    for part in room[:-1]:
        point -= missing[part]
        if point < 0:
            return part
    return room[-1]

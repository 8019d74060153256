"""Seeded splits that keep rows with a shared text together, and seeded choices of rows."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from predgen.core import Example, Row
from predgen.data.cells import is_missing
from predgen.errors import ConfigError, DataError

_T = TypeVar("_T")
_R = TypeVar("_R", bound=Row)


def split_rows(
    rows: Sequence[_R], fractions: Mapping[str, float], *, group: Sequence[str], seed: int
) -> dict[str, list[_R]]:
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
    texts = [_texts(row.get(column) for column in group) for row in rows]
    parts = _dealt(texts, fractions, seed, shared=" or ".join(group) or "row")
    return {part: [rows[i] for i in chosen] for part, chosen in parts.items()}


def hold_out(
    examples: Sequence[Example], seed: int, fraction: float = 0.1, *, by_class: bool = False
) -> dict[str, list[Example]]:
    """Hold out a seeded share of examples as validation; those with equal prompts stay together, as in `split_rows`.

    By class, a share of each is held out, as near to its proportion as whole rows and groups allow. A class stays in training
    first: its last row is never held out, and a class with one row is not measured. Examples keep their order; the same
    arguments give the same parts.

    Args:
        examples: The rows.
        seed: Seed of the choice.
        fraction: Share to hold out, above 0 and below 1.
        by_class: Whether to hold out that share of every class.

    Returns:
        The examples of "train" and "validation"; neither is empty.

    Raises:
        DataError: If all rows share one prompt, or no row can be held out without taking a class from training.

    Example:
        >>> from predgen.core import Target
        >>> rows = [Example(i, {"a": str(i)}, Target("xyz"[i // 10])) for i in range(21)]
        >>> [row.row_id // 10 for row in hold_out(rows, seed=0, by_class=True)["validation"]]
        [0, 1]
    """
    texts = [_texts([" \0 ".join(example.fields.values())]) for example in examples]  # no field runs into the next
    if by_class:
        labels = [str(e.target.value) if e.target is not None else "" for e in examples]
        held = _held_by_class(texts, labels, fraction, seed)
    else:
        held = set(_dealt(texts, {"train": 1 - fraction, "validation": fraction}, seed, shared="text")["validation"])
    parts: dict[str, list[Example]] = {"train": [], "validation": []}
    for i, example in enumerate(examples):
        parts["validation" if i in held else "train"].append(example)
    return parts


def limit_rows(rows: Sequence[_T], n: int, seed: int) -> list[_T]:
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


def _dealt(
    texts: Sequence[Sequence[str]], fractions: Mapping[str, float], seed: int, *, shared: str
) -> dict[str, list[int]]:
    """Deal rows out, by the texts that keep them together; returns the rows' numbers, ascending."""
    components = _components_for(texts, tuple(fractions), shared)
    # Only random(): its sequence for a seed is the one thing that Python's documentation promises to keep.
    rng = random.Random(seed)
    keys = [rng.random() for _ in components]
    # Large groups first: placed last, they could only overshoot a part that is nearly full.
    order = sorted(range(len(components)), key=lambda i: (-len(components[i]), keys[i]))
    wanted = {part: share * len(texts) for part, share in fractions.items()}
    parts = _assigned([components[i] for i in order], wanted, rng)
    return {part: sorted(i for c in parts[part] for i in c) for part in fractions}


def _held_by_class(texts: Sequence[Sequence[str]], labels: Sequence[str], fraction: float, seed: int) -> set[int]:
    """Choose rows to hold out, a share of every class; see `hold_out`."""
    components = _components_for(texts, ("train", "validation"), "text")
    rng = random.Random(seed)
    keys = [rng.random() for _ in components]
    order = sorted(range(len(components)), key=keys.__getitem__)
    held = _held_out([Counter(labels[i] for i in components[c]) for c in order], fraction, rng)
    if not held:
        counts = Counter(labels)
        raise DataError(
            f"none of the {len(labels)} rows can be held out for validation: {len(counts)} classes would lose their only row, "
            "or the only text they have. Give more rows per class, or validation rows of their own (`validation_data`; "
            "`validation_fraction=0` of the estimators trains without). Are the targets numbers? Then `kind` is "
            "'regression'."
        )
    return {i for place in held for i in components[order[place]]}


def _components_for(texts: Sequence[Sequence[str]], parts: Sequence[str], shared: str) -> list[list[int]]:
    """Return the rows' components, or raise where there are fewer than parts."""
    components = _components(texts)
    if len(components) < len(parts):
        raise DataError(
            f"{len(texts)} rows fall into {len(components)} groups with a shared {shared}, too few for "
            f"{len(parts)} parts ({', '.join(parts)}). Give more rows, or a file for each part."
        )
    return components


def _held_out(components: Sequence[Counter[str]], fraction: float, rng: random.Random) -> set[int]:
    """Choose components by their rows per class; they come in random order.

    First what fits into the seats of its classes. Groups of several rows leave seats over: these go to whatever keeps every
    class in training, the smallest first, and to one of them even where it is more than the share. What a class with one
    row cannot give is not taken from another.
    """
    left: Counter[str] = Counter()
    for rows in components:
        left.update(rows)
    wanted = max(1, int(fraction * left.total() + 0.5))
    seats = _seats(left, fraction, wanted, rng)
    held: set[int] = set()
    for place, rows in enumerate(components):
        if all(count <= seats[label] for label, count in rows.items()):
            held.add(place)
            seats.subtract(rows)
            left.subtract(rows)
    over = seats.total()
    for place in sorted(range(len(components)), key=lambda place: components[place].total()):
        rows = components[place]
        keeps_classes = all(left[label] > count for label, count in rows.items())
        if place not in held and keeps_classes and (rows.total() <= over or not held):
            held.add(place)
            left.subtract(rows)
            over -= rows.total()
    return held


def _seats(totals: Counter[str], fraction: float, wanted: int, rng: random.Random) -> Counter[str]:
    """Return how many rows each class gives: its share rounded down, then one more where most is cut off; never its last."""
    shares = {label: fraction * totals[label] for label in sorted(totals)}
    seats = Counter({label: min(int(share), totals[label] - 1) for label, share in shares.items()})
    cut_off = {label: (share - seats[label], rng.random()) for label, share in shares.items()}
    for label in sorted(cut_off, key=cut_off.__getitem__, reverse=True):
        if seats.total() < wanted and seats[label] < totals[label] - 1:
            seats[label] += 1
    return seats


def _components(texts: Sequence[Sequence[str]]) -> list[list[int]]:
    """Return row numbers by connected component, in the order of their first rows (union-find over shared texts)."""
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first_with: dict[str, int] = {}
    for i, of_row in enumerate(texts):
        for text in of_row:
            a, b = sorted((root(i), root(first_with.setdefault(text, i))))
            parent[b] = a
    members: dict[int, list[int]] = defaultdict(list)
    for i in range(len(texts)):
        members[root(i)].append(i)
    return list(members.values())


def _texts(values: Iterable[Any]) -> list[str]:
    """Return normalised texts, without empty and missing ones."""
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

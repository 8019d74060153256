"""Long headers and many labels cost in proportion to their number: comparisons are counted, no clock is read."""

from pathlib import Path
from typing import Any

import pytest

from predgen.codecs.label import LabelCodec
from predgen.data.examples import custom_task, iter_examples
from predgen.data.lines import named_columns
from predgen.data.sources import read_rows
from predgen.errors import CodecError, DataError
from predgen.near_names import near_matches

N = 1500


class Counted(str):
    """Text that counts how often it is compared."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.fixture
def names() -> list[str]:
    Counted.comparisons = 0
    return [Counted(f"column {i}") for i in range(N)]


def test_columns_of_a_header(names: list[str]) -> None:
    assert len(named_columns(names, Path("a.csv"), 1)) == N
    assert Counted.comparisons <= 4 * N
    with pytest.raises(DataError, match=rf"'column 7' twice \(columns 8 and {N + 1}\)"):
        named_columns([*names, "column 7"], Path("a.csv"), 1)


def test_labels_of_a_codec(names: list[str]) -> None:
    codec = LabelCodec(names, [(2 + i // 50, 2 + i % 50) for i in range(N)], stop=0)
    assert len(codec.labels) == N
    assert Counted.comparisons <= 4 * N
    with pytest.raises(CodecError, match="'column 7' stands twice"):
        LabelCodec([*names, "column 7"], [(2 + i,) for i in range(N + 1)], stop=0)


@pytest.mark.parametrize("n", [3, 40_000])
def test_a_message_names_a_few_columns_and_counts_the_rest(tmp_path: Path, n: int) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{i}" for i in range(n)) + "\n" + ",".join("x" * n) + "\n")
    task = custom_task(prompt="{text}", target="label", kind="classification")
    with pytest.raises(DataError, match=r"missing column 'text'") as raised:
        next(iter_examples(read_rows(path), task))
    message = str(raised.value)
    assert len(message) < 1000
    assert (f"({n} in all)" in message) == (n > 20)
    path.write_text(",".join(f"c{i}" for i in range(n)) + "\nx\n")
    with pytest.raises(DataError, match=f"1 cells, but {n} are needed") as raised:
        next(read_rows(path))
    assert len(str(raised.value)) < 1000


def test_near_matches_are_sought_among_the_first_names_only() -> None:
    asked = []

    def endless() -> Any:
        while True:
            asked.append(1)
            yield f"name {len(asked)}"

    assert near_matches("name", endless()) != ""
    assert len(asked) <= 10_001

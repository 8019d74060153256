"""Rows of similar length run together: the cheapest cut, and the rows of a batch in its parts."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from method_cases import batch_of
from predgen.data.buckets import OVERHEAD_TOKENS, length_buckets, split_by_length


def cost(buckets: list[list[int]], lengths: list[int], overhead: int) -> int:
    return sum(len(bucket) * max(lengths[row] for row in bucket) + overhead for bucket in buckets)


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), max_size=8), st.integers(0, 80))
def test_no_cut_is_cheaper(lengths: list[int], overhead: int) -> None:
    buckets = length_buckets(lengths, overhead)
    assert sorted(row for bucket in buckets for row in bucket) == list(range(len(lengths)))
    assert all(buckets)
    longest = [max(lengths[row] for row in bucket) for bucket in buckets]
    assert longest == sorted(longest)
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    costs = [
        cost([order[a:b] for a, b in itertools.pairwise((0, *cuts, len(order)))], lengths, overhead)
        for n in range(len(order))
        for cuts in itertools.combinations(range(1, len(order)), n)
    ]
    assert cost(buckets, lengths, overhead) == min(costs, default=0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 40))
def test_no_grouping_in_any_order_is_cheaper(lengths: list[int], overhead: int) -> None:
    groupings = itertools.product(range(len(lengths)), repeat=len(lengths))  # bucket of each row
    costs = [cost([[r for r, g in enumerate(of) if g == b] for b in set(of)], lengths, overhead) for of in groupings]
    assert cost(length_buckets(lengths, overhead), lengths, overhead) == min(costs)


def test_overhead_decides_how_many_buckets_there_are() -> None:
    assert length_buckets([3, 1, 2], 0) == [[1], [2], [0]]
    assert length_buckets([3, 1, 2], 1000) == [[1, 2, 0]]
    # 2 * 10 + 2 * 90 + 2 * 64 = 328, in one bucket 4 * 90 + 64 = 424.
    assert length_buckets([90, 10, 90, 10], 64) == [[1, 3], [0, 2]]


def test_batch_is_split_into_trimmed_parts_that_hold_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of("math")
    monkeypatch.setitem(OVERHEAD_TOKENS, "cpu", 0)
    parts = split_by_length(batch)
    assert len(parts) >= 4
    assert sorted(row for part in parts for row in part.row_id.tolist()) == batch.row_id.tolist()
    for part in parts:
        assert part.prompt_mask[:, 0].any()
        assert part.answer_mask[:, -1].any()
        for i, row in enumerate(part.row_id.tolist()):
            at = batch.row_id.tolist().index(row)
            for ids, mask in (("prompt_ids", "prompt_mask"), ("answer_ids", "answer_mask"), ("weighed", "answer_mask")):
                ours, wanted = (getattr(b, ids)[n][getattr(b, mask)[n]] for b, n in ((part, i), (batch, at)))
                assert torch.equal(ours, wanted)
            assert (part.target[i], part.weight[i]) == (batch.target[at], batch.weight[at])
    monkeypatch.setitem(OVERHEAD_TOKENS, "cpu", 10**6)
    (whole,) = split_by_length(batch)
    assert whole.prompt_ids.shape == batch.prompt_ids.shape

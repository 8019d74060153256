"""Rows of similar length run together: how to cut a batch so that padding and further forwards cost least."""

from collections.abc import Sequence

import torch

from predgen.data.collate import Batch

OVERHEAD_TOKENS = {"cpu": 64, "cuda": 2048}
"""What one more forward and backward costs, in tokens: on accelerators small batches leave most of the device idle."""


def length_buckets(lengths: Sequence[int], overhead_tokens: int) -> list[list[int]]:
    """Cut rows into buckets with the least sum of (rows times longest length + overhead), by dynamic programming.

    Args:
        lengths: Length of each row, in tokens.
        overhead_tokens: Cost of one bucket, in tokens.

    Returns:
        Indices of the rows in each bucket, short rows first.

    Example:
        >>> length_buckets([10, 200, 12, 190], overhead_tokens=64)
        [[0, 2], [3, 1]]
    """
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
    best = [0.0]  # least cost of the first i rows
    cuts = [0]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        costs = [best[start] + (end - start) * longest + overhead_tokens for start in range(end)]
        cuts.append(min(range(end), key=costs.__getitem__))
        best.append(costs[cuts[-1]])
    buckets: list[list[int]] = []
    end = len(order)
    while end:
        buckets.append(order[cuts[end] : end])
        end = cuts[end]
    return buckets[::-1]


def split_by_length(batch: Batch) -> list[Batch]:
    """Cut a batch into buckets of rows that are run together, padded only as far as each needs."""
    device = batch.prompt_ids.device
    overhead = OVERHEAD_TOKENS.get(device.type, OVERHEAD_TOKENS["cuda"])
    buckets = length_buckets(batch.prompt_mask.sum(dim=1).tolist(), overhead)
    return [batch.rows(torch.tensor(rows, device=device)).trimmed() for rows in buckets]

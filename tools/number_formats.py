"""What the two number formats cost on targets of very different size: the table in docs/data.md.

`python tools/number_formats.py` prints it. Times are ratios to a forward of the prompt alone, both measured in turn in one
process on one thread, the median of several; they change little from machine to machine.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from predgen.codecs.number import NumberCodec
from predgen.core import MAX_NODES
from predgen.engine.answer_tree import shared_head
from predgen.engine.backbone import Backbone
from predgen.engine.base_model import BaseModel, load_base
from predgen.engine.expansion import expand
from predgen.engine.prompt_pass import run_prompts
from predgen.engine.tree_pass import TreePass
from predgen.errors import CodecError
from predgen.models.answers import distribution_of_expansion
from predgen.target_scale import TargetScale

_T = TypeVar("_T")
PROMPT_TOKENS = 50
NODES_PER_PASS = 256  # default of `max_tree_nodes`
MAX_UNEXPANDED = 1e-3


def _targets() -> dict[str, list[float]]:
    """Seeded targets of each kind."""
    rng = random.Random(0)
    return {
        "ratings, 0 to 5": [round(rng.uniform(0, 5), 1) for _ in range(1000)],
        "prices, 3.99 to 12,999": [round(3.99 * (12999 / 3.99) ** rng.random(), 2) for _ in range(1000)],
        "populations, 100 to 1.4e9": [float(int(100 * 1.4e7 ** rng.random())) for _ in range(1000)],
        "probabilities, 1e-6 to 9e-6": [rng.uniform(1e-6, 9e-6) for _ in range(1000)],
        "Unix times of a year": [float(int(rng.uniform(1.70e9, 1.7315e9))) for _ in range(1000)],
        "ratings, one of them 1e7": [*(rng.uniform(0, 5) for _ in range(1000)), 1e7],
    }


class _Flat(Backbone):
    """A writer that is unsure of everything: the dearest there is."""

    def logits_of(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return super().logits_of(states, tokens) * 0.0


@dataclass(frozen=True)
class _Cost:
    """Medians of one writer.

    Attributes:
        nodes: Nodes expanded.
        ratio: Time beside a forward of the prompt.
        unexpanded: Mass left.
        mean_error: Bound on the error of the mean, in the targets' unit.
        held: Most nodes in the cache at once.
    """

    nodes: int
    ratio: float
    unexpanded: float
    mean_error: float
    held: int


def _timed(run: Callable[[], _T]) -> tuple[float, _T]:
    """Seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    found = run()
    return time.perf_counter() - start, found


def _cost(base: BaseModel, backbone: Backbone, codec: NumberCodec, repeats: int) -> _Cost:
    """Expand prompts one by one, each beside a forward of the same prompt."""
    ratios, rows, held = [], [], 0
    head, _ = shared_head(codec.space)
    for seed in range(repeats):
        ids = torch.randint(5, 200, (1, PROMPT_TOKENS), generator=torch.Generator().manual_seed(seed))
        mask = torch.ones_like(ids, dtype=torch.bool)
        alone, _ = _timed(partial(run_prompts, backbone, ids, mask))
        nodes = TreePass(backbone, run_prompts(backbone, ids, mask, head))
        bounds = (MAX_UNEXPANDED, NODES_PER_PASS, MAX_NODES)
        seconds, (row,) = _timed(partial(expand, backbone, nodes, codec.space, *bounds))
        ratios.append(seconds / alone)
        rows.append(row)
        held = max(held, nodes.parents.shape[1] - 1)
    numbers = [distribution_of_expansion(codec, row, TargetScale()) for row in rows]
    return _Cost(
        round(statistics.median(d.nodes for d in numbers)),
        statistics.median(ratios),
        statistics.median(d.unexpanded for d in numbers),
        statistics.median(d.mean_error for d in numbers),
        held,
    )


def _line(base: BaseModel, name: str, values: list[float], number_format: str, repeats: int) -> str:
    """One row of the table."""
    chosen = NumberCodec.fit(values, base.tokenizer).space.format == number_format
    title = f"{name} | {number_format}{' (auto)' if chosen else ''}"
    try:
        codec = NumberCodec.fit(values, base.tokenizer, number_format=number_format)
    except CodecError:
        return f"| {title} | cannot be written | | | | | |"
    std = statistics.pstdev(values)
    config = base.lm.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    bytes_per_node = 2 * config.num_hidden_layers * config.num_key_value_heads * width * 4
    with torch.inference_mode():
        plain = _cost(base, Backbone(base.lm), codec, repeats)
        flat = _cost(base, _Flat(base.lm), codec, repeats)
    cells = [
        f"{codec.size:,}",
        f"{codec.rounding_rmse / std:.1g}",
        f"{plain.nodes} / {flat.nodes}",
        f"{plain.ratio:.0f} / {flat.ratio:.0f}",
        f"{max(plain.held, flat.held) * bytes_per_node / 2**20:.1f} MiB",
        f"{plain.unexpanded:.1g} / {flat.unexpanded:.1g}",
        f"{plain.mean_error / std:.1g} / {flat.mean_error / std:.1g}",
    ]
    return f"| {title} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="prompts per cell")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    base = load_base("embedded")
    print(
        "| targets | format | numbers | rounding, std | nodes | time | memory | unexpanded | error of the mean, std |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, values in _targets().items():
        for number_format in ("fixed", "scientific"):
            print(_line(base, name, values, number_format, repeats), flush=True)


if __name__ == "__main__":
    main()

"""What calls have to do: floating-point operations and bytes that their operators read and write, the same on every machine.

    python -m benchmarks.work --sizes 60m smollm2 --batch-size 8

Seconds say what a call costs on one machine; this says what it would cost at best, and how much of a ratio is work. Bytes are those
of all operands and results of all operators, as if nothing stayed in a processor's cache: an upper bound of what memory moves.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measures import Timed
from benchmarks.rows import ROWS, Row
from benchmarks.settings import SIZES, Setting

COUNTED = tuple(row.key for row in ROWS if isinstance(row.measure, Timed) and row.measure.full_rows is None)
STARTING = ("classify-2", "classify-5", "regress-51", "regress-501", "labels-20", "step-lean", "step-trainer")


@dataclass(frozen=True, slots=True)
class Work:
    """Work of a call.

    Attributes:
        flops: Floating-point operations of matrix products and attention, a product and a sum being two.
        bytes: Of all operands and results.
    """

    flops: int
    bytes: int

    @classmethod
    def of(cls, call: Callable[[], object]) -> "Work":
        """Count; the call is made once before, uncounted, for what is made at first use."""
        call()
        with FlopCounterMode(display=False) as flops, _Bytes() as moved:
            call()
        return cls(flops.get_total_flops(), moved.total)


class _Bytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Adds up the bytes of operands and results; views move nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401  (torch's operators)
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        found = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, found)) if isinstance(leaf, torch.Tensor)]
            self.total += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return found


def measured(row: Row, setting: Setting) -> tuple[Work, Work]:
    """Work of ours, and of the peer."""
    assert isinstance(row.measure, Timed)
    return Work.of(row.measure.ours(setting)), Work.of(row.measure.peer(setting))


def line(row: Row, setting: Setting, ours: Work, peer: Work) -> str:
    """One line of the table."""
    cells = [
        row.what,
        row.against,
        setting.spec.title,
        f"{ours.flops / 1e9:.1f}",
        f"{peer.flops / 1e9:.1f}",
        f"{ours.flops / peer.flops:.2f}",
        f"{ours.bytes / 1e9:.2f}",
        f"{peer.bytes / 1e9:.2f}",
        f"{ours.bytes / peer.bytes:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = """\
| what | against | size | GFLOP | theirs | ratio | GB | theirs | ratio |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.work", description="Count the work of timed rows.")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["60m"])
    parser.add_argument("--only", nargs="+", choices=COUNTED, default=STARTING, metavar="ROW", help=", ".join(COUNTED))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=100)
    given = parser.parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    print(HEAD)
    with tempfile.TemporaryDirectory(prefix="predgen-") as work:
        for size in given.sizes:
            setting = Setting(size, work, batch_size=given.batch_size, prompt_tokens=given.prompt_tokens, repeats=1)
            for row in (row for row in ROWS if row.key in given.only):
                print(line(row, setting, *measured(row, setting)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

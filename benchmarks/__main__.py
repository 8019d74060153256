"""Measure the rows and write results.json, results.md and results.png.

python -m benchmarks --out bench-results --scale 0.2
"""

import argparse
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils import logging

from benchmarks.models import base_folder
from benchmarks.picture import draw
from benchmarks.report import Result, table, write_json
from benchmarks.rows import ROWS, Row
from benchmarks.settings import SIZES, Setting

GPU_ROWS = ("tree-flex", "prefill-flash")
"""Rows whose answer depends on what a GPU has; on a CPU they are measured where they are asked for."""
GPU_SIZES = [name for name, size in SIZES.items() if size.device == "cuda"]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure predgen beside its peers.")
    keys, has_gpu = [row.key for row in ROWS], torch.cuda.is_available()
    sizes = ["5m", "60m", *(GPU_SIZES if has_gpu else [])]
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for the results")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=keys,
        default=[k for k in keys if k not in GPU_ROWS or has_gpu],
        metavar="ROW",
        help=", ".join(keys),
    )
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=sizes, help="model sizes")
    parser.add_argument("--scale", type=float, default=0.2, help="share of the rows of end-to-end measurements, 0..1")
    parser.add_argument("--repeats", type=int, default=15, help="most rounds of a row")
    parser.add_argument("--budget-s", type=float, default=60.0, help="seconds of a row, once it has its fewest rounds")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--prompt-tokens", type=int, default=100)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args(arguments)
    if not has_gpu and (wanted := [name for name in given.sizes if SIZES[name].device == "cuda"]):
        parser.error(f"--sizes {' '.join(wanted)}: a CUDA device is needed, and torch finds none. Choose other sizes.")
    return given


def settings_of(options: argparse.Namespace) -> list[Setting]:
    """One setting per size."""
    work = str((options.out / "work").resolve())
    names = ("batch_size", "prompt_tokens", "repeats", "budget_s", "scale", "threads")
    return [Setting(size, work, **{name: getattr(options, name) for name in names}) for size in options.sizes]


def measure(row: Row, setting: Setting) -> Result:
    """Measure one row; a failure is reported in its place, so that hours of other rows are not lost."""
    try:
        return Result(row, setting.spec, row.measure.run(row.key, setting))
    except Exception as error:
        return Result(row, setting.spec, None, f"{type(error).__name__}: {error}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite; 1 where a row could not be measured. Goals that are missed are no failure."""
    options = parse(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    settings = settings_of(options)
    for row in (row for row in ROWS if row.key in options.only):
        for setting in settings:
            base_folder(setting)
            print(f"{row.key}, {setting.spec.title} ...", file=sys.stderr, flush=True)
            results.append(measure(row.at(setting.size), setting))
            print(table(results[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
            write_json(options.out / "results.json", results, settings)
    (options.out / "results.md").write_text(table(results), encoding="utf-8")
    draw(options.out / "results.png", results)
    shutil.rmtree(options.out / "work")
    print(table(results))
    failed = [result for result in results if result.figures is None]
    for result in failed:
        print(f"{result.row.key}, {result.size.title}: {result.error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""How far `predgen estimate` is from what runs take: fitted to probes of some rows, compared on rows and batches of other sizes.

python -m benchmarks.estimates --sizes 5m 60m --out estimates.json

Times are of the processor, not of the wall, in one thread, so that other work on the machine counts little.
"""

import argparse
import json
import os
import platform
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers

from benchmarks.memory import MIB, forget_peak, peak_mib, resident_mib
from benchmarks.models import base_folder
from benchmarks.settings import SIZES, Setting
from predgen.config import RunConfig
from predgen.core import Example, Target
from predgen.data.buckets import split_by_length
from predgen.data.collate import collate
from predgen.data.encode import Encoded
from predgen.data.examples import custom_task
from predgen.inference.trained import TrainedModel
from predgen.sampling.draws import SamplingPlan
from predgen.training.cost import Costs, tokens_of
from predgen.training.rows import TrainingData
from predgen.training.run import zero_shot

GOAL = 0.15
"""Largest share by which an estimate may be wrong."""
_WORDS = (
    "the room was warm dull good wine long road no tea old song and a film with play evening but very quiet".split()
)
_PROMPT = "Review: {text}\nScore:"
_FITTED = (5, 60)  # words of the rows that are probed
_HELD_OUT = (((5, 20), 8), ((40, 100), 8), ((5, 100), 16))  # words, and rows of a batch
_BATCHES = 3


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure: what was estimated, and what it took.

    Attributes:
        size: Model size.
        kind: Kind of answers.
        what: What was done.
        estimated: Seconds, or MiB.
        measured: The same.
    """

    size: str
    kind: str
    what: str
    estimated: float
    measured: float

    @property
    def error(self) -> float:
        """Share by which the estimate is too high (above 0) or too low."""
        return self.estimated / self.measured - 1

    def line(self) -> str:
        """A row of the table."""
        missed = ", missed" if abs(self.error) > GOAL else ""
        figures = f"{self.estimated:.3g} | {self.measured:.3g} | {self.error:+.0%}{missed}"
        return f"| {SIZES[self.size].title} | {self.kind} | {self.what} | {figures} |"


def examples(kind: str, words: tuple[int, int], n: int, seed: int) -> list[Example]:
    """Rows of random words with two labels, or numbers of 0.0 to 5.0."""
    draws, rows = random.Random(seed), []
    for i in range(n):
        text = " ".join(draws.choice(_WORDS) for _ in range(draws.randint(*words)))
        target: Any = ("bad", "good")[i % 2] if kind == "classification" else draws.randint(0, 50) / 10
        rows.append(Example(i, {"text": text}, Target(target)))
    return rows


def compare(setting: Setting, kind: str) -> Iterator[Compared]:
    """Fit on some rows, and look at others."""
    config = RunConfig(
        model=str(base_folder(setting)), prompt=_PROMPT, target="score", kind=kind, batch_size=16, method="predgen"
    )
    task = custom_task(prompt=_PROMPT, target="score", kind=kind)
    trained = zero_shot(config, TrainingData(task, examples(kind, _FITTED, 64, 0), []))
    longest = sorted(encoded(trained, kind, (90, 100), 16, 2), key=lambda row: row.n_tokens)
    rise = rise_of(trained, config, longest)
    costs = Costs.measured(trained, config, encoded(trained, kind, _FITTED, 64, 0), time.process_time)
    for words, batch_size in _HELD_OUT:
        rows = encoded(trained, kind, words, batch_size * _BATCHES, 1)
        own = replace(costs, lengths=tuple(sorted(row.n_tokens for row in rows)))
        where = f"{words[0]} to {words[1]} words, batches of {batch_size}"
        parts = [rows[i::_BATCHES] for i in range(_BATCHES)]
        work, calls = own.of_step(replace(config, batch_size=batch_size))
        taken = sum(seconds_of(partial(one_step, trained, config, part)) for part in parts) / _BATCHES
        yield Compared(setting.size, kind, f"training step, s: {where}", costs.train.speed.seconds(calls, work), taken)
        told = sum(seconds_of(partial(trained.predict_encoded, part, batch_size=batch_size)) for part in parts)
        # As one batch with its padding; where a file is predicted, rows of similar length are together, and there is next to none.
        work = sum(costs.predict.work.of(batch_size, tokens_of(part)) for part in parts)
        guess = costs.predict.speed.seconds(_BATCHES, work) / _BATCHES
        yield Compared(setting.size, kind, f"predicting a batch, s: {where}", guess, told / _BATCHES)
    own = replace(costs, lengths=tuple(row.n_tokens for row in longest))
    what = "activations, MiB: 90 to 100 words, a batch of 16"
    yield Compared(setting.size, kind, what, own.kept_at_most(config) / MIB, rise)


def encoded(trained: TrainedModel, kind: str, words: tuple[int, int], n: int, seed: int) -> list[Encoded]:
    """Rows as token ids."""
    return [trained.encoder.encode(example) for example in examples(kind, words, n, seed)]


def one_step(trained: TrainedModel, config: RunConfig, rows: Sequence[Encoded]) -> None:
    """Forward and backward of a batch, as the trainer runs it."""
    trained.model.train()
    for part in split_by_length(collate(list(rows), trained.pad_id, trained.model.backbone.device)):
        trained.model(part, SamplingPlan(0.5, config.seed, 0), "example").total.backward()
    trained.model.zero_grad()


def seconds_of(run: Callable[[], object]) -> float:
    """Processor seconds: the median of three calls, after a first one."""
    run()
    taken = []
    for _ in range(3):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return median(taken)


def rise_of(trained: TrainedModel, config: RunConfig, rows: Sequence[Encoded]) -> float:
    """By how many MiB a step raises the memory of a process that has made none but a small one: a fork of this one."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        one_step(trained, config, rows[:1])
        forget_peak()
        before = resident_mib()
        one_step(trained, config, rows)
        os.write(write, str(peak_mib() - before).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        return float(pipe.read())


def main() -> None:
    """Compare, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["5m", "60m"], choices=list(SIZES))
    parser.add_argument("--kinds", nargs="+", default=["classification", "regression"])
    parser.add_argument("--work", type=Path, default=Path("bench-results"))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: list[Compared] = []
    print(
        "| model | answers | what | estimated | measured | error |\n| --- | --- | --- | --- | --- | --- |", flush=True
    )
    for size in given.sizes:
        for kind in given.kinds:
            for one in compare(Setting(size, str(given.work)), kind):
                found.append(one)
                print(one.line(), flush=True)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "processor": platform.processor()}
    rows = [{**{name: getattr(one, name) for name in one.__slots__}, "error": one.error} for one in found]
    given.out.write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

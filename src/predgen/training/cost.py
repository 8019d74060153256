"""What a run costs in operations, seconds and bytes, from a few probes of its own rows.

rows -> tokens -> buckets as the trainer cuts them -> operations -> seconds; -> bytes that autograd keeps

Operations and bytes are counted, not timed: they are the same on any hardware. Of a row with n tokens they are a + b n + c n^2
(layers and logits; attention), fitted to probes of short, middle and long rows: answers' nodes, written tokens and heads are in
the probes. Seconds of a call are its overhead and its operations divided by a rate; both are fitted to the same probes, timed.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch.utils.flop_counter import FlopCounterMode

from predgen.config import RunConfig
from predgen.data.buckets import OVERHEAD_TOKENS, length_buckets
from predgen.data.collate import collate
from predgen.data.encode import Encoded
from predgen.inference.trained import TrainedModel
from predgen.sampling.draws import SamplingPlan

_SAMPLE_ROWS = 512  # whose lengths stand for those of all
_PLACES = (0.1, 0.5, 0.95)  # of the probes' rows, among rows by length
_STEPS = 50  # micro-batches to cut into buckets
_TIMES = 3


@dataclass(frozen=True, slots=True)
class Curve:
    """Something that a row of n tokens costs: a + b n + c n^2, none of them negative."""

    a: float
    b: float
    c: float

    @classmethod
    def fitted(cls, probes: Sequence[tuple[int, int, float]]) -> "Curve":
        """Fit to probes: rows, tokens of each, and what they cost together; by relative errors."""
        features = np.array([(rows, rows * n, rows * n * n) for rows, n, _ in probes], dtype=np.float64)
        costs = np.array([max(cost, 1.0) for _, _, cost in probes])
        scale = features.max(axis=0)
        found, _ = nnls(features / scale / costs[:, None], np.ones(len(costs)))
        return cls(*(found / scale).tolist())

    def of(self, rows: int, tokens: int) -> float:
        """What so many rows of so many tokens cost together."""
        return rows * (self.a + self.b * tokens + self.c * tokens * tokens)


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of a call.

    Attributes:
        call_s: What each call takes, however little it does.
        per_s: Operations in a second.
    """

    call_s: float
    per_s: float

    @classmethod
    def fitted(cls, probes: Sequence[tuple[float, float]]) -> "Speed":
        """Fit to probes: operations and seconds; by relative errors."""
        work, seconds = np.array(probes, dtype=np.float64).T
        seconds = np.maximum(seconds, 1e-9)
        (call_s, per_work), _ = nnls(np.stack([1 / seconds, work / work.max() / seconds], axis=1), np.ones(len(work)))
        return cls(float(call_s), float(work.max() / max(per_work, 1e-12)))

    def seconds(self, calls: float, work: float) -> float:
        """Time of so many calls with so many operations together."""
        return calls * self.call_s + work / self.per_s


@dataclass(frozen=True, slots=True)
class Side:
    """Training, or predicting.

    Attributes:
        work: Operations of a row.
        speed: How fast they are done here.
    """

    work: Curve
    speed: Speed

    @classmethod
    def fitted(cls, probes: Sequence[tuple[int, int, float, float]]) -> "Side":
        """Fit to probes: rows, tokens of each, operations and seconds of all of them."""
        speed = Speed.fitted([(work, seconds) for _, _, work, seconds in probes])
        return cls(Curve.fitted([(rows, n, work) for rows, n, work, _ in probes]), speed)


@dataclass(frozen=True, slots=True)
class Costs:
    """What a run's rows cost.

    Attributes:
        train: Forward and backward.
        predict: Predicting.
        kept: Bytes that autograd keeps of a row until its backward.
        lengths: Tokens of prompt and answer of rows that stand for all.
        device: Type of the device that was measured.
    """

    train: Side
    predict: Side
    kept: Curve
    lengths: tuple[int, ...]
    device: str

    @classmethod
    def measured(
        cls,
        trained: TrainedModel,
        config: RunConfig,
        rows: Sequence[Encoded],
        clock: Callable[[], float] = time.perf_counter,
    ) -> "Costs":
        """Probe a model before its first step; nothing is trained.

        Args:
            trained: The model.
            config: Settings of the run. Of scheduled sampling the middle of the run is probed, where p is 0.5.
            rows: Rows with their answers, at least one.
            clock: What tells the time.
        """
        rows = sorted(spread(rows, _SAMPLE_ROWS), key=lambda row: row.n_tokens)
        probe, train, predict, kept = _Probe(trained, config, clock), [], [], []
        for part in _probed_rows(rows, 4 if probe.device == "cpu" else config.batch_size):
            n = tokens_of(part)
            train.append((len(part), n, *probe.timed(partial(probe.step, part))))
            predict.append((len(part), n, *probe.timed(partial(probe.predict, part))))
            kept.append((len(part), n, probe.kept_bytes(part)))
        lengths = tuple(row.n_tokens for row in rows)
        return cls(Side.fitted(train), Side.fitted(predict), Curve.fitted(kept), lengths, probe.device)

    def of_step(self, config: RunConfig) -> tuple[float, float]:
        """Operations, and calls of the model, of an optimizer step: means over micro-batches of these lengths, cut into buckets."""
        draws, work, calls = random.Random(config.seed), 0.0, 0
        for _ in range(_STEPS):
            batch = [draws.choice(self.lengths) for _ in range(config.batch_size)]
            buckets = length_buckets(batch, OVERHEAD_TOKENS.get(self.device, OVERHEAD_TOKENS["cuda"]))
            calls += len(buckets)
            work += sum(self.train.work.of(len(places), max(batch[i] for i in places)) for places in buckets)
        return work / _STEPS * config.gradient_accumulation, calls / _STEPS * config.gradient_accumulation

    def of_predictions(self, config: RunConfig) -> tuple[float, float]:
        """Operations, and calls of the model, of a predicted row, where many are predicted together."""
        mean = sum(self.lengths) / len(self.lengths)
        work = sum(self.predict.work.of(1, n) for n in self.lengths) / len(self.lengths)
        return work, 1 / config.eval_batch_size if config.eval_batch_size else mean / config.eval_batch_tokens

    def kept_at_most(self, config: RunConfig) -> float:
        """Bytes that autograd keeps of a micro-batch of the longest rows."""
        return self.kept.of(config.batch_size, self.lengths[-1])


class _Probe:
    """Runs a few rows, counts and times."""

    def __init__(self, trained: TrainedModel, config: RunConfig, clock: Callable[[], float]) -> None:
        self._trained, self._config, self._clock = trained, config, clock
        self._device = trained.model.backbone.device
        self.device: str = self._device.type

    def step(self, rows: Sequence[Encoded]) -> None:
        """Forward and backward."""
        torch.autograd.backward(self._loss(rows))
        self._trained.model.zero_grad()

    def predict(self, rows: Sequence[Encoded]) -> None:
        """Predict as users do."""
        self._trained.predict_encoded(rows, batch_size=len(rows))

    def timed(self, run: Callable[[], object]) -> tuple[float, float]:
        """Operations, and seconds: the median after a first call, which also sets things up."""
        run()
        with FlopCounterMode(display=False) as counter:
            run()
        seconds = []
        for _ in range(_TIMES):
            start = self._clock()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds.append(self._clock() - start)
        return float(counter.get_total_flops()), float(np.median(seconds))

    def kept_bytes(self, rows: Sequence[Encoded]) -> float:
        """Bytes of all that autograd keeps for the backward, but for the weights themselves."""
        weights = {p.untyped_storage().data_ptr() for p in self._trained.model.parameters()}
        kept: dict[int, tuple[Any, int]] = {}

        def noted(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage, storage.nbytes()  # held, so that no address is used twice
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(noted, lambda tensor: tensor):
            self._loss(rows)
        return float(sum(size for _, size in kept.values()))

    def _loss(self, rows: Sequence[Encoded]) -> torch.Tensor:
        batch = collate(list(rows), self._trained.pad_id, self._device)
        self._trained.model.train()
        with torch.autocast(self.device, torch.bfloat16, enabled=self._config.bf16):
            loss: torch.Tensor = self._trained.model(batch, SamplingPlan(0.5, self._config.seed, 0), "example").total
        return loss


def spread(rows: Sequence[Encoded], most: int) -> list[Encoded]:
    """At most so many rows, from all over a file."""
    return list(rows[:: max(1, -(-len(rows) // most))])


def tokens_of(rows: Sequence[Encoded]) -> int:
    """Tokens of each row of a batch, padding counted."""
    return max(len(row.prompt_ids) for row in rows) + max(len(row.answer_ids) for row in rows)


def _probed_rows(rows: Sequence[Encoded], n: int) -> list[Sequence[Encoded]]:
    """Rows, by length, to probe with: short, middle and long ones, and one alone, which shows what a call takes."""
    found = []
    for place in _PLACES:
        start = max(0, min(len(rows) - n, round(place * len(rows)) - n // 2))
        found.append(rows[start : start + n])
    return [*found, found[1][:1]]

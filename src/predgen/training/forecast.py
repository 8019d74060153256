"""Say after the first steps about how long a run is going to take, and what that is made of."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from predgen.data.encode import Encoded
from predgen.progress import duration_in_words
from predgen.terminal import PlainConsole

_FIRST = 1  # steps that set things up, and are slower
_TIMED = 3
_ROWS = 8  # to predict
_LEAST = 8  # steps a run must have left: a shorter one is over before anybody has read this


class Forecast(TrainerCallback):
    """Prints one line after a run's fourth step.

    Args:
        console: Where to print.
        looks: Validation rows that are looked at while training, each time, and those that are predicted at the end.
        time_rows: Predicts a few validation rows, and returns the seconds per row; not called without validation rows.
    """

    def __init__(self, console: PlainConsole, looks: tuple[int, int], time_rows: Callable[[], float]) -> None:
        self.console = console
        self.looks = looks
        self.time_rows = time_rows
        self._begun_at = 0
        self._start = 0.0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        self._begun_at = state.global_step

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        done = state.global_step - self._begun_at
        if not state.is_world_process_zero or args.world_size > 1 or state.max_steps - self._begun_at < _LEAST:
            return
        if done == _FIRST:
            self._start = time.perf_counter()
        elif done == _FIRST + _TIMED:
            step_s = (time.perf_counter() - self._start) / _TIMED
            self.console.print(self._said(args, state, step_s), soft_wrap=True, highlight=False)

    def _said(self, args: TrainingArguments, state: TrainerState, step_s: float) -> str:
        """The line."""
        steps = state.max_steps - self._begun_at
        n_looks = _looks(args, state, self._begun_at)
        while_training, at_end = self.looks
        row_s = self.time_rows() if while_training else 0.0
        look_s = row_s * (n_looks * while_training + at_end)
        told = f"About {duration_in_words(steps * step_s + look_s)}: {steps} steps of {step_s:.2g} s"
        if while_training:
            told += (
                f" ({duration_in_words(steps * step_s)}), and {n_looks} x {while_training} validation rows while training"
                f"{f', {at_end} at the end' if at_end else ''} ({duration_in_words(look_s)})"
            )
        return f"{told}. Measured on the first {_FIRST + _TIMED} steps{' and a few rows' if while_training else ''}."


def seconds_per_row(predict: Callable[[list[Encoded]], object], rows: Sequence[Encoded]) -> float:
    """Time a few rows, the shortest and the longest among them.

    Args:
        predict: Predicts rows.
        rows: Where to take them from; at least one.
    """
    ordered = sorted(rows, key=lambda row: len(row.prompt_ids))
    chosen = ordered[:: max(1, len(ordered) // _ROWS)]
    start = time.perf_counter()
    predict(chosen)
    return (time.perf_counter() - start) / len(chosen)


def _looks(args: TrainingArguments, state: TrainerState, begun_at: int) -> int:
    """How often validation rows are looked at while training."""
    if str(getattr(args.eval_strategy, "value", args.eval_strategy)) == "steps":
        every = max(1, int(args.eval_steps or 1))
        return math.ceil(state.max_steps / every) - begun_at // every
    per_epoch = max(1, round(state.max_steps / max(1e-9, float(args.num_train_epochs))))
    return math.ceil(state.max_steps / per_epoch) - begun_at // per_epoch

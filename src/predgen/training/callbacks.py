"""What happens around training steps: AdaLoRA's budget, interrupts, the log file, the progress display."""

import json
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class RankBudget(TrainerCallback):
    """Tells AdaLoRA of each optimizer step, while gradients are still there (PEFT leaves this to callers)."""

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        kwargs["model"].lm.base_model.update_and_allocate(state.global_step)


class Interrupt(TrainerCallback):
    """First Ctrl-C: finish the step, save a checkpoint, stop. Second Ctrl-C: stop at once.

    Attributes:
        requested: Whether the run was interrupted.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        try:
            self._previous = signal.signal(signal.SIGINT, self._handle)
        except ValueError:  # not the main thread: Ctrl-C does not arrive here
            self._previous = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        if self.requested:
            control.should_save = True
            control.should_training_stop = True

    def on_epoch_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        is_inside_epoch = (state.epoch or 0.0) % 1 > 1e-9 and state.global_step < state.max_steps
        if self.requested and is_inside_epoch:  # the uninterrupted run does not look here
            control.should_evaluate = False

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        self.restore()

    def restore(self) -> None:
        """Give Ctrl-C back to whoever had it."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None


class EvaluateAtEnd(TrainerCallback):
    """Evaluates after the last step, so that a run in steps cannot end unmeasured."""

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
            control.should_save = True


class LogFile(TrainerCallback):
    """Writes every log as one JSON line, with the optimizer step and the time in seconds since the start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = time.perf_counter()

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        if state.is_world_process_zero and self.path.is_file():  # resumed: steps after the checkpoint come again
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= state.global_step]
            self.path.write_text("".join(kept), encoding="utf-8")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Any = None,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        if state.is_world_process_zero and logs:
            entry = {"step": state.global_step, "time_s": round(time.perf_counter() - self._start, 3), **logs}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


class ProgressDisplay(TrainerCallback):
    """A line with steps, ETA, rows/s, L_W, L_D and p; a line for each evaluation."""

    def __init__(self, console: Console, rows_per_step: int, title: str) -> None:
        self.console = console
        self.rows_per_step = rows_per_step
        self.title = title
        self._progress: Progress | None = None
        self._task: Any = None
        self._facts = ""
        self._first_step = 0
        self._start = 0.0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        if not state.is_world_process_zero:
            return
        self._first_step, self._start = state.global_step, time.perf_counter()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}"),
            console=self.console,
        )
        self._task = self._progress.add_task(self.title, total=state.max_steps, completed=state.global_step, facts="")
        self._progress.start()

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        if self._progress is not None:
            seconds = max(1e-9, time.perf_counter() - self._start)
            rate = (state.global_step - self._first_step) * self.rows_per_step / seconds
            self._progress.update(self._task, completed=state.global_step, facts=f"{rate:.0f} rows/s {self._facts}")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Any = None,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        names = {"writer_loss": "L_W", "director_loss": "L_D", "p": "p"}
        if logs and "loss" in logs:
            self._facts = " ".join(f"{short} {logs[name]:.3f}" for name, short in names.items() if name in logs)
        if logs and self._progress is not None and any(key.startswith("eval_") for key in logs):
            shown = "  ".join(f"{k[5:]} {v:.4f}" for k, v in logs.items() if k.startswith("eval_"))
            self._progress.console.print(f"  step {state.global_step}: validation {shown}", highlight=False)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop drawing."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

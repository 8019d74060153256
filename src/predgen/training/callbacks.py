"""What happens around training steps: the PEFT method's hook, interrupts, the log file, the progress display."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from predgen.figures import number
from predgen.files import sync, write_text
from predgen.progress import ProgressBar, row_progress
from predgen.terminal import PlainConsole
from predgen.training.checkpoints import checkpoints


class AfterStep(TrainerCallback):
    """Calls a PEFT method's hook (`PeftMethod.after_step`) on the language model."""

    def __init__(self, hook: Callable[[Any, int], None]) -> None:
        self.hook = hook

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        self.hook(kwargs["model"].lm, state.global_step)


class Interrupt(TrainerCallback):
    """First Ctrl-C: finish the step, save a checkpoint, stop. Second Ctrl-C: stop at once.

    SIGTERM, with which schedulers and shells end a command, is heard in the same way. Processes that train together stop after
    the same step, whichever of them has heard it.

    Attributes:
        requested: Whether the run was interrupted.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # signals do not arrive here
        for one in (signal.SIGINT, signal.SIGTERM):
            # A shell ignores Ctrl-C for what it runs in the background: it is meant for the foreground, and stays so.
            if signal.getsignal(one) is not signal.SIG_IGN:
                self._previous[one] = signal.signal(one, self._handle)

    def _handle(self, signal_number: int, frame: FrameType | None) -> None:
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
        if args.world_size > 1:  # one that stops alone would leave the others waiting for its gradients
            heard = reduce(torch.tensor(float(self.requested), device=args.device), "sum")
            self.requested = bool(heard > 0)
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
        """Give the signals back to whoever had them."""
        for one, handler in self._previous.items():
            signal.signal(one, handler)
        self._previous = {}


class StepRows(TrainerCallback, ExportableState):
    """Notes in each checkpoint how many rows an optimizer step has, over all processes: a run goes on with as many.

    Args:
        rows: How many.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def state(self) -> dict[str, dict[str, int]]:
        """What is noted."""
        return {"args": {"rows": self.rows}, "attributes": {}}


class KeptCheckpoints(TrainerCallback):
    """Moves each checkpoint to its place once it is complete, and keeps the last two and the best.

    Trainer writes into its own folder (`output_dir`), where trackers look for it: a kill leaves the half of a checkpoint
    there, and never where runs go on from.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        if state.is_world_process_zero:
            for half in Path(str(args.output_dir)).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
                shutil.rmtree(half)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        ranks = PartialState()
        ranks.wait_for_everyone()  # each has written its random state
        if state.is_world_process_zero:
            name = f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            written = Path(str(args.output_dir)) / name
            sync(written)
            shutil.rmtree(self.folder / name, ignore_errors=True)
            self.folder.mkdir(parents=True, exist_ok=True)
            os.replace(written, self.folder / name)
            for path in checkpoints(self.folder)[:-2]:
                if path.name != f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}":
                    shutil.rmtree(path)
        ranks.wait_for_everyone()


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


def cut_log(path: Path, step: int) -> None:
    """Leave out of a resumed run's log what comes again, and lines that a kill, a full disk or a hand has damaged."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        write_text(path, "".join(line for line in lines if _is_log_until(line, step)), is_held=True)


def _is_log_until(line: str, step: int) -> bool:
    """Whether a line is whole, and was logged no later than after a step."""
    try:
        return line.endswith("\n") and json.loads(line)["step"] <= step
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


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
        if state.is_world_process_zero:
            cut_log(self.path, state.global_step)

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
    """A bar with steps, ETA, rows/s, L_W, L_D and p; a line of its own while validation rows are measured."""

    def __init__(self, console: PlainConsole, rows_per_step: int, title: str) -> None:
        self.console = console
        self.rows_per_step = rows_per_step
        self.title = title
        self._bar: ProgressBar | None = None
        self._is_first_rank = True
        self._facts = ""

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        self._is_first_rank = state.is_world_process_zero
        if self._is_first_rank:
            total, done = state.max_steps, state.global_step
            self._bar = ProgressBar(self.console, self.title, total, units_per_step=self.rows_per_step, done=done)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        if self._bar is not None:
            self._bar.set(state.global_step, self._facts)

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
            self._facts = " ".join(f"{short} {number(logs[name])}" for name, short in names.items() if name in logs)
        if logs and self._bar is not None and any(key.startswith("eval_") for key in logs):
            shown = "  ".join(f"{k[5:]} {number(v, 4)}" for k, v in logs.items() if k.startswith("eval_"))
            self.console.print(f"  step {state.global_step}: validation {shown}")

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        self.close()

    @contextmanager
    def measuring(self, rows: int) -> Iterator[Callable[[int], None]]:
        """Show how many of `rows` validation rows are measured, within the bar or, after training, by a bar of its own."""
        title = "validation"
        if not self._is_first_rank:
            yield lambda steps: None
        elif self._bar is not None:
            with self._bar.inner(title, rows) as advance:
                yield advance
        else:
            with row_progress(self.console, title, rows) as advance:
                yield advance

    def close(self) -> None:
        """Stop drawing."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

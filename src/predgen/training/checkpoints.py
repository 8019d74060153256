"""Checkpoints of a run: which are there, and which are whole. No torch here, so that a folder is judged before it loads."""

import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from pydantic import AllowInfNan
from safetensors import SafetensorError, safe_open

from predgen.config import RunConfig
from predgen.errors import TrainingError
from predgen.plain_data import typed

WEIGHTS, PEFT_STATE = "trainable.safetensors", "peft_state.safetensors"
STATE = "trainer_state.json"
_PREFIX = "checkpoint-"  # as transformers names them (`trainer_utils.PREFIX_CHECKPOINT_DIR`)


_Facts = dict[str, dict[str, bool | int | float]]
_Logged = dict[str, Annotated[float, AllowInfNan(True)]]  # a Pearson of one row is nan


@dataclass(frozen=True, slots=True)
class _State:
    """What steers a run that goes on, of all that transformers' `TrainerState` holds; its versions differ in the rest."""

    global_step: int
    max_steps: int
    epoch: float
    log_history: list[_Logged]
    logging_steps: float = 1
    eval_steps: float = 1
    save_steps: float = 1
    train_batch_size: int | None = None
    num_input_tokens_seen: int = 0
    total_flos: float = 0.0
    best_metric: float | None = None
    best_global_step: int | None = None
    best_model_checkpoint: str | None = None
    stateful_callbacks: dict[str, _Facts | list[_Facts]] | None = None


def checkpoints(run: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    found = [p for p in run.glob(f"{_PREFIX}*") if p.name.removeprefix(_PREFIX).isdigit() and _is_complete(p)]
    return sorted(found, key=lambda path: int(path.name.removeprefix(_PREFIX)))


def last_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint, or None."""
    found = checkpoints(run)
    return found[-1] if found else None


def rows_of_step(config: RunConfig, processes: int) -> int:
    """Rows of an optimizer step over all processes."""
    return config.batch_size * config.gradient_accumulation * processes


def noted_rows_of_step(checkpoint: Path) -> int | None:
    """Rows of an optimizer step as a complete checkpoint notes them; None: an earlier version made it."""
    noted = json.loads((checkpoint / STATE).read_text(encoding="utf-8")).get("stateful_callbacks") or {}
    own = noted.get("StepRows") if isinstance(noted, dict) else None
    rows = own.get("args", {}).get("rows") if isinstance(own, dict) else None
    return rows if type(rows) is int else None


def _is_complete(checkpoint: Path) -> bool:
    """Whether all files of a checkpoint are there and none is cut off."""
    try:
        _require_state(checkpoint)
        for path in (checkpoint / WEIGHTS, *checkpoint.glob("*.safetensors")):
            with safe_open(str(path), "np"):
                pass
    except (OSError, ValueError, RecursionError, SafetensorError, TrainingError):
        return False
    states = list(checkpoint.glob("*.pt*"))  # optimizer.pt, scheduler.pt, and rng_state.pth or one such file per rank
    return len(states) >= 3 and all(map(zipfile.is_zipfile, states))


def _require_state(checkpoint: Path) -> None:
    """Refuse a state with which transformers would end in an error of its own, or that is of another step.

    Raises:
        TrainingError, ValueError, RecursionError, OSError: If it is no state of this checkpoint.
    """
    data = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise TrainingError(f"{STATE} holds {type(data).__name__}.")
    known = {field.name for field in fields(_State)}
    state = typed(_State, {k: v for k, v in data.items() if k in known}, STATE, error=TrainingError)
    if state.global_step != int(checkpoint.name.removeprefix(_PREFIX)):
        raise TrainingError(f"{STATE} is that of step {state.global_step}.")

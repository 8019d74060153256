"""Variants in processes of their own: whole commands from start to end, and single variants for their memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.settings import Setting

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Command:
    """A Python module with arguments; it may be run any number of times.

    Attributes:
        module: As after `python -m`.
        arguments: Its arguments.
    """

    module: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command took.

    Attributes:
        seconds: From start to end, Python's own start included.
        peak_mib: Highest resident memory.
    """

    seconds: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a variant in a process of its own, in MiB.

    Attributes:
        loaded: Once everything is loaded and nothing has run.
        peak: At the highest.
    """

    loaded: float
    peak: float


def run_command(command: Command, setting: Setting) -> Outcome:
    """Run a command to its end.

    Raises:
        RuntimeError: If it fails; its last lines of output are in the message.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        start = time.perf_counter()
        _python(["-m", "benchmarks.probe", str(report), command.module, *command.arguments], setting)
        seconds = time.perf_counter() - start
        return Outcome(seconds, json.loads(report.read_text(encoding="utf-8"))["peak_mib"])


def run_variant(row: str, side: str, setting: Setting) -> Memory:
    """Run one side, "ours" or "peer", of a row a few times in a process of its own.

    Raises:
        RuntimeError: If it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        _python(["-m", "benchmarks.variant", row, side, setting.to_json(), str(report)], setting)
        return Memory(**json.loads(report.read_text(encoding="utf-8")))


def _python(arguments: list[str], setting: Setting) -> None:
    """Run this Python offline, on the size's device, with as many threads as every other variant."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "OMP_NUM_THREADS": str(setting.threads),
    }
    if setting.spec.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise RuntimeError(f"`python {' '.join(arguments[:4])} ...` ended with exit status {done.returncode}:\n{last}")

"""How many threads a process may use: what the user set, else what the machine gives to this process."""

import os

import joblib

_VARIABLE = "OMP_NUM_THREADS"


def available_cores() -> int:
    """Return the cores that this process may use: joblib counts those of its CPU affinity and of the container's quota."""
    return int(joblib.cpu_count())


def available_threads(processes: int = 1) -> int:
    """Return the threads that each of `processes` processes should run.

    OMP_NUM_THREADS stands where it is set; else the cores that may be used are shared out.

    Args:
        processes: Processes that run at the same time, >= 1.
    """
    wished = os.environ.get(_VARIABLE, "").split(",")[0].strip()
    if wished.isdecimal() and int(wished) > 0:
        return int(wished)
    return max(1, available_cores() // processes)


def use_available_threads(threads: int | None = None) -> None:
    """Let torch run `threads` threads, by default as many as `available_threads` says."""
    import torch

    torch.set_num_threads(threads or available_threads())

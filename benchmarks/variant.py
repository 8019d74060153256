"""Run one side of a timed row a few times in this process, and write its memory.

python -m benchmarks.variant ROW SIDE SETTING REPORT.json
"""

import json
import sys
from pathlib import Path

import torch
from transformers.utils import logging

from benchmarks.memory import forget_peak, gpu_mib, peak_mib, resident_mib
from benchmarks.rows import ROWS
from benchmarks.settings import Setting

CALLS = 3  # the optimizer's moments are there from the second on


def main() -> None:
    """Measure what the command line names."""
    key, side, setting_json, report = sys.argv[1:]
    logging.disable_progress_bar()
    setting = Setting.from_json(setting_json)
    torch.set_num_threads(setting.threads)
    row = next(row for row in ROWS if row.key == key)
    call = row.measure.variants[side](setting)
    is_gpu = setting.spec.device != "cpu"
    loaded = gpu_mib(setting.spec.device, peak=False) if is_gpu else resident_mib()
    forget_peak()
    for _ in range(CALLS):
        call()
    peak = gpu_mib(setting.spec.device, peak=True) if is_gpu else peak_mib()
    Path(report).write_text(json.dumps({"loaded": loaded, "peak": peak}), encoding="utf-8")


if __name__ == "__main__":
    main()

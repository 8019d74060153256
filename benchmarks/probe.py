"""Run a module as `python -m` would, then write how much memory the process took.

    python -m benchmarks.probe REPORT.json MODULE [ARGUMENTS...]

Ours and peers' commands are both run this way: only the process itself can tell its peak on every system.
"""

import json
import runpy
import sys
from pathlib import Path

from benchmarks.memory import peak_mib


def main() -> None:
    """Run the module that the command line names."""
    report, module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        Path(report).write_text(json.dumps({"peak_mib": peak_mib()}), encoding="utf-8")


if __name__ == "__main__":
    main()

"""A worker process: orders on standard input, an answer per order on standard output, nothing else there.

python -m predgen.compare.worker EXP
"""

import json
import os
import sys
from pathlib import Path

from predgen import registries
from predgen.compare.cell import run_cell
from predgen.compare.plan import Cell


def main() -> int:
    """Make runs until there are no more orders."""
    experiment = Path(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    try:
        registries.add(json.loads(sys.stdin.readline() or "{}"))  # what the user's own modules registered comes first
        for line in sys.stdin:
            order = json.loads(line)
            record = run_cell(Cell.from_dict(order["cell"]), experiment, keep_models=order["keep_models"])
            answers.write(json.dumps({"id": record.id, "status": record.status}) + "\n")
            answers.flush()
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

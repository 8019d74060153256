"""Pack the records of experiments, so that each is one file to pass on: `records.tar.xz` instead of a file per run.

    python tools/pack_records.py experiments/main experiments/other_tasks

Everything reads a packed experiment as it reads one that is not, and `predgen compare` goes on with it. `tar -xf records.tar.xz`
in the experiment's folder brings the files back.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from predgen.errors import PredgenError
from predgen.records import pack_records


def main(words: Sequence[str] | None = None) -> int:
    """Pack the folders that are named; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", type=Path, nargs="+", help="folders of experiments")
    try:
        for experiment in parser.parse_args(words).experiments:
            packed = pack_records(experiment)
            print(f"{packed}: {packed.stat().st_size} bytes")
    except PredgenError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

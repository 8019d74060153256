"""Run mutated folders through load and predict, each in a process of its own, and count how they end.

python tests/hostile/campaign.py WORK --cases 480 --seed 0

The libraries are loaded once; every case is a fork with limits on CPU time and memory. It ends in one of: "equal" (the
predictions of the good folder), "refused" (an error of predgen's own), "author's own" (other predictions of a folder whose digests its
author made to fit, as every second round does), and what must not be: "other predictions", "error
TYPE" (a traceback), "hang", "died", "code".

A case depends on its seed alone, so that a campaign can be run in parts: --seed 100 --cases 50 makes cases 100 to 149.
"""

import argparse
import json
import random
import shutil
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import predgen
from hostile.folders import MANIFEST, MUTATIONS
from hostile.forks import outcome_of
from predgen.engine.base_model import fingerprint
from predgen.saved.digests import digests_of
from predgen.saved.manifest import codec_digest
from predgen.training.run import train
from tiny_runs import tiny_base, tiny_config, tiny_data

ROWS = [{"text": text} for text in ("the room was warm", "no tea and a dull book")]


def good_folder(work: Path) -> Path:
    """Train and save the model that all cases begin from."""
    base = tiny_base(work / "base")
    train(tiny_config(base, "classification", epochs=1.0), work / "good", data=tiny_data("classification", 8))
    return work / "good"


def predictions(folder: Path) -> list[Any]:
    """What a folder's model says."""
    return [(p.value, p.probabilities) for p in predgen.load(folder).predict(ROWS)]


def case(good: Path, seed: int, expected: list[Any], work: Path) -> dict[str, Any]:
    """Mutate a copy and see how it ends."""
    rng = random.Random(seed)
    kind = list(MUTATIONS)[seed % len(MUTATIONS)]
    folder, canary = work / "case", work / "canary"
    for path in (folder, work / "case-base"):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(good, folder)
    shutil.copytree(good.parent / "base", work / "case-base")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["base"]["name"] = str(work / "case-base")
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    what = MUTATIONS[kind](folder, rng, canary)
    is_refitted = bool(seed // len(MUTATIONS) % 2) and refit(folder)
    outcome = outcome_of(lambda: "equal" if predictions(folder) == expected else "other predictions", folder)
    if is_refitted and outcome == "other predictions":
        outcome = "author's own"
    if canary.exists():
        canary.unlink()
        outcome = "code"
    return {"seed": seed, "kind": kind, "what": what, "refitted": is_refitted, "outcome": outcome}


def refit(folder: Path) -> bool:
    """Make digests and fingerprint fit what the folder holds now, as its author can; False where they cannot be made.

    What such a folder predicts is its author's: it need not be what the good folder says.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest["digests"] = {**digests_of(folder), "predgen.json: codec": codec_digest(manifest["codec"])}
        manifest["base"]["fingerprint"] = fingerprint(Path(manifest["base"]["name"]))
        (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return True


def main() -> None:
    """Run a campaign; the cases and counts are printed as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--cases", type=int, default=480)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    given.work.mkdir(parents=True, exist_ok=True)
    good = good_folder(given.work)
    expected = predictions(good)
    found = []
    for i in range(given.cases):
        found.append(case(good, given.seed + i, expected, given.work))
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    counts = {kind: dict(Counter(c["outcome"].split(":")[0] for c in found if c["kind"] == kind)) for kind in MUTATIONS}
    wrong = [c for c in found if c["outcome"] not in ("equal", "refused", "author's own")]
    print(json.dumps({"cases": len(found), "counts": counts, "wrong": wrong}, indent=1))


if __name__ == "__main__":
    main()

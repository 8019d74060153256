"""What a killed call leaves, as a hand or a bad disk may change it before the next call goes on from there."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from hostile.folders import edited

Change = Callable[[Path, random.Random], str]
TEXTS = (
    "",
    "{",
    "[1]",
    "null",
    '{"a": 1}',
    "[" * 100_000,
    "\x00",
    "- a",
    "a: [",
    "!!python/object/apply:os.system ['touch canary']",
    "a: &x [*x]",
)


def bytes_changed(path: Path, rng: random.Random) -> str:
    """Flip, cut off, append or double bytes of a file."""
    raw, how = path.read_bytes(), rng.choice(["flipped", "cut off", "longer", "doubled", "empty"])
    place = rng.randrange(max(1, len(raw)))
    flipped = raw[:place] + bytes([raw[place] ^ 1 << rng.randrange(8)]) + raw[place + 1 :] if raw else b"x"
    path.write_bytes(
        {"flipped": flipped, "cut off": raw[:place], "longer": raw + b"x\n", "doubled": raw + raw, "empty": b""}[how]
    )
    return f"{path.name} {how} at {place}"


def text_replaced(path: Path, rng: random.Random) -> str:
    """Put other text into a file."""
    text = rng.choice(TEXTS)
    path.write_text(text, encoding="utf-8")
    return f"{path.name} = {text[:30]!r}"


def progress(folder: Path, rng: random.Random) -> str:
    """Predict's state beside an output."""
    path = folder / "out.csv.progress.json"
    return rng.choice([edited, edited, bytes_changed, text_replaced])(path, rng)


def part(folder: Path, rng: random.Random) -> str:
    """Predict's rows that are done."""
    path = folder / "out.csv.part"
    if rng.random() < 0.2:
        path.unlink()
        path.symlink_to(rng.choice(["/dev/null", "/nonexistent/x", "out.csv.part"]))
        return "part is a link"
    return bytes_changed(path, rng)


def settings(folder: Path, rng: random.Random) -> str:
    """A run's config.yaml."""
    return rng.choice([bytes_changed, text_replaced])(folder / "config.yaml", rng)


def log(folder: Path, rng: random.Random) -> str:
    """A run's log.jsonl."""
    return rng.choice([bytes_changed, text_replaced])(folder / "log.jsonl", rng)


def trainer_state(folder: Path, rng: random.Random) -> str:
    """The state of a run's last checkpoint."""
    path = max(folder.glob("checkpoints/checkpoint-*/trainer_state.json"))
    return rng.choice([edited, bytes_changed, text_replaced])(path, rng)


def checkpoint_files(folder: Path, rng: random.Random) -> str:
    """Tensors of a run's last checkpoint."""
    files = sorted(p for p in max(folder.glob("checkpoints/checkpoint-*")).iterdir() if p.suffix != ".json")
    return bytes_changed(rng.choice(files), rng)


def trained_rows(folder: Path, rng: random.Random) -> str:
    """The digests of a saved model's training rows."""
    path = folder / "trained-rows.json"
    if rng.random() < 0.3:
        path.write_text(json.dumps([]), encoding="utf-8")
        return "no rows"
    return rng.choice([bytes_changed, text_replaced])(path, rng)


PREDICT: dict[str, Change] = {f.__name__: f for f in (progress, part)}
TRAIN: dict[str, Change] = {f.__name__: f for f in (settings, log, trainer_state, checkpoint_files)}
EVALUATE: dict[str, Change] = {f.__name__: f for f in (trained_rows,)}

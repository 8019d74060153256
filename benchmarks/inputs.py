"""What the variants are fed: synthetic tokenised prompts and numbers, and tables of generated text."""

import csv
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.settings import Setting

TEMPLATE = "Review: {text}\nScore:"
LABELS_2 = ("yes", "no")
# Three first tokens; "very" leads to a second choice, so that the root alone does not settle it.
LABELS_5 = ("very negative", "negative", "neutral", "positive", "very positive")
LABELS_20 = (
    "anger", "fear", "joy", "sadness", "surprise", "disgust", "trust", "hope", "love", "shame",
    "pride", "guilt", "calm", "relief", "boredom", "envy", "worry", "interest", "anticipation", "contempt",
)  # fmt: skip
CSV_LABELS = ("negative", "mixed", "positive")
LOW, HIGH = 0.0, 5.0
_FIRST_TOKEN, _LAST_TOKEN = 2, 4095  # the embedded tokenizer's, without its end and padding tokens
_WORDS = (
    "the a room dinner music story wine garden road evening was is seemed remained looked splendid dull pleasant poor "
    "dreadful warm cold and but though so very quite rather hardly we they she nobody waited asked found left again"
).split()
MIXED_WORDS, SHORT_WORDS = (5, 250), (5, 12)

Ids = tuple[int, ...]


def prompts(setting: Setting, n: int | None = None, seed: int = 0) -> list[Ids]:
    """Random prompts of `prompt_tokens` tokens, a fifth more or less; one batch unless `n` is given."""
    rng = random.Random(seed)
    spread = setting.prompt_tokens // 5
    widths = [setting.prompt_tokens + rng.randint(-spread, spread) for _ in range(n or setting.batch_size)]
    return [_ids(rng, width) for width in widths]


def prompts_with_instruction(setting: Setting, n: int, instruction_tokens: int = 60) -> list[Ids]:
    """Prompts as `prompts` gives them, but all beginning with the same instruction."""
    rng = random.Random(1)
    instruction = _ids(rng, instruction_tokens)
    own = setting.prompt_tokens - instruction_tokens
    return [instruction + _ids(rng, max(1, own + rng.randint(-20, 20))) for _ in range(n)]


def states(setting: Setting, count: Callable[[str], int], seed: int = 0) -> list[str]:
    """Texts of random words, one batch; each is the first with `prompt_tokens` tokens or more, as `count` counts them."""
    rng = random.Random(seed)
    found = []
    for _ in range(setting.batch_size):
        text = rng.choice(_WORDS)
        while count(text) < setting.prompt_tokens:
            text += f" {rng.choice(_WORDS)}"
        found.append(text)
    return found


def _ids(rng: random.Random, n: int) -> Ids:
    """Random ordinary tokens."""
    return tuple(rng.randint(_FIRST_TOKEN, _LAST_TOKEN) for _ in range(n))


def numbers(n: int, seed: int = 0) -> list[float]:
    """Numbers of the grid 0.0, 0.1, ..., 5.0."""
    rng = random.Random(seed)
    return [rng.randint(int(LOW * 10), int(HIGH * 10)) / 10 for _ in range(n)]


def pad(rows: Sequence[Sequence[int]], value: int, side: str, device: str) -> Tensor:
    """Pad rows on one side into a tensor [B L]."""
    width = max(map(len, rows))
    padded = torch.full((len(rows), width), value)
    for i, row in enumerate(rows):
        start = width - len(row) if side == "left" else 0
        padded[i, start : start + len(row)] = torch.tensor(row, dtype=torch.long)
    return padded.to(device)


def masked(rows: Sequence[Sequence[int]], pad_id: int, side: str, device: str) -> dict[str, Tensor]:
    """Padded ids with their mask, named as models of transformers take them."""
    ones = [[1] * len(row) for row in rows]
    return {"input_ids": pad(rows, pad_id, side, device), "attention_mask": pad(ones, 0, side, device)}


def with_positions(rows: Sequence[Sequence[int]], device: str) -> dict[str, Tensor]:
    """Ids padded on the left, their mask, and positions that do not count padding."""
    batch = masked(rows, _FIRST_TOKEN, "left", device)
    return {**batch, "position_ids": (batch["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)}


def write_table(path: Path, n: int, words: tuple[int, int], seed: int = 0) -> Path:
    """Write a .csv of generated texts with a label and a score.

    Lengths are log-normal, as those of real texts: most are short, a few are many times longer.
    """
    rng = random.Random(seed)
    least, most = words
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "score"])
        for i in range(n):
            length = min(most, max(least, round(rng.lognormvariate(3.8, 0.8))))
            text = f"{i} " + " ".join(rng.choices(_WORDS, k=length))
            writer.writerow([text, CSV_LABELS[i % len(CSV_LABELS)], f"{rng.randint(0, 50) / 10:.1f}"])
    return path

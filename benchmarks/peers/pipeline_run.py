"""Classify a table with `transformers.pipeline("text-classification")`, from file to file.

python -m benchmarks.peers.pipeline_run MODEL IN.csv OUT.csv TEMPLATE BATCH_SIZE DTYPE
"""

import csv
import sys
from pathlib import Path

import torch
from transformers import pipeline

MAX_LENGTH = 512  # predgen's default


def main() -> None:
    """Write label and score of every row."""
    model, source, out, template, batch_size, dtype = sys.argv[1:]
    with Path(source).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    classify = pipeline("text-classification", model=model, dtype=getattr(torch, dtype))
    texts = [template.format(**row) for row in rows]
    results = classify(texts, batch_size=int(batch_size), truncation=True, max_length=MAX_LENGTH)
    with Path(out).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "prediction", "p"])
        writer.writeheader()
        for row, result in zip(rows, results, strict=True):
            writer.writerow({**row, "prediction": result["label"], "p": result["score"]})


if __name__ == "__main__":
    main()

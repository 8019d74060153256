"""Train on a CSV file, save the model, and predict another CSV file. Makes both files in a temporary folder.

python examples/classify_csv.py
"""

import csv
import tempfile
from pathlib import Path

import predgen
from predgen.inference.stream import predict_file

ADJECTIVES = {"splendid": "good", "charming": "good", "dreadful": "bad", "wretched": "bad"}
NOUNS = ("evening", "play", "concert", "dinner", "hall")


def write_reviews(path: Path, nouns: tuple[str, ...], *, with_label: bool) -> None:
    """Write one row per noun and adjective."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"] if with_label else ["text"])
        for noun in nouns:
            for adjective, label in ADJECTIVES.items():
                writer.writerow([f"A {adjective} {noun}.", label][: 1 + with_label])


def main() -> None:
    """Train, save, load, predict."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_reviews(folder / "train.csv", NOUNS, with_label=True)
        write_reviews(folder / "new.csv", ("book", "voyage"), with_label=False)
        config = predgen.RunConfig(
            data=str(folder / "train.csv"),
            prompt="Review: {text}\nThe review is",
            target="label",
            kind="classification",
            max_steps=10,
            learning_rate=5e-3,
        )
        predgen.train(config, folder / "run")
        model = predgen.load(folder / "run")
        predict_file(model, folder / "new.csv", folder / "predictions.csv", proba=True)
        print((folder / "predictions.csv").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

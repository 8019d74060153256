"""Ordinary files that are easily got wrong: each gives the right result, or a message with exit status 2."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cli_runs import Runs, predgen, refused, write_csv

SHARED = Path(__file__).parents[3] / "shared" / "cases"


def own(data: Path, target: str, kind: str, prompt: str = r"{text}\nAnswer:") -> tuple[str | Path, ...]:
    """Flags that name a file and what to learn from it."""
    return ("--data", data, "--prompt", prompt, "--target", target, "--kind", kind)


def trained(*arguments: str | Path, out: Path) -> dict[str, Any]:
    """Train two steps; returns the manifest."""
    result = predgen("train", *arguments, "--max-steps", "2", "--out", out)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads((out / "predgen.json").read_text(encoding="utf-8"))
    return found


def validated(*arguments: str | Path) -> dict[str, Any]:
    """What `predgen validate --json` says."""
    result = predgen("validate", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def shared(name: str) -> Path:
    """A file beside the repository; the test is skipped where it is not there."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{name} is not there")
    return path


def classes_file(path: Path, counts: Mapping[str, int]) -> Path:
    """Rows of some classes, in turns."""
    rows = [{"text": f"about {label}, case {i}", "intent": label} for label, n in counts.items() for i in range(n)]
    return write_csv(path, sorted(rows, key=lambda row: row["text"][::-1]))


# Rare classes


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_classes_with_few_rows_are_trained_on_and_named(runs: Runs, tmp_path: Path, seed: str) -> None:
    data = classes_file(tmp_path / "a.csv", {"refund": 20, "bill": 14, "parcel": 3, "login": 1, "noise": 1})
    given = (*own(data, "intent", "classification"), "--model", runs.base, "--seed", seed)
    unmeasured = validated(*given)["unmeasured_classes"]
    assert {"login", "noise"} <= set(unmeasured) <= {"login", "noise", "parcel"}
    result = predgen("train", *given, "--max-steps", "2", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert all(repr(label) in result.output for label in unmeasured)
    manifest = json.loads((tmp_path / "run" / "predgen.json").read_text(encoding="utf-8"))
    assert manifest["setup"]["labels"] == ["bill", "login", "noise", "parcel", "refund"]
    assert manifest["report"]["unmeasured_classes"] == unmeasured


@pytest.mark.parametrize("seed", ["0", "1", "2", "3", "4"])
def test_shared_rare_classes(tmp_path: Path, seed: str) -> None:
    data = shared("rare_classes.csv")
    given = (*own(data, "intent", "classification", r"Message: {text}\nIntent:"), "--seed", seed)
    manifest = trained(*given, out=tmp_path / "run")
    assert len(manifest["setup"]["labels"]) == 24
    rows = Counter(line.rsplit(",", 1)[1] for line in data.read_text(encoding="utf-8").splitlines()[1:])
    assert {label for label, n in rows.items() if n == 1} <= set(manifest["report"]["unmeasured_classes"])


# Learning curves


def test_labels_do_not_depend_on_the_limit(runs: Runs, tmp_path: Path) -> None:
    data = classes_file(tmp_path / "a.csv", {f"class {k}": 10 for k in range(6)})
    given = (*own(data, "intent", "classification"), "--model", runs.base)
    labels = [trained(*given, "--limit", n, out=tmp_path / n)["setup"]["labels"] for n in ("5", "12", "54")]
    assert labels[0] == labels[1] == labels[2] == [f"class {k}" for k in range(6)]


def test_shared_intents_with_a_limit(tmp_path: Path) -> None:
    given = own(shared("intents_12x40.csv"), "intent", "classification")
    assert len(trained(*given, "--limit", "24", out=tmp_path / "run")["setup"]["labels"]) == 12


# Labels that only measured rows have


def test_an_unknown_label_is_named_with_its_file_and_the_remedy(runs: Runs, tmp_path: Path) -> None:
    data = classes_file(tmp_path / "a.csv", {f"class {k:02}": 3 for k in range(30)})
    other = write_csv(tmp_path / "b.csv", [{"text": "x", "intent": "class 00"}, {"text": "y", "intent": "strange"}])
    given = (*own(data, "intent", "classification"), "--model", runs.base, "--validation-data", other)
    for command, more in (("train", ("--max-steps", "1", "--out", tmp_path / "run")), ("validate", ())):
        message = refused(predgen(command, *given, *more))
        assert "row 2" in message
        assert "'strange'" in message
        assert str(other) in message
        assert "--bad-rows skip" in message
        assert sum(f"class {k:02}" in message for k in range(30)) == 10
    assert trained(*given, "--bad-rows", "skip", out=tmp_path / "run")["report"]["skipped_rows"] == 1


# Long texts


def long_pairs(path: Path) -> Path:
    """Rows of a question and a document, the first of which has two long ones."""
    rows = [{"question": f"is case {i} closed", "document": f"file {i}", "label": "no yes".split()[i % 2]} for i in range(20)]  # fmt: skip
    rows[0] |= {"question": "why " * 300, "document": "because " * 300}
    return write_csv(path, rows)


PAIR = r"Q: {question}\nD: {document}\nLabel:"


def check_long_pairs(data: Path, out: Path, *more: str | Path) -> None:
    """A row with two long texts is shortened and counted, in training, checks and prediction."""
    given = (*own(data, "label", "classification", PAIR), "--max-length", "128", *more)
    facts = validated(*given)
    report = trained(*given, "--validation-data", data, out=out / "run")["report"]
    assert facts["truncated_rows"] == report["truncated_rows"] == 1
    assert facts["tokens_per_row"]["max"] <= 128
    result = predgen("predict", out / "run", data, "-o", out / "out.csv")
    assert result.exit_code == 0, result.output
    assert "1 rows truncated" in result.output
    assert len((out / "out.csv").read_text(encoding="utf-8").splitlines()) == report["train_rows"] + 1


@pytest.mark.parametrize("part", ["tail", "head", "middle"])
def test_two_long_texts_in_one_prompt_are_shortened(runs: Runs, tmp_path: Path, part: str) -> None:
    check_long_pairs(long_pairs(tmp_path / "a.csv"), tmp_path, "--model", runs.base, "--truncate", part)


def test_shared_two_long_texts(tmp_path: Path) -> None:
    check_long_pairs(shared("two_long_texts.csv"), tmp_path)


def test_a_template_that_does_not_fit_is_an_error(runs: Runs, tmp_path: Path) -> None:
    given = (*own(long_pairs(tmp_path / "a.csv"), "label", "classification", PAIR), "--model", runs.base)
    message = refused(predgen("validate", *given, "--max-length", "16"))
    assert "`prompt` has" in message
    assert "`max_length`" in message

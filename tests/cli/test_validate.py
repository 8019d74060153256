"""`predgen validate`: facts about data, without a model's weights."""

import json
import shutil
from pathlib import Path
from typing import Any

from cli_runs import PROMPT, Runs, flat, predgen, refused, reviews, write_csv


def facts(
    runs: Runs, data: Path, *more: str | Path, target: str = "label", kind: str = "classification"
) -> dict[str, Any]:
    """What `predgen validate --json` prints."""
    given = ("--data", data, "--prompt", PROMPT, "--target", target, "--kind", kind, "--model", runs.base)
    result = predgen("validate", *given, *more, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_rows_labels_lengths_and_duplicates(runs: Runs, tmp_path: Path) -> None:
    rows = [
        {"text": "fine", "label": "good"},
        {"text": "fine", "label": "good"},
        {"text": "fine", "label": "bad"},
        {"text": "dull book", "label": "bad"},
        {"text": "fine " * 200, "label": "good"},
    ]
    validation = [{"text": "dull book", "label": "bad"}, {"text": "new", "label": "good"}]
    data, other = write_csv(tmp_path / "a.csv", rows), write_csv(tmp_path / "b.csv", validation)
    found = facts(runs, data, "--validation-data", other, "--max-length", "100")
    assert (found["train_rows"], found["validation_rows"]) == (5, 2)
    assert found["targets"] == {"bad": 2, "good": 3}
    assert (found["repeated_prompts"], found["prompts_with_several_targets"]) == (2, 1)
    assert found["validation_prompts_also_in_train"] == 1
    assert found["truncated_rows"] == 1
    # One token per character: "Review: fine\nVerdict:" is 21, then " good" or " bad" and the stop.
    lengths = found["tokens_per_row"]
    assert (lengths["min"], lengths["median"]) == (21 + 5, 21 + 6)


def test_numbers_and_their_range(runs: Runs, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "a.csv", [{"text": f"row {i}", "score": i} for i in range(1, 12)])
    found = facts(runs, data, "--validation-data", data, target="score", kind="regression")
    assert (found["targets"]["min"], found["targets"]["mean"], found["targets"]["max"]) == (1, 6, 11)
    assert found["numbers_written"]["low"] <= 1 < 11 <= found["numbers_written"]["high"]


def test_weights_are_not_needed(runs: Runs, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(runs.base, base, ignore=shutil.ignore_patterns("*.safetensors"))
    assert facts(runs, write_csv(tmp_path / "a.csv", reviews(20)), "--model", base)["train_rows"] == 18


def test_table_by_default(runs: Runs) -> None:
    given = ("--data", runs.data, "--prompt", PROMPT, "--target", "label", "--kind", "classification")
    said = flat(predgen("validate", *given, "--model", runs.base).stdout)
    assert "train rows" in said
    assert "good: " in said
    assert "prompts with several targets" in said


def test_bad_rows_end_with_status_2(runs: Runs, tmp_path: Path) -> None:
    rows = [*reviews(5), {"text": "fine", "label": "", "score": "?"}]
    data = write_csv(tmp_path / "a.csv", rows)
    given = ("--data", data, "--prompt", PROMPT, "--target", "score", "--kind", "regression", "--model", runs.base)
    message = refused(predgen("validate", *given))
    assert message.startswith("error: 1 of 6 rows cannot be used: row 6: column 'score' is '?' (not a number).")

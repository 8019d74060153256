"""`predgen validate`: facts about data, without a model's weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli_runs import PROMPT, Runs, flat, predgen, refused, reviews, write_csv
from task_files import publish


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
    assert message.startswith("error: 1 of 6 rows ")
    assert "row 6: column 'score' is '?' (not a number)" in message


def of_task(runs: Runs, name: str, folder: Path, *more: str) -> dict[str, Any]:
    """What `predgen validate --task --json` prints."""
    result = predgen("validate", "--task", name, "--data-dir", folder, "--model", runs.base, *more, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_test_rows_of_a_task_and_their_overlap(runs: Runs, tmp_path: Path) -> None:
    names = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
    rows = [f"{i}\tmen {i} sing\tnobody {i} sings\t{2 + i % 3}\tNEUTRAL\n" for i in range(30)]
    (tmp_path / "SICK_train.txt").write_text(names + "".join(rows[:20]))
    (tmp_path / "SICK_trial.txt").write_text(names + "".join(rows[20:25]))
    test = [rows[3].upper().replace("MEN", "MEN "), rows[21], rows[26], rows[26].replace("\t4\t", "\t5\t"), rows[27]]
    (tmp_path / "SICK_test_annotated.txt").write_text(names + "".join(test))
    found = of_task(runs, "sick", tmp_path)
    assert (found["train_rows"], found["validation_rows"], found["test_rows"]) == (20, 5, 5)
    assert (found["test_targets"]["min"], found["test_targets"]["max"]) == (2, 5)
    assert (found["test_repeated_prompts"], found["test_prompts_with_several_targets"]) == (1, 1)
    assert (found["test_prompts_also_in_train"], found["test_prompts_also_in_validation"]) == (1, 1)
    # One token per character.
    assert found["test_tokens_per_prompt"]["median"] == len(
        "A: men 26 sing\nB: nobody 26 sings\nRelatedness from 1 to 5:"
    )


def test_set_for_measuring_only_has_test_facts(runs: Runs, tmp_path: Path) -> None:
    found = of_task(runs, "addsub", publish("addsub", tmp_path))
    assert found["test_rows"] == 6
    assert found["test_targets"]["mean"] == pytest.approx(2 / 3)
    assert not [name for name in found if "train" in name or "validation" in name]


def test_bad_rows_are_skipped_and_counted_if_asked(runs: Runs, tmp_path: Path) -> None:
    rows = [
        {"instruction": f"q {i}", "input": "", "output": "", "answer": "C" if i == 4 else f"{i}.0"} for i in range(30)
    ]
    (tmp_path / "math_10k.json").write_text(json.dumps(rows))
    found = of_task(runs, "math_10k", tmp_path, "--bad-rows", "skip")
    assert found["train_rows"] + found["validation_rows"] + found["test_rows"] == 29
    given = ("--task", "math_10k", "--data-dir", tmp_path, "--model", runs.base)
    assert "column 'answer' is 'C' (not a number)" in refused(predgen("validate", *given))


def test_folder_without_the_tasks_files_says_what_was_looked_for(runs: Runs, tmp_path: Path) -> None:
    message = refused(predgen("validate", "--task", "svamp", "--data-dir", tmp_path, "--model", runs.base))
    assert message.startswith(f"error: folder {str(tmp_path)!r} has no file of task 'svamp'. Looked for")

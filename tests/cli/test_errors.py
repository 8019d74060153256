"""Hostile input on the command line: exit status 2, one line that says what, where and how to repair it, no traceback."""

import json
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli_runs import PROMPT, Runs, flat, predgen, refused, reviews, write_csv
from predgen.cli.errors import readable_errors
from predgen.data.sources import read_rows
from predgen.saved.manifest import read_manifest


def train_on(runs: Runs, data: Path, out: Path, target: str = "label", kind: str = "classification") -> str:
    """Train on a file that cannot be used; returns the message."""
    return refused(runs.train("--data", data, "--prompt", PROMPT, "--target", target, "--kind", kind, "--out", out))


# Files


def test_wrong_column(runs: Runs, tmp_path: Path) -> None:
    message = train_on(runs, runs.data, tmp_path / "run", target="labl")
    assert message.startswith("error: missing column 'labl' (for the target)")
    assert "Did you mean 'label'? Columns of the rows: 'text', 'label', 'score'. Correct the name" in message
    assert not (tmp_path / "run").exists()


def test_wrong_column_of_rows_to_predict(runs: Runs, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", [{"txt": "a"}])
    message = refused(predgen("predict", runs.label, source, "-o", tmp_path / "out.csv"))
    assert message.startswith("error: missing column 'text' (for `prompt`)")
    assert "Did you mean 'txt'? Columns of the rows: 'txt'." in message


def test_empty_file(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"")
    message = train_on(runs, tmp_path / "a.csv", tmp_path / "run")
    assert message == f"error: file {str(tmp_path / 'a.csv')!r} is empty (0 bytes); it must hold at least one row."


def test_header_alone(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n")
    message = train_on(runs, tmp_path / "a.csv", tmp_path / "run")
    assert message.startswith(f"error: file {str(tmp_path / 'a.csv')!r} has no rows")


def test_missing_file(runs: Runs, tmp_path: Path) -> None:
    write_csv(tmp_path / "reviews.csv", reviews(4))
    message = train_on(runs, tmp_path / "review.csv", tmp_path / "run")
    assert message.startswith(
        f"error: file {str(tmp_path / 'review.csv')!r} does not exist. Did you mean 'reviews.csv'"
    )


def test_all_nan_target(runs: Runs, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "a.csv", [{"text": f"row {i}", "score": "nan"} for i in range(12)])
    message = train_on(runs, data, tmp_path / "run", "score", "regression")
    assert message.startswith("error: all 12 rows ")
    assert "row 1: column 'score' is 'nan' (not finite);" in message
    assert "and 7 more. Check that column 'score' holds a finite number (kind 'regression')" in message


def test_one_class_only(runs: Runs, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "a.csv", [{"text": f"row {i}", "label": "good"} for i in range(20)])
    message = train_on(runs, data, tmp_path / "run")
    assert message.startswith(
        "error: all 18 training rows have the same label 'good'; a classifier needs at least two classes."
    )


def test_constant_number(runs: Runs, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "a.csv", [{"text": f"row {i}", "score": "3"} for i in range(20)])
    message = train_on(runs, data, tmp_path / "run", "score", "regression")
    assert message.startswith("error: all 18 training targets are 3; there is nothing to learn.")


def test_label_unseen_in_training(runs: Runs, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "a.csv", [*reviews(3, start=100), {"text": "fine", "label": "so-so", "score": "5"}])
    message = refused(predgen("evaluate", runs.label, "--data", data))
    assert "row 4: column 'label' is 'so-so' (not among the labels 'bad', 'good')" in message
    assert str(data) in message


def test_number_outside_a_declared_range(runs: Runs, tmp_path: Path) -> None:
    names = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
    rows = [f"{i}\tmen {i} sing\tnobody {i} sings\t{9.5 if i == 7 else 2 + i % 3}\tNEUTRAL\n" for i in range(20)]
    for name in ("SICK_train.txt", "SICK_trial.txt", "SICK_test_annotated.txt"):
        (tmp_path / name).write_text(names + "".join(rows))
    for command in ("train", "validate"):
        out = ("--out", tmp_path / "run") if command == "train" else ()
        message = refused(predgen(command, "--task", "sick", "--data-dir", tmp_path, "--model", runs.base, *out))
        for part in ("1 of 20", "1.0..5.0", "9.5 in row 8", "`maximum`"):
            assert part in message


def test_file_that_is_not_utf8(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text,label\nfine,good\ncafé,bad\n".encode("latin-1"))
    message = train_on(runs, tmp_path / "a.csv", tmp_path / "run")
    assert message.startswith(
        f"error: line 3 of {str(tmp_path / 'a.csv')!r} is not UTF-8 (byte offset 24); the file may be cp1252"
    )


def test_duplicate_header(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,text\na,good,b\n")
    message = train_on(runs, tmp_path / "a.csv", tmp_path / "run")
    assert message.startswith(
        f"error: line 1 of {str(tmp_path / 'a.csv')!r} names column 'text' twice (columns 1 and 3)"
    )


def test_byte_order_mark_is_no_part_of_a_name(runs: Runs, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "a.csv", reviews(20))
    data.write_bytes(b"\xef\xbb\xbf" + data.read_bytes())
    given = ("--data", data, "--prompt", PROMPT, "--target", "label", "--kind", "classification")
    assert runs.train(*given, "--out", tmp_path / "run").exit_code == 0
    assert predgen("predict", runs.label, data, "-o", tmp_path / "out.csv").exit_code == 0
    assert list(next(read_rows(tmp_path / "out.csv"))) == ["text", "label", "score", "prediction"]


def test_cell_beyond_the_limit_of_pythons_csv_is_shortened_and_counted(runs: Runs, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "a.csv", [*reviews(19), {"text": "fine day " * 15_000, "label": "good", "score": "9"}])
    # The same rows validate, so that the long one is in training whatever the split.
    given = (
        "--data",
        data,
        "--validation-data",
        runs.data,
        "--prompt",
        PROMPT,
        "--target",
        "label",
        "--kind",
        "classification",
    )
    result = runs.train(*given, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert read_manifest(tmp_path / "run").report["truncated_rows"] == 1
    assert "1 rows had a prompt field shortened." in flat(result.stderr)
    result = predgen("predict", tmp_path / "run", data, "-o", tmp_path / "out.csv")
    assert result.exit_code == 0, result.output
    assert "1 rows truncated" in flat(result.stderr)
    assert [len(row["text"]) for row in read_rows(tmp_path / "out.csv")][-1] == 9 * 15_000 > 131_072


# Models and folders


def test_missing_base_model(runs: Runs, tmp_path: Path) -> None:
    given = ("--data", runs.data, "--prompt", PROMPT, "--target", "label", "--kind", "classification")
    message = refused(predgen("train", *given, "--model", tmp_path / "none", "--out", tmp_path / "run"))
    assert message.startswith(f"error: base model {str(tmp_path / 'none')!r} does not exist. Give ")


def test_hub_model_without_network(runs: Runs, tmp_path: Path) -> None:
    given = ("--data", runs.data, "--prompt", PROMPT, "--target", "label", "--kind", "classification")
    message = refused(predgen("train", *given, "--model", "no/such-model", "--out", tmp_path / "run"))
    assert message.startswith("error: base model 'no/such-model' is neither a local folder nor to be had from the hub:")


def test_truncated_weights_of_the_base(runs: Runs, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(runs.base, base)
    weights = base / "model.safetensors"
    size = weights.stat().st_size
    weights.write_bytes(weights.read_bytes()[:-1000])
    given = ("--data", runs.data, "--prompt", PROMPT, "--target", "label", "--kind", "classification")
    message = refused(predgen("train", *given, "--model", base, "--out", tmp_path / "run"))
    assert message == (
        f"error: weights file {str(weights)!r} is damaged: its header announces {size} bytes, but it has {size - 1000}."
        " Download or copy it again."
    )


@pytest.mark.parametrize(
    ("name", "damage"),
    [("head.safetensors", "cut"), ("head.safetensors", "noise"), ("adapter/adapter_model.safetensors", "cut")],
)
def test_damaged_weights_of_a_run(runs: Runs, tmp_path: Path, name: str, damage: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs.label, run)
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[:-5] if damage == "cut" else b"\xff" * 16 + content[16:])
    message = refused(predgen("predict", run, runs.data, "-o", tmp_path / "out.csv"))
    assert message.startswith(f"error: {str(run / name)!r} is damaged:")
    assert message.endswith("Copy it again, or train the model again.")


def test_head_file_is_gone(runs: Runs, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs.label, run)
    (run / "head.safetensors").unlink()
    message = refused(predgen("predict", run, runs.data, "-o", tmp_path / "out.csv"))
    assert message.startswith(f"error: the saved model {str(run)!r} is damaged: head.safetensors is missing")


def test_damaged_manifest(runs: Runs, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs.label, run)
    (run / "predgen.json").write_text("{")
    message = refused(predgen("evaluate", run, "--data", runs.data))
    assert message.startswith(f"error: {str(run / 'predgen.json')!r} is damaged:")
    data = json.loads((runs.label / "predgen.json").read_text())
    del data["setup"]
    (run / "predgen.json").write_text(json.dumps(data))
    message = refused(predgen("evaluate", run, "--data", runs.data))
    assert message.startswith(f"error: {str(run / 'predgen.json')!r} is incomplete or damaged: `setup` is missing.")


def test_another_base_model_in_the_same_place(runs: Runs, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(runs.base, base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    message = refused(predgen("evaluate", runs.label, "--data", runs.data, "--base", base))
    assert "was trained on another base model than the one now in" in message


def test_folder_that_is_no_run(runs: Runs, tmp_path: Path) -> None:
    message = refused(predgen("predict", tmp_path, runs.data, "-o", tmp_path / "out.csv"))
    assert message.startswith(f"error: {str(tmp_path)!r} holds no saved model: there is no predgen.json.")


# Output that cannot be written. A read-only folder would not stop root; a path below a file stops everyone.


def test_output_folder_is_a_file(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    given = ("--data", runs.data, "--prompt", PROMPT, "--target", "label", "--kind", "classification")
    message = refused(runs.train(*given, "--out", tmp_path / "file"))
    assert message == f"error: `out` {str(tmp_path / 'file')!r} is a file; give a folder."
    message = refused(runs.train(*given, "--out", tmp_path / "file" / "run"))
    assert message.startswith(f"error: {str(tmp_path / 'file' / 'run')!r} cannot be written: Not a directory.")
    message = refused(predgen("predict", runs.label, runs.data, "-o", tmp_path / "file" / "out.csv"))
    assert message == (
        f"error: `out` {str(tmp_path / 'file' / 'out.csv')!r} lies in a folder that does not exist;"
        f" make {str(tmp_path / 'file')!r} first."
    )
    message = refused(predgen("demo", "--out", tmp_path / "file"))
    assert str(tmp_path / "file") in message


def test_unknown_flag_is_a_usage_error() -> None:
    result = predgen("train", "--learning-rat", "1")
    assert result.exit_code == 2
    assert "No such option: --learning-rat" in flat(result.output)


# What errors become


def app_raising(error: BaseException) -> typer.Typer:
    """A command line whose one command raises."""
    app = typer.Typer()

    @app.command()
    @readable_errors
    def command() -> None:
        raise error

    return app


def test_system_errors_name_the_file() -> None:
    result = CliRunner().invoke(app_raising(PermissionError(13, "Permission denied", "a.csv")), [])
    assert (result.exit_code, result.stderr) == (2, "error: cannot read or write 'a.csv': Permission denied.\n")


@pytest.mark.parametrize(
    ("said", "shown"),
    [("go on with --resume", "go on with --resume"), ("", "stopped at once; finished parts are kept")],
)
def test_ctrl_c_has_its_own_status(said: str, shown: str) -> None:
    result = CliRunner().invoke(app_raising(KeyboardInterrupt(said)), [])
    assert (result.exit_code, result.stderr) == (130, f"interrupted: {shown}.\n")


def test_our_own_mistakes_keep_their_traceback() -> None:
    result = CliRunner().invoke(app_raising(KeyError("bug")), [])
    assert isinstance(result.exception, KeyError)


# Flags


@pytest.mark.parametrize(
    ("command", "flag", "meant"),
    [
        ("train", "--lr", "--learning-rate"),
        ("train", "--output-dir", "--out"),
        ("train", "--num-epochs", "--epochs"),
        ("compare", "--lr", "--learning-rate"),
        ("predict", "--output", "--out"),
    ],
)
def test_an_unknown_flag_is_answered_by_what_it_means(command: str, flag: str, meant: str) -> None:
    result = predgen(command, flag, "3")
    assert result.exit_code == 2
    said = flat(result.output)
    assert meant in said
    assert not {"--help", "--loss", "--rank"} & set(said.replace(")", " ").replace(",", " ").split()) - {meant}

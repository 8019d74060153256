"""Folders of files: an output for each, whatever is killed, changed or damaged meanwhile."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import predgen
from batch.conftest import Saved
from cli_runs import flat, refused
from cli_runs import predgen as command
from kills import Kill, places, run_child
from predgen.batch import engines, folder, predict_folder
from predgen.batch.request import PredictionRequest
from predgen.data.sources import read_rows
from predgen.errors import ConfigError, DataError
from predgen.inference.stream import predict_file


def write_parts(place: Path, sizes: Sequence[int] = (3, 5, 2), suffix: str = ".parquet") -> Path:
    """Files of so many rows, numbered throughout."""
    place.mkdir()
    start = 0
    for number, size in enumerate(sizes):
        frame = pd.DataFrame(
            {"id": range(start, start + size), "text": [f"good wine {start + i}" for i in range(size)]}
        )
        start += size
        path = place / f"part-{number:03}{suffix}"
        frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)
    return place


def contents(place: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(place.iterdir())}


def numbers(place: Path) -> list[int]:
    """Ids of all rows in a folder's outputs."""
    paths = sorted(path for path in place.glob("part-*") if path.suffix in (".csv", ".parquet"))
    return [int(row["id"]) for path in paths for row in read_rows(path)]


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    return write_parts(tmp_path / "in")


def test_each_file_has_the_output_it_would_have_alone(saved: Saved, parts: Path, tmp_path: Path) -> None:
    (parts / "_SUCCESS").write_text("")
    (parts / ".part-000.parquet.crc").write_text("x")
    done = predict_folder(PredictionRequest(saved.label, proba=True), parts, tmp_path / "out")
    assert (done.files, done.earlier, done.without_rows, done.rows) == (3, 0, 0, 10)
    model = predgen.load(saved.label, merge_adapter=True)
    for path in parts.glob("part-*"):
        predict_file(model, path, tmp_path / path.name, proba=True)
        assert (tmp_path / "out" / path.name).read_bytes() == (tmp_path / path.name).read_bytes()
    assert sorted(contents(tmp_path / "out")) == ["_predgen.json", *sorted(p.name for p in parts.glob("part-*"))]


def test_files_without_rows_have_no_output(saved: Saved, tmp_path: Path) -> None:
    parts = write_parts(tmp_path / "in", (2, 0, 1))
    done = predict_folder(PredictionRequest(saved.label), parts, tmp_path / "out")
    assert (done.files, done.without_rows, done.rows) == (2, 1, 3)
    assert sorted(contents(tmp_path / "out")) == ["_predgen.json", "part-000.parquet", "part-002.parquet"]


@pytest.mark.parametrize("most", [6, pytest.param(None, marks=pytest.mark.slow)])
def test_a_kill_at_any_file_operation_loses_and_repeats_no_row(saved: Saved, tmp_path: Path, most: int | None) -> None:
    request, out = PredictionRequest(saved.label, proba=True), tmp_path / "out"
    parts = write_parts(tmp_path / "in", (2, 1))
    maker = request.maker()
    request.maker = lambda: maker  # type: ignore[method-assign]  # children are forks: the model is loaded once

    def predict() -> int:
        return predict_folder(request, parts, out).rows

    whole = run_child(predict, tmp_path)
    assert whole.value == 3, whole.error
    expected = contents(out)
    for at in places(whole.operations, most):
        shutil.rmtree(out)
        assert run_child(predict, tmp_path, Kill(at)).was_killed
        again = run_child(predict, tmp_path)
        assert again.error == ""
        assert contents(out) == expected, f"killed at operation {at}"


def test_finished_files_are_not_done_again(saved: Saved, parts: Path, tmp_path: Path) -> None:
    request, out = PredictionRequest(saved.label), tmp_path / "out"
    predict_folder(request, parts, out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    pd.DataFrame({"id": [10], "text": ["no tea"]}).to_parquet(parts / "part-003.parquet")
    moved = shutil.copytree(saved.label, tmp_path / "moved")
    done = predict_folder(PredictionRequest(moved), parts, out)
    assert (done.files, done.earlier, done.rows) == (4, 3, 1)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert numbers(out) == list(range(11))


def test_outputs_of_other_settings_models_and_inputs_are_not_mixed(saved: Saved, parts: Path, tmp_path: Path) -> None:
    request, out = PredictionRequest(saved.label), tmp_path / "out"
    predict_folder(request, parts, out)
    for other in (PredictionRequest(saved.label, proba=True), PredictionRequest(saved.score)):
        with pytest.raises(ConfigError, match="--overwrite"):
            predict_folder(other, parts, out)
    os.utime(parts / "part-001.parquet", ns=(1, 1))
    with pytest.raises(DataError, match=r"part-001\.parquet"):
        predict_folder(request, parts, out)
    (out / "part-002.csv.part").write_text("left")
    done = predict_folder(PredictionRequest(saved.label, proba=True), parts, out, out_format="csv", overwrite=True)
    assert done.earlier == 0
    assert sorted(contents(out)) == ["_predgen.json", "part-000.csv", "part-001.csv", "part-002.csv"]
    assert numbers(out) == list(range(10))


def test_an_interrupted_overwrite_goes_on_and_a_finished_one_begins_anew(
    saved: Saved, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, out = PredictionRequest(saved.label), tmp_path / "out"
    predict_folder(request, parts, out)
    real, seen = engines.predict_piece, list[str]()

    def dying(maker: Any, piece: Any, form: Any) -> Any:
        seen.append(piece.source.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(maker, piece, form)

    monkeypatch.setattr(engines, "predict_piece", dying)
    with pytest.raises(KeyboardInterrupt):
        predict_folder(request, parts, out, overwrite=True)
    done = predict_folder(request, parts, out, overwrite=True)
    assert (done.earlier, done.files) == (1, 3)
    assert seen == ["part-000.parquet", "part-001.parquet", "part-001.parquet", "part-002.parquet"]
    assert predict_folder(request, parts, out, overwrite=True).earlier == 0


def test_a_bad_file_keeps_no_other_from_its_output(saved: Saved, tmp_path: Path) -> None:
    parts = write_parts(tmp_path / "in", suffix=".csv")
    (parts / "part-001.csv").write_text("id,txt\n3,good\n")
    with pytest.raises(DataError, match=r"1 of 3 files.*'text'"):
        predict_folder(PredictionRequest(saved.label), parts, tmp_path / "out")
    assert numbers(tmp_path / "out") == [0, 1, 2, 8, 9]
    (parts / "part-001.csv").write_text("id,text\n3,good\n")
    done = predict_folder(PredictionRequest(saved.label), parts, tmp_path / "out")
    assert (done.earlier, done.rows) == (2, 1)


def test_folders_that_cannot_be_meant_are_refused(saved: Saved, parts: Path, tmp_path: Path) -> None:
    request, out = PredictionRequest(saved.label), tmp_path / "out"
    with pytest.raises(ConfigError, match="inputs"):
        predict_folder(request, parts, parts)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match=r"letter\.txt"):
        predict_folder(request, parts, tmp_path / "mine", overwrite=True)
    with pytest.raises(DataError, match=r"letter\.txt"):
        predict_folder(request, tmp_path / "mine", out)
    with pytest.raises(ConfigError, match="excel"):
        predict_folder(request, parts, out, out_format="excel")
    shutil.copy(parts / "part-000.parquet", parts / "part-000.PARQUET")
    with pytest.raises(ConfigError, match=r"part-000\.parquet"):
        predict_folder(request, parts, out)
    (parts / "part-000.PARQUET").unlink()
    (parts / "year=2026").mkdir()
    with pytest.raises(DataError, match="year=2026"):
        predict_folder(request, parts, out)
    assert not out.exists()


def test_a_damaged_job_file_is_told(saved: Saved, parts: Path, tmp_path: Path) -> None:
    predict_folder(PredictionRequest(saved.label), parts, tmp_path / "out")
    job = tmp_path / "out" / folder.JOB_FILE
    job.write_text(json.dumps({**json.loads(job.read_text()), "inputs": [1]}))
    with pytest.raises(ConfigError, match="inputs"):
        predict_folder(PredictionRequest(saved.label), parts, tmp_path / "out")


def test_the_command_predicts_folders(saved: Saved, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = command("predict", saved.score, parts, "-o", out, "--quantiles", "0.5")
    assert result.exit_code == 0, result.output
    assert f"3 files in {out}; 10 rows" in flat(result.stderr)
    assert list(next(read_rows(out / "part-000.parquet"))) == ["id", "text", "prediction", "q(0.5)"]
    result = command("predict", saved.score, parts, "-o", out, "--quantiles", "0.5")
    assert f"3 files in {out}, 3 of them from earlier calls" in flat(result.stderr)
    assert "another model" in refused(command("predict", saved.score, parts, "-o", out))
    one = parts / "part-000.parquet"
    assert "--engine ray" in refused(command("predict", saved.score, one, "-o", "x.csv", "--engine", "ray"))
    assert "--workers" in refused(command("predict", saved.score, parts, "-o", "x", "--workers", "2"))
    assert "'rai'. Allowed: plain, ray." in refused(
        command("predict", saved.score, parts, "-o", "x", "--engine", "rai")
    )


def test_without_ray_the_extra_is_named(
    saved: Saved, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    out = tmp_path / "out"
    message = refused(command("predict", saved.label, parts, "-o", out, "--engine", "ray"))
    assert "pip install 'predgen[ray]'" in message
    assert not out.exists()

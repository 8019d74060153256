"""Where predictions go and come from: one writer, links, inputs that change, pipes, standard input and output, parquet."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from predgen.data.sources import read_rows
from predgen.errors import BusyError, ConfigError, DataError, PredgenError, StorageError
from predgen.inference import part as part_module
from predgen.inference.stream import StreamSummary, predict_file
from predgen.inference.trained import TrainedModel
from tiny_runs import tiny_base, tiny_data, tiny_run

N_ROWS, WINDOW = 24, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="module")
def labelled(folder: Path) -> TrainedModel:
    """A classifier."""
    base = tiny_base(folder / "base")
    return tiny_run(base, "classification", tiny_data("classification"), folder / "label", max_steps=1)


@pytest.fixture(scope="module")
def numbered(folder: Path, labelled: TrainedModel) -> TrainedModel:
    """A regression model."""
    return tiny_run(folder / "base", "regression", tiny_data("regression"), max_steps=1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text("id,text\n" + "".join(f"{i},a dull book {i}\n" for i in range(N_ROWS)))
    return path


class Stopped(Exception):
    """Stands for a kill between two batches."""


def stop_after(rows: int) -> Callable[[int], None]:
    done = [0]

    def count(n: int) -> None:
        done[0] += n
        if done[0] >= rows:
            raise Stopped

    return count


def left(folder: Path) -> list[str]:
    """Names in a folder that belong to an output."""
    return sorted(p.name for p in folder.iterdir() if "out" in p.name)


# One writer


def test_a_second_call_on_an_output_is_refused_and_the_first_loses_nothing(
    labelled: TrainedModel, source: Path, tmp_path: Path
) -> None:
    out, met = tmp_path / "out.csv", list[BaseException]()

    def second() -> None:
        try:
            predict_file(labelled, source, out, window_rows=WINDOW)
        except PredgenError as error:
            met.append(error)

    def at_each_batch(rows: int) -> None:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    done = predict_file(labelled, source, out, window_rows=WINDOW, on_rows=at_each_batch)
    assert {type(error) for error in met} == {BusyError}
    assert len(met) >= 3
    assert str(out) in str(met[0])
    assert done.rows == N_ROWS
    assert [row["id"] for row in read_rows(out)] == [str(i) for i in range(N_ROWS)]
    assert left(tmp_path) == ["out.csv"]


def test_an_output_that_another_call_has_finished_meanwhile_stays(
    labelled: TrainedModel, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.csv"
    from predgen.inference import stream

    def locked_late(place: Path) -> Any:
        place.write_text("theirs")
        return original(place)

    original = stream.locked
    monkeypatch.setattr(stream, "locked", locked_late)
    with pytest.raises(ConfigError, match=r"out\.csv' exists"):
        predict_file(labelled, source, out)
    assert out.read_text() == "theirs"


def test_the_file_behind_a_link_is_written_and_the_link_stays(
    labelled: TrainedModel, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "far").mkdir()
    out, target = tmp_path / "out.csv", tmp_path / "far" / "target.csv"
    out.symlink_to(target)
    predict_file(labelled, source, out)
    assert out.is_symlink()
    assert len(list(read_rows(target))) == N_ROWS
    with pytest.raises(ConfigError, match=r"target\.csv' exists"):
        predict_file(labelled, source, out)
    predict_file(labelled, source, out, overwrite=True)
    assert out.is_symlink()
    assert (left(tmp_path), [p.name for p in (tmp_path / "far").iterdir()]) == (["out.csv"], ["target.csv"])


def grow(source: Path) -> None:
    with source.open("a") as file:
        file.write("99,late\n")


def shrink(source: Path) -> None:
    os.truncate(source, source.stat().st_size - 20)


def exchange(source: Path) -> None:
    other = source.with_name("other")
    other.write_bytes(source.read_bytes())
    os.utime(other, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
    os.replace(other, source)


@pytest.mark.parametrize("change", [grow, shrink, exchange, Path.unlink])
def test_an_input_that_changes_meanwhile_gives_no_output(
    labelled: TrainedModel, source: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    changed = list[bool]()

    def once(rows: int) -> None:
        if rows and not changed:
            changed.append(True)
            change(source)

    with pytest.raises(DataError, match=r"in\.csv' was changed while it was being read"):
        predict_file(labelled, source, tmp_path / "out.csv", on_rows=once)
    assert changed
    assert left(tmp_path) == []


# What a killed call leaves


@pytest.mark.parametrize(
    "change",
    [
        {"rows": -WINDOW},
        {"rows": WINDOW - 1},
        {"rows": WINDOW + 1},
        {"rows": float(WINDOW)},
        {"rows": True},
        {"rows": [WINDOW]},
        {"size": -1},
        {"size": "7"},
        {"size": 10},
        {"flags": {"truncated": -2}},
        {"flags": {"truncated": {"a": 1}}},
        {"flags": [1]},
        {"key": None},
    ],
    ids=str,
)
def test_state_that_does_not_fit_the_part_is_refused(
    labelled: TrainedModel, source: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    out = tmp_path / "out.csv"
    with pytest.raises(Stopped):
        predict_file(labelled, source, out, window_rows=WINDOW, on_rows=stop_after(WINDOW + 1))
    log = Path(f"{out}.progress.json")
    state = json.loads(log.read_text())
    assert state["rows"] == WINDOW
    log.write_text(json.dumps({**state, **change}))
    with pytest.raises(ConfigError, match=r"Delete .*out\.csv\.part"):
        predict_file(labelled, source, out, window_rows=WINDOW)
    assert not out.exists()


@pytest.mark.parametrize("text", ["[" * 100_000, "", "[]", "null", '{"rows": 1}', '"' + "x" * 2_000_000 + '"'])
def test_state_of_another_shape_is_refused(labelled: TrainedModel, source: Path, tmp_path: Path, text: str) -> None:
    out = tmp_path / "out.csv"
    with pytest.raises(Stopped):
        predict_file(labelled, source, out, window_rows=WINDOW, on_rows=stop_after(WINDOW + 1))
    Path(f"{out}.progress.json").write_text(text)
    with pytest.raises(ConfigError, match=r"progress\.json.*Delete .*out\.csv\.part"):
        predict_file(labelled, source, out, window_rows=WINDOW)


def test_a_part_that_was_shortened_at_the_end_is_not_published(
    labelled: TrainedModel, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"

    def damage(rows: int) -> None:
        if Path(f"{out}.progress.json").exists():
            os.truncate(f"{out}.part", 30)

    with pytest.raises(ConfigError, match=r"out\.csv\.part' is shorter than"):
        predict_file(labelled, source, out, window_rows=WINDOW, on_rows=damage)
    assert not out.exists()


# What a killed call has left


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_a_call_leaves_that_is_killed_after_it_has_finished_is_removed_by_the_next(
    labelled: TrainedModel, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    out = tmp_path / f"out.{suffix}"
    with monkeypatch.context() as patch:
        patch.setattr(part_module.PartFile, "discard", lambda self: None)
        predict_file(labelled, source, out, window_rows=WINDOW)
    assert len(left(tmp_path)) > 1
    wanted = out.read_bytes()
    with pytest.raises(ConfigError, match="exists"):
        predict_file(labelled, source, out, window_rows=WINDOW)
    assert left(tmp_path) == [out.name]
    assert out.read_bytes() == wanted


def test_what_an_unfinished_replacement_has_done_stays_beside_the_older_output(
    labelled: TrainedModel, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    predict_file(labelled, source, out, window_rows=WINDOW)
    with pytest.raises(Stopped):
        predict_file(labelled, source, out, window_rows=WINDOW, overwrite=True, on_rows=stop_after(2 * WINDOW))
    with pytest.raises(ConfigError, match="exists"):
        predict_file(labelled, source, out, window_rows=WINDOW)
    assert predict_file(labelled, source, out, window_rows=WINDOW, overwrite=True).resumed_rows > 0
    assert left(tmp_path) == ["out.csv"]


def test_a_full_disk_costs_nothing_that_was_done(
    labelled: TrainedModel, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    predict_file(labelled, source, whole, window_rows=WINDOW)
    calls = [0]
    original = os.fsync

    def full(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] > 4:
            raise OSError(28, "No space left on device")
        original(descriptor)

    monkeypatch.setattr(part_module.os, "fsync", full)
    with pytest.raises(StorageError, match="disk full"):
        predict_file(labelled, source, out, window_rows=WINDOW)
    assert not out.exists()
    monkeypatch.undo()
    assert predict_file(labelled, source, out, window_rows=WINDOW).resumed_rows >= WINDOW
    assert out.read_bytes() == whole.read_bytes()


# Pipes


def piped(labelled: TrainedModel, pipe: Path, text: str, **options: Any) -> StreamSummary:
    """Predict what another thread writes into a pipe."""
    os.mkfifo(pipe)
    thread = threading.Thread(target=lambda: pipe.write_text(text))
    thread.start()
    try:
        return predict_file(labelled, pipe, **options)
    finally:
        thread.join()


def test_a_pipe_is_read_as_a_stream(labelled: TrainedModel, source: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    predict_file(labelled, source, whole, window_rows=WINDOW)
    done = piped(labelled, tmp_path / "pipe", source.read_text(), out=out, source_format="csv", window_rows=WINDOW)
    assert done.rows == N_ROWS
    assert out.read_bytes() == whole.read_bytes()
    assert left(tmp_path) == ["out.csv"]


def test_a_pipe_of_unknown_format_is_refused(labelled: TrainedModel, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=r"pipe' is a pipe; say with --from"):
        predict_file(labelled, tmp_path / "pipe", tmp_path / "out.csv")


@pytest.mark.usefixtures("forked_python")
def test_standard_input_to_standard_output(folder: Path, labelled: TrainedModel, source: Path, tmp_path: Path) -> None:
    predict_file(labelled, source, tmp_path / "whole.jsonl", proba=True)
    command = [
        sys.executable,
        "-m",
        "predgen",
        "predict",
        str(folder / "label"),
        "-",
        "-o",
        "-",
        "--proba",
        "--from",
        "csv",
    ]
    done = subprocess.run(command, input=source.read_bytes(), capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    wanted = [json.loads(line) for line in (tmp_path / "whole.jsonl").read_text().splitlines()]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [{k: v for k, v in row.items() if k[:2] != "p("} for row in found] == [
        {k: v for k, v in row.items() if k[:2] != "p("} for row in wanted
    ]
    # The adapter is merged on the command line, which rounds otherwise: float32, hence 1e-5.
    assert [row["p(low)"] for row in found] == pytest.approx([row["p(low)"] for row in wanted], abs=1e-5)
    assert f"{N_ROWS} rows" in done.stderr.decode()


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(
    labelled: TrainedModel, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as closed:
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=closed))
        with pytest.raises(BrokenPipeError):
            predict_file(labelled, source, "-", window_rows=WINDOW)
        monkeypatch.undo()


# Parquet


def test_parquet_keeps_the_input_s_types_and_says_what_csv_says(
    labelled: TrainedModel, numbered: TrainedModel, tmp_path: Path
) -> None:
    table = pa.table(
        {
            "id": pa.array(range(N_ROWS), pa.int16()),
            "text": [f"a dull book {i}" for i in range(N_ROWS)],
            "day": [date(2024, 1, 1 + i) for i in range(N_ROWS)],
            "share": pa.array([None] * WINDOW + [0.1] * (N_ROWS - WINDOW), pa.float32()),
            "tags": [["a", "b"]] * N_ROWS,
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    for trained, options in ((labelled, {"proba": True}), (numbered, {"quantiles": (0.1, 0.9)})):
        for suffix in ("parquet", "jsonl"):
            predict_file(
                trained,
                tmp_path / "in.parquet",
                tmp_path / f"out.{suffix}",
                window_rows=WINDOW,
                overwrite=True,
                **options,
            )
        found = pq.read_table(tmp_path / "out.parquet")
        assert found.select(table.column_names).equals(table)
        rows = list(read_rows(tmp_path / "out.jsonl"))
        for name in found.column_names[5:]:
            assert found[name].to_pylist() == [row[name] for row in rows]
        assert found.schema.field("prediction").type == (pa.string() if trained is labelled else pa.float64())
    assert left(tmp_path) == ["out.jsonl", "out.parquet"]


def test_parquet_goes_on_after_a_kill_with_the_same_bytes(numbered: TrainedModel, source: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    predict_file(numbered, source, whole, window_rows=WINDOW)
    with pytest.raises(Stopped):
        predict_file(numbered, source, out, window_rows=WINDOW, on_rows=stop_after(WINDOW + 1))
    assert predict_file(numbered, source, out, window_rows=WINDOW).resumed_rows == WINDOW
    assert out.read_bytes() == whole.read_bytes()
    assert pq.read_table(out)["id"].to_pylist() == [str(i) for i in range(N_ROWS)]


def test_cells_of_several_types_are_refused_by_column(labelled: TrainedModel, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a", "x": 1}\n{"text": "b", "x": "one"}\n')
    with pytest.raises(DataError, match="column 'x' of rows 1 to 2"):
        predict_file(labelled, tmp_path / "in.jsonl", tmp_path / "out.parquet")


@pytest.mark.parametrize(
    ("source_format", "out", "out_format", "value"),
    [
        ("xml", "out.csv", None, "'xml'"),
        (None, "out.csv", "xml", "'xml'"),
        (None, "-", "parquet", "'parquet'"),
        (None, "out", None, "'.*out'"),
    ],
)
def test_unknown_formats_are_refused(
    labelled: TrainedModel, source: Path, tmp_path: Path, source_format: Any, out: str, out_format: Any, value: str
) -> None:
    place = out if out == "-" else tmp_path / out
    with pytest.raises(ConfigError, match=value):
        predict_file(labelled, source, place, source_format=source_format, out_format=out_format)

"""Streaming prediction: formats, order, bounded memory, restart after a kill."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import predgen
from predgen.core import Decoding
from predgen.data.sources import read_rows
from predgen.distribution import Distribution
from predgen.errors import ConfigError, DataError
from predgen.inference import stream
from predgen.inference.stream import predict_file
from predgen.inference.trained import TrainedModel
from tiny_runs import tiny_base, tiny_data, tiny_run

N_ROWS, WINDOW = 28, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the base model and both runs."""
    return tmp_path_factory.mktemp("stream")


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
    """Rows of very different lengths, so that sorting by length moves them."""
    path = tmp_path / "in.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "note"])
        for i in range(N_ROWS):
            writer.writerow([i, "a dull book " * (1 + i * 7 % 5) + str(i), 'quoted "x", with comma\nand line'])
    return path


class Killed(Exception):
    """Stands for a kill between two batches."""


def killed_after(rows: int) -> Callable[[int], None]:
    """A progress function that ends the call once so many rows are done."""
    done = 0

    def count(n: int) -> None:
        nonlocal done
        done += n
        if done >= rows:
            raise Killed

    return count


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_output_has_all_columns_in_order_and_what_predict_says(
    labelled: TrainedModel, source: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out{suffix}"
    summary = predict_file(labelled, source, out, proba=True, window_rows=WINDOW)
    before, after = list(read_rows(source)), list(read_rows(out))
    expected = labelled.predict(source)
    assert list(after[0]) == ["id", "text", "note", "prediction", *(f"p({label})" for label in labelled.labels)]
    assert [{k: row[k] for k in before[0]} for row in after] == before
    assert [row["prediction"] for row in after] == [p.value for p in expected]
    for row, prediction in zip(after, expected, strict=True):
        assert prediction.probabilities is not None
        # Windows make other batches, and batches other roundings: float32, hence 1e-5.
        assert [float(row[f"p({x})"]) for x in labelled.labels] == pytest.approx(prediction.probabilities, abs=1e-5)
    assert (summary.rows, summary.resumed_rows) == (N_ROWS, 0)
    assert sorted(p.name for p in tmp_path.glob("out*")) == [out.name]


def test_numbers_are_written_as_numbers(numbered: TrainedModel, source: Path, tmp_path: Path) -> None:
    predict_file(numbered, source, tmp_path / "out.jsonl")
    assert {type(row["prediction"]) for row in read_rows(tmp_path / "out.jsonl")} == {float}


@pytest.mark.parametrize(
    ("rows", "suffix"), [(1, ".csv"), (WINDOW, ".jsonl"), (3 * WINDOW + 1, ".csv"), (N_ROWS, ".jsonl")]
)
def test_restart_gives_the_same_bytes(
    labelled: TrainedModel, source: Path, tmp_path: Path, suffix: str, rows: int
) -> None:
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    predict_file(labelled, source, whole, proba=True, window_rows=WINDOW, batch_size=3)
    options: dict[str, Any] = {"proba": True, "window_rows": WINDOW, "batch_size": 3}
    with pytest.raises(Killed):
        predict_file(labelled, source, out, **options, on_rows=killed_after(rows))
    assert not out.exists()
    # A kill may also come in the middle of a write: bytes behind the recorded ones are cut off.
    with Path(f"{out}.part").open("ab") as file:
        file.write(b'17,"half a ro')
    summary = predict_file(labelled, source, out, **options)
    assert out.read_bytes() == whole.read_bytes()
    assert summary.rows == N_ROWS
    assert summary.resumed_rows == (rows - 1) // WINDOW * WINDOW


def test_progress_counts_every_row_once_also_after_a_restart(
    labelled: TrainedModel, source: Path, tmp_path: Path
) -> None:
    out, seen = tmp_path / "out.csv", list[int]()
    with pytest.raises(Killed):
        predict_file(labelled, source, out, window_rows=WINDOW, on_rows=killed_after(2 * WINDOW + 1))
    predict_file(labelled, source, out, window_rows=WINDOW, on_rows=seen.append)
    assert seen[0] == 2 * WINDOW
    assert sum(seen) == N_ROWS


KILLED_BY_SIGNAL = """
import sys, time
import predgen
from predgen.inference.stream import predict_file

run, source, out = sys.argv[1:]

def slowly(rows):
    time.sleep(0.2)

predict_file(predgen.load(run), source, out, proba=True, window_rows=8, batch_size=4, on_rows=slowly)
"""


@pytest.mark.slow  # as tests/survival shows at each file operation, here in a process of its own
@pytest.mark.usefixtures("forked_python")
def test_kill_9_loses_and_repeats_no_row(labelled: TrainedModel, folder: Path, source: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    loaded = predgen.load(folder / "label")
    predict_file(loaded, source, whole, proba=True, window_rows=8, batch_size=4)
    arguments = [sys.executable, "-c", KILLED_BY_SIGNAL, str(folder / "label"), str(source), str(out)]
    process = subprocess.Popen(arguments, env={**os.environ, "OMP_NUM_THREADS": "1"})
    log, deadline = Path(f"{out}.progress.json"), time.monotonic() + 120
    while not (log.exists() and json.loads(log.read_text())["rows"] >= 16) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists(), "killed too late"
    summary = predict_file(loaded, source, out, proba=True, window_rows=8, batch_size=4)
    assert summary.resumed_rows >= 16
    assert out.read_bytes() == whole.read_bytes()


def test_no_more_than_a_window_is_held(
    labelled: TrainedModel, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, pulled, gaps = tmp_path / "out.csv", 0, list[int]()

    def counted(path: Path, **options: Any) -> Iterator[dict[str, Any]]:
        nonlocal pulled
        for row in read_rows(path, **options):
            pulled += 1
            yield row

    def compare(rows: int) -> None:
        log = Path(f"{out}.progress.json")
        gaps.append(pulled - (json.loads(log.read_text())["rows"] if log.exists() else 0))

    monkeypatch.setattr(stream, "read_rows", counted)
    predict_file(labelled, source, out, window_rows=WINDOW, on_rows=compare)
    assert max(gaps) == WINDOW


def test_another_input_model_or_option_is_not_continued(
    labelled: TrainedModel, numbered: TrainedModel, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    with pytest.raises(Killed):
        predict_file(labelled, source, out, window_rows=WINDOW, on_rows=killed_after(2 * WINDOW))
    message = r"out\.csv\.part' is the unfinished output of another input, model or setting\. Delete '"
    for trained, options in ((numbered, {}), (labelled, {"proba": True}), (labelled, {"batch_size": 5})):
        with pytest.raises(ConfigError, match=message):
            predict_file(trained, source, out, window_rows=WINDOW, **options)
    with source.open("a") as file:
        file.write("50,one more,\n")
    with pytest.raises(ConfigError, match=message):
        predict_file(labelled, source, out, window_rows=WINDOW)
    Path(f"{out}.part").unlink()
    assert predict_file(labelled, source, out, window_rows=WINDOW).rows == N_ROWS + 1


def test_damaged_state_is_refused(labelled: TrainedModel, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with pytest.raises(Killed):
        predict_file(labelled, source, out, window_rows=WINDOW, on_rows=killed_after(3 * WINDOW))
    part, log = Path(f"{out}.part"), Path(f"{out}.progress.json")
    whole = part.read_bytes()
    part.write_bytes(whole[:40])
    with pytest.raises(
        ConfigError, match=r"out\.csv\.part' is shorter than the \d+ bytes that were written to it\. Delete"
    ):
        predict_file(labelled, source, out, window_rows=WINDOW)
    part.write_bytes(whole.replace(b"dull", b"full", 1))
    with pytest.raises(ConfigError, match=r"out\.csv\.part' holds other bytes than were written to it\. Delete"):
        predict_file(labelled, source, out, window_rows=WINDOW)
    log.write_text("{")
    with pytest.raises(ConfigError, match=r"progress\.json' is damaged.* Delete"):
        predict_file(labelled, source, out, window_rows=WINDOW)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.xlsx", r"has the suffix '\.xlsx'; allowed: \.csv, \.tsv, \.jsonl"),
        ("none/out.csv", r"lies in a folder that does not exist; make '.*none' first"),
        ("in.csv", r"is the input file; choose another file"),
        ("folder.csv", r"is a folder; give a file"),
    ],
)
def test_unusable_output_is_refused(
    labelled: TrainedModel, source: Path, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match=message):
        predict_file(labelled, source, tmp_path / name, overwrite=True)


def test_existing_output_is_replaced_only_when_asked(labelled: TrainedModel, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    with pytest.raises(ConfigError, match=r"out\.csv' exists\. Choose another file, or give --overwrite"):
        predict_file(labelled, source, out)
    assert out.read_text() == "mine"
    predict_file(labelled, source, out, overwrite=True)
    assert len(list(read_rows(out))) == N_ROWS


@pytest.mark.parametrize("column", ["prediction", "p(low)"])
def test_taken_column_is_refused(labelled: TrainedModel, tmp_path: Path, column: str) -> None:
    source = tmp_path / "in.jsonl"
    # The second row: files of JSON lines may name columns late.
    source.write_text(json.dumps({"text": "a"}) + "\n" + json.dumps({"text": "b", column: 1}) + "\n")
    with pytest.raises(DataError, match=f"already has the column {re.escape(repr(column))}"):
        predict_file(labelled, source, tmp_path / "out.jsonl", proba=True)


def test_probabilities_of_numbers_are_refused(numbered: TrainedModel, source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`proba` needs a classifier, but this model predicts numbers"):
        predict_file(numbered, source, tmp_path / "out.csv", proba=True)


def test_cells_of_every_type_survive(labelled: TrainedModel, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
    row = {"text": "a\rb\x0c\u2028c", "yes": True, "list": [1, {"é": 2}], "none": None, "float": 0.1, "tab": "a\tb\n"}
    source.write_text(json.dumps(row) + "\n" + json.dumps({"text": ""}) + "\n")
    predict_file(labelled, source, out)
    first, second = read_rows(out)
    wanted = {
        "text": row["text"],
        "yes": "true",
        "list": '[1, {"é": 2}]',
        "none": "",
        "float": "0.1",
        "tab": row["tab"],
    }
    assert {name: first[name] for name in row} == wanted
    assert second["yes"] == ""
    predict_file(labelled, source, tmp_path / "out.jsonl")
    assert {name: next(read_rows(tmp_path / "out.jsonl"))[name] for name in row} == row


def test_json_has_no_nan_and_keeps_lone_surrogates(labelled: TrainedModel, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text": "a", "number": NaN, "half": "\\ud800"}\n')
    predict_file(labelled, source, out)
    assert "NaN" not in out.read_text()
    assert json.loads(out.read_text())["half"] == "\ud800"
    with pytest.raises(DataError, match=r"row 1: column 'half' is not valid Unicode .*; write a \.jsonl file"):
        predict_file(labelled, source, tmp_path / "out.csv")


def test_late_columns_need_json_lines(labelled: TrainedModel, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a"}\n{"text": "b", "late": 1}\n')
    with pytest.raises(
        DataError, match=r"row 2 has the column 'late', which the first row lacks; write a \.jsonl file"
    ):
        predict_file(labelled, source, tmp_path / "out.csv")
    predict_file(labelled, source, tmp_path / "out.jsonl")
    assert [row.get("late") for row in read_rows(tmp_path / "out.jsonl")] == [None, 1]


def test_bad_row_is_named_by_its_place_in_the_file(labelled: TrainedModel, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a"}\n' * 11 + '{"text": null}\n')
    with pytest.raises(DataError, match=r"row 12: column 'text' is None \(missing\)"):
        predict_file(labelled, source, tmp_path / "out.csv", window_rows=4)


def test_flags_are_counted_over_the_restart(labelled: TrainedModel, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_text(
        "".join(json.dumps({"text": "a dull book " * (200 if i in (1, 9) else 1)}) + "\n" for i in range(12))
    )
    with pytest.raises(Killed):
        predict_file(labelled, source, out, window_rows=4, on_rows=killed_after(6))
    assert predict_file(labelled, source, out, window_rows=4).flags == {"truncated": 2}


# Distributions and quantiles


def distribution_of(row: dict[str, Any]) -> Distribution:
    """The distribution in a cell, whatever the format of the file."""
    cell = row["distribution"]
    data = json.loads(cell) if isinstance(cell, str) else cell
    assert set(data) == {"support", "probabilities", "unexpanded"}
    return Distribution(np.array(data["support"]), np.array(data["probabilities"]), data["unexpanded"])


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_quantiles_and_distributions_stand_beside_the_prediction(
    numbered: TrainedModel, source: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out{suffix}"
    decoding = Decoding("median", distribution=True)
    predict_file(numbered, source, out, quantiles=(0.05, 0.5, 0.95), decoding=decoding, window_rows=WINDOW)
    rows = list(read_rows(out))
    assert list(rows[0]) == ["id", "text", "note", "prediction", "q(0.05)", "q(0.5)", "q(0.95)", "distribution"]
    wanted = numbered.predict(source, decoding=decoding)
    assert len(rows) == len(wanted) == N_ROWS
    for row, prediction in zip(rows, wanted, strict=True):
        found = distribution_of(row)
        assert prediction.distribution is not None
        # The head's number, to which they move, is a float32 that depends on the batch in its last digit.
        assert found.support == pytest.approx(prediction.distribution.support, abs=1e-5)
        assert found.probabilities == pytest.approx(prediction.distribution.probabilities, abs=1e-5)
        low, middle, high = (float(row[f"q({level})"]) for level in (0.05, 0.5, 0.95))
        assert [low, middle, high] == [found.quantile(level) for level in (0.05, 0.5, 0.95)]
        assert float(row["prediction"]) == middle == pytest.approx(prediction.value, abs=1e-5)
    assert any(float(row["q(0.05)"]) < float(row["q(0.95)"]) for row in rows)


def test_quantiles_alone_write_no_distribution_and_leave_the_prediction(
    numbered: TrainedModel, source: Path, tmp_path: Path
) -> None:
    predict_file(numbered, source, tmp_path / "out.jsonl", quantiles=(0.25,))
    rows = list(read_rows(tmp_path / "out.jsonl"))
    assert list(rows[0]) == ["id", "text", "note", "prediction", "q(0.25)"]
    assert [row["prediction"] for row in rows] == pytest.approx([p.value for p in numbered.predict(source)], abs=1e-5)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_restart_with_quantiles_gives_the_same_bytes(
    numbered: TrainedModel, source: Path, tmp_path: Path, suffix: str
) -> None:
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    options: dict[str, Any] = {"quantiles": (0.1, 0.9), "decoding": Decoding("mean", True), "window_rows": WINDOW}
    predict_file(numbered, source, whole, **options)
    with pytest.raises(Killed):
        predict_file(numbered, source, out, **options, on_rows=killed_after(2 * WINDOW + 1))
    for other in (
        {"quantiles": (0.1,)},
        {"decoding": Decoding("mean")},
        {"decoding": Decoding("median", True)},
        {"decoding": Decoding("mean", True, 0.5)},
    ):
        with pytest.raises(ConfigError, match="is the unfinished output of another input, model or setting"):
            predict_file(numbered, source, out, **{**options, **other})
    assert predict_file(numbered, source, out, **options).resumed_rows == 2 * WINDOW
    assert out.read_bytes() == whole.read_bytes()


def test_full_vocabulary_writes_the_legal_mass(
    labelled: TrainedModel, numbered: TrainedModel, source: Path, tmp_path: Path
) -> None:
    decoding = Decoding("argmax", full_vocabulary=True)
    for trained in (labelled, numbered):
        out = tmp_path / f"{trained.task.kind}.csv"
        predict_file(trained, source, out, proba=trained is labelled, decoding=decoding)
        for row, prediction in zip(read_rows(out), trained.predict(source, decoding=decoding), strict=True):
            assert float(row["legal_mass"]) == pytest.approx(prediction.legal_mass, rel=1e-4)
            assert 0 < float(row["legal_mass"]) < 1
            if trained is labelled:
                assert float(row["p(low)"]) + float(row["p(high)"]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"quantiles": (0.5,)},
            "distributions and quantiles need a regression model, but this is a classification model",
        ),
        ({"decoding": Decoding(distribution=True)}, "distributions and quantiles need a regression model"),
        ({"quantiles": (0.5, 1.5)}, r"quantile level 1\.5 is outside 0\.\.1"),
        ({"decoding": Decoding("free"), "proba": True}, "`proba` needs constrained decoding"),
        ({"decoding": Decoding("free", full_vocabulary=True)}, "'free' gives a text, which has no distribution"),
    ],
    ids=str,
)
def test_what_cannot_be_written_is_refused_before_anything_is(
    labelled: TrainedModel, source: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        predict_file(labelled, source, tmp_path / "out.csv", **options)
    assert list(tmp_path.glob("out*")) == []

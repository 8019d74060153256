"""An experiment whose records are packed into one file is read, and gone on with, as one whose records are files."""

import os
import shutil
from pathlib import Path

import pytest

from compare.factory import VARIANTS, records, trials, write_experiment
from predgen.compare.cell import run_cell
from predgen.compare.plan import Cell
from predgen.errors import BusyError, DataError
from predgen.files import locked
from predgen.findings.make import findings
from predgen.records import (
    PACKED_FILE,
    Record,
    find_record,
    find_records,
    pack_records,
    read_records,
    record_path,
    write_record,
)
from predgen.report.experiment import load_experiment
from predgen.report.page import make_page
from tiny_experiments import InProcess, make_files, run_plan, tiny_plan


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    """Runs and trials, a file each."""
    found = [*records(("sst2", "sick"), VARIANTS[:4], (0, 1), n_rows=30), *trials(("sst2",), VARIANTS[2:4])]
    return write_experiment(tmp_path / "loose" / "exp", found)


@pytest.fixture
def packed(loose: Path, tmp_path: Path) -> Path:
    """The same experiment, packed."""
    folder = tmp_path / "packed" / "exp"
    shutil.copytree(loose, folder)
    assert pack_records(folder) == folder / PACKED_FILE
    return folder


def test_packed_records_are_the_same_records_and_make_the_same_page(
    loose: Path, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not (packed / "runs").exists()
    assert not (packed / "trials").exists()
    assert (packed / PACKED_FILE).stat().st_size < sum(p.stat().st_size for p in (loose / "runs").iterdir()) / 2
    assert read_records(packed) == read_records(loose) != []
    assert read_records(packed, "trial") == read_records(loose, "trial") != []
    monkeypatch.setattr("predgen.report.experiment.findings", lambda folder: findings(folder, n_resamples=20))
    assert make_page(load_experiment(packed)) == make_page(load_experiment(loose))


def test_equal_records_make_equal_bytes_in_any_order_and_number_of_steps(loose: Path, packed: Path) -> None:
    _, *others = sorted((loose / "runs").iterdir(), reverse=True)
    contents = {path: path.read_bytes() for path in others}
    for path in others:
        path.unlink()
    pack_records(loose)
    (loose / "runs").mkdir()
    for path, content in contents.items():
        path.write_bytes(content)
        os.utime(path, (0, 0))
    pack_records(loose)
    assert (loose / PACKED_FILE).read_bytes() == (packed / PACKED_FILE).read_bytes()


def test_a_file_of_its_own_goes_before_the_packed_record(packed: Path) -> None:
    before = read_records(packed)
    newer = Record(**{name: getattr(before[1], name) for name in Record.__dataclass_fields__} | {"started": "later"})
    write_record(newer, packed)
    assert find_record(packed, "final", newer.id) == newer
    assert find_records(packed, "final") == [before[0], newer, *before[2:]]
    pack_records(packed)
    assert find_records(packed, "final") == [before[0], newer, *before[2:]]
    assert find_record(packed, "final", before[0].id) == before[0]
    assert find_record(packed, "trial", before[0].id) is None


def test_an_experiment_goes_on_from_packed_records(tmp_path: Path) -> None:
    files = make_files(tmp_path)
    (made,) = run_plan(tiny_plan(files, methods=[], baselines=["constant"]), tmp_path / "exp")
    pack_records(tmp_path / "exp")
    engine = InProcess()
    run_plan(tiny_plan(files, methods=[], baselines=["constant", "tfidf"]), tmp_path / "exp", engine)
    assert engine.made == ["data--tfidf--seed0"]
    assert [record.id for record in read_records(tmp_path / "exp")] == [made.id, "data--tfidf--seed0"]


def test_a_packed_record_is_never_made_again(tmp_path: Path) -> None:
    cell = Cell("mine", ("mine",), "v", None, 0, "final", {"method": "predictor"})
    record = Record(cell.id, "mine", "regression", "v", 0, "final", "done", cell=cell.to_dict())
    write_record(record, tmp_path)
    (tmp_path / "experiment.yaml").touch()
    pack_records(tmp_path)
    assert run_cell(cell, tmp_path) == record  # its settings could not even be read
    assert not record_path(tmp_path, "final", cell.id).exists()


def test_damage_is_named(packed: Path, loose: Path) -> None:
    whole = (packed / PACKED_FILE).read_bytes()
    (packed / PACKED_FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=PACKED_FILE):
        read_records(packed)
    middle = len(whole) // 3  # in the compressed records
    (packed / PACKED_FILE).write_bytes(whole[:middle] + bytes(8) + whole[middle + 8 :])
    with pytest.raises(DataError, match=PACKED_FILE):
        read_records(packed)
    damaged = sorted((loose / "runs").iterdir())[1]
    damaged.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=damaged.name):
        pack_records(loose)
    assert damaged.exists()
    assert not (loose / PACKED_FILE).exists()


def test_nothing_is_packed_while_runs_are_made_or_where_no_experiment_is(loose: Path, tmp_path: Path) -> None:
    import threading

    met: list[Exception] = []

    def pack() -> None:
        try:
            pack_records(loose)
        except BusyError as error:
            met.append(error)

    with locked(loose):
        thread = threading.Thread(target=pack)
        thread.start()
        thread.join()
    assert len(met) == 1
    assert not (loose / PACKED_FILE).exists()
    with pytest.raises(DataError, match=r"experiment\.yaml"):
        pack_records(tmp_path)

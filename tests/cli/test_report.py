"""`predgen report`: the page, where it goes, and messages."""

from pathlib import Path

import pytest

from cli_runs import flat, predgen, refused
from compare.factory import VARIANTS, records, write_experiment
from html_pages import read_page


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(
        tmp_path_factory.mktemp("exp") / "small", records(("sst2",), VARIANTS[3:5], (0,), n_rows=20)
    )


def test_page_goes_to_the_named_file_or_into_the_folder(experiment: Path, tmp_path: Path) -> None:
    for arguments, target in (((), experiment / "report.html"), (("-o", tmp_path / "a.html"), tmp_path / "a.html")):
        result = predgen("report", experiment, *arguments)
        assert result.exit_code == 0, result.output
        assert flat(result.stdout).replace(" ", "") == f"Page:{target}".replace(" ", "")
        assert read_page(target.read_text(encoding="utf-8")).one("h1").text == "small"


def test_tables_are_printed_as_markdown(experiment: Path) -> None:
    result = predgen("report", experiment, "--tables")
    assert result.exit_code == 0, result.output
    rows = [line.split("|")[1].strip() for line in result.stdout.splitlines() if line.startswith("| sst2 |")]
    assert rows
    assert "**accuracy, test rows**" in result.stdout
    assert "give one of them" in refused(predgen("report", experiment, "--tables", "-o", "a.html"))


def test_mistakes_are_told_in_one_line(experiment: Path, tmp_path: Path) -> None:
    assert f"{str(tmp_path)!r} is no experiment: it has no experiment.yaml" in refused(predgen("report", tmp_path))
    assert "does not exist; make it first" in refused(predgen("report", experiment, "-o", tmp_path / "none" / "a.html"))
    assert "is a folder" in refused(predgen("report", experiment, "-o", tmp_path))
    record = next((experiment / "runs").iterdir())
    text = record.read_text(encoding="utf-8")
    record.write_text(text[:100], encoding="utf-8")
    assert "is damaged" in refused(predgen("report", experiment, "-o", tmp_path / "a.html"))
    record.write_text(text, encoding="utf-8")

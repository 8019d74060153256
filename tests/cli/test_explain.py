"""`predgen explain` on the command line."""

import json
from pathlib import Path

import pytest

from cli_runs import Runs, flat, predgen, refused, write_csv
from html_pages import read_page


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file with three rows, one of them hostile."""
    texts = ("number 3 was warm", "<script>alert(1)</script> rude", "dull")
    return write_csv(tmp_path / "rows.csv", [{"text": text, "more": "x"} for text in texts])


def test_page_and_json_say_the_same(runs: Runs, rows: Path, tmp_path: Path) -> None:
    page, data = tmp_path / "page.html", tmp_path / "page.json"
    result = predgen("explain", runs.label, rows, "-o", page, "--json", data)
    assert result.exit_code == 0, result.output
    assert f"3 rows in {page}" in flat(result.stderr).replace(" /", "/").replace("in/", "in /")
    told = json.loads(data.read_text())
    assert [row["row"] for row in told["rows"]] == [1, 2, 3]
    assert [word["text"] for word in told["rows"][0]["words"]] == ["number", "3", "was", "warm"]
    found = read_page(page.read_text(encoding="utf-8"))
    assert not list(found.all("script"))
    assert len(list(found.all("section"))) == 3
    for row, section in zip(told["rows"], found.all("section"), strict=True):
        assert f"Row {row['row']}: {row['answer']}" in section.text
        strongest = max(row["words"], key=lambda word: abs(word["drop"]))
        assert section.one("tbody").text.startswith(strongest["text"])


def test_numbers_limits_and_labels(runs: Runs, rows: Path, tmp_path: Path) -> None:
    page, data = tmp_path / "page.html", tmp_path / "page.json"
    result = predgen("explain", runs.score, rows, "-o", page, "--json", data, "--limit", "2")
    assert result.exit_code == 0, result.output
    assert "the file has more: --limit 2" in flat(result.stderr)
    told = json.loads(data.read_text())
    assert [row["unit"] for row in told["rows"]] == ["units of the target"] * 2
    assert all(
        word["drop"] == pytest.approx(row["answer"] - word["value_without"])
        for row in told["rows"]
        for word in row["words"]
    )
    result = predgen("explain", runs.label, rows, "-o", page, "--json", data, "--label", "bad")
    assert result.exit_code == 0, result.output
    assert {row["answer"] for row in json.loads(data.read_text())["rows"]} == {"bad"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--label", "baad"), "`label` is 'baad', which the model does not know. Did you mean 'bad'? Allowed:"),
        (("--json", "rows.csv"), "--json is 'rows.csv', but must be a file that ends in .json"),
        (("-o", "page.csv"), "--out is 'page.csv', but must be a file that ends in .html"),
        (("-o", "no/page.html"), "--out 'no/page.html' lies in a folder that does not exist"),
    ],
)
def test_mistakes_are_one_line(
    runs: Runs, rows: Path, given: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(rows.parent)
    assert message in refused(predgen("explain", runs.label, rows, "-o", "page.html", *given))
    assert sorted(path.name for path in rows.parent.iterdir()) == ["rows.csv"]


def test_files_that_are_not_what_they_should_be(runs: Runs, rows: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("text\n")
    assert "empty.csv" in refused(predgen("explain", runs.label, empty, "-o", tmp_path / "page.html"))
    other = write_csv(tmp_path / "other.csv", [{"txt": "a"}])
    assert "'text'" in refused(predgen("explain", runs.label, other, "-o", tmp_path / "page.html"))
    assert "holds no saved model" in refused(predgen("explain", tmp_path / "none", rows, "-o", tmp_path / "page.html"))
    data = tmp_path / "rows.json"
    data.write_text('[{"text": "a"}]')
    message = refused(predgen("explain", runs.label, data, "-o", tmp_path / "page.html", "--json", data))
    assert "is the file with the rows" in message
    assert json.loads(data.read_text()) == [{"text": "a"}]

"""The page of explanations: colours, numbers, and users' texts as text."""

import re
from pathlib import Path

import numpy as np
import pytest

from html_pages import Element, read_page
from predgen.core import Example, Prediction
from predgen.distribution import Distribution
from predgen.errors import StorageError
from predgen.explanation.explain import Explanation, LeftOut
from predgen.explanation.parts import row_parts
from predgen.report.explained import explanations_page, write_explanations

HOSTILE = '<script>alert(1)</script> "\'&<b> \x00\x1b[31m\ud800 \u202eturned " onmouseover=x'


def explained(fields: dict[str, str], drops: list[float], value: str = "good", answer: str = "good") -> Explanation:
    """A row of two labels, with given drops."""
    parts = row_parts(fields, 100)
    left_out = tuple(LeftOut(part, drop, "good") for part, drop in zip(parts, drops, strict=True))
    labels = (value, "other")
    told = Prediction(value, (0.75, 0.25), flags=frozenset({"truncated"}))
    return Explanation(Example(3, fields), told, answer, labels, "nats", left_out)


def numbered(support: np.ndarray, probabilities: np.ndarray, drop: float) -> Explanation:
    """A number with a distribution, and one word."""
    told = Prediction(2.5, distribution=Distribution(support, probabilities))
    [part] = row_parts({"text": "warm"}, 100)
    example = Example(0, {"text": "warm"})
    return Explanation(example, told, 2.5, (), "units of the target", (LeftOut(part, drop, 2.5 - drop),))


def words(page: Element) -> list[tuple[str, str, str]]:
    """Text, classes and style of the coloured words of rows."""
    return [
        (one.text, one.attributes["class"], one.attributes["style"])
        for section in page.all("section")
        for one in section.all("span", class_="word")
    ]


def test_words_are_coloured_by_sign_and_size_and_listed_by_size() -> None:
    page = read_page(explanations_page([explained({"text": "a fine, cold day"}, [0.0, 2.0, 0.01, -1.0, 0.5])], "run"))
    assert words(page) == [
        ("a", "word", "--share:0.0%"),
        ("fine", "word for", "--share:100.0%"),
        (",", "word", "--share:0.5%"),
        ("cold", "word against", "--share:50.0%"),
        ("day", "word for", "--share:25.0%"),
    ]
    assert page.one("p", class_="spoken").text == "a fine, cold day"
    assert [line.one("th").text for line in list(page.all("tr"))[1:]] == ["fine", "cold", "day", ",", "a"]
    assert [line.one("td", class_="n").text for line in list(page.all("tr"))[1:4]] == ["+2.00", "\u22121.00", "+0.500"]
    assert [item.text for item in page.one("ul", class_="bars").all("li")] == ["good 0.75", "other 0.25"]
    assert "truncated" in page.text
    assert "Row 4: good" in page.text


def test_texts_labels_and_names_of_strangers_stay_text() -> None:
    one = explained(
        {HOSTILE: HOSTILE, "b": HOSTILE}, [0.5] * len(row_parts({"a": HOSTILE, "b": HOSTILE}, 100)), HOSTILE
    )
    text = explanations_page([one], HOSTILE)
    page = read_page(text)
    assert not list(page.all("script"))
    assert not list(page.all("b"))
    assert not [name for element in page.all() for name in element.attributes if name.startswith("on")]
    assert (
        page.one("meta", **{"http-equiv": "Content-Security-Policy"})
        .attributes["content"]
        .startswith("default-src 'none';")
    )
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text)
    shown = page.one("section").text
    assert shown.count("<script>alert(1)</script>") >= 3
    assert "Explained is the label good" in page.text


def test_the_page_is_whole_and_readable_for_all() -> None:
    rows = [explained({"text": "a b", "more": "c"}, [1.0, -1.0, 0.0]), explained({"text": ""}, [])]
    page = read_page(explanations_page(rows, "run"))
    for table in page.all("table"):
        assert table.one("caption").text == "Drop in nats"
        assert {len([c for c in row.content if isinstance(c, Element)]) for row in table.all("tr")} == {4}
    assert "There is no word to leave out." in page.text
    assert explanations_page(rows, "run") == explanations_page(rows, "run")


@pytest.mark.parametrize("drop", [0.0, -0.5])
def test_numbers_stand_beside_their_distribution(drop: float) -> None:
    few = numbered(np.array([2.0, 3.0]), np.array([0.5, 0.5]), drop)
    page = read_page(explanations_page([few], "run"))
    assert [item.text for item in page.one("ul", class_="bars").all("li")] == ["2.00 0.50", "3.00 0.50"]
    assert "Row 1: 2.50" in page.text
    many = numbered(np.linspace(0, 10, 101), np.full(101, 1 / 101), drop)
    bars = [item.text for item in read_page(explanations_page([many], "run")).one("ul", class_="bars").all("li")]
    assert len(bars) == 12
    assert sum(float(bar.split()[-1]) for bar in bars) == pytest.approx(1, abs=0.07)
    point = numbered(np.linspace(0, 10, 101), np.eye(101)[7], drop)
    assert "0.700 1.00" in explanations_text(point)


def explanations_text(one: Explanation) -> str:
    return read_page(explanations_page([one], "run")).text


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    write_explanations([explained({"text": "a"}, [1.0])], "run", target)
    assert target.read_text(encoding="utf-8").rstrip().endswith("</html>")
    (tmp_path / "folder" / "kept").mkdir(parents=True)
    with pytest.raises(StorageError):
        write_explanations([], "run", tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "page.html"], "no draft stays"

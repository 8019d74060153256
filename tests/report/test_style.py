"""Colours of the page: readable in light, dark and print."""

import re
from pathlib import Path

import pytest

import predgen

STYLE = (Path(predgen.__file__).parent / "assets" / "report" / "style.css").read_text(encoding="utf-8")
THEMES = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.S)]
TEXT, GRAPHICS = 4.5, 3.0  # WCAG 2.2, success criteria 1.4.3 and 1.4.11, level AA


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours, 1 to 21."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the well-known grey that just fails


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark", "print"])
def test_text_and_drawings_have_enough_contrast(theme: dict[str, str]) -> None:
    assert len(THEMES) == 3
    for ground in ("bg", "soft"):
        for text in ("fg", "quiet", "accent", "good", "bad", "warn"):
            assert contrast(theme[text], theme[ground]) >= TEXT, (text, ground)
    for ground in ("heat", "against"):
        assert contrast(theme["fg"], theme[ground]) >= TEXT, ground
    for graphic in ("focus", "dot", *(f"c{i}" for i in range(8))):
        assert contrast(theme[graphic], theme["bg"]) >= GRAPHICS, graphic


def test_every_colour_is_one_of_the_themes() -> None:
    rest = re.sub(r":root \{.*?\}", "", STYLE, flags=re.S)
    named = set(re.findall(r"var\(--(\w+)\)", rest)) - {"share", "p"}
    assert all(named <= set(theme) for theme in THEMES)
    assert set(re.findall(r"#[0-9a-f]{3,8}\b", rest)) <= {"#ffffff"}, "white paper below pictures"

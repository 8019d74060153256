"""Scales, ticks, and what a drawing is made of."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from html_pages import read_page
from predgen.report.drawing import Panel, Scale, frame, key, look, scale_for, short_number, svg, text

numbers = st.floats(-1e6, 1e6, allow_nan=False).filter(lambda value: value == 0 or abs(value) > 1e-100)


def test_scale_maps_its_ends_and_the_middle() -> None:
    scale = Scale(-1.0, 3.0, 50.0, 250.0)
    assert [scale(v) for v in (-1.0, 1.0, 3.0)] == [50.0, 150.0, 250.0]
    upwards = Scale(0.0, 1.0, 200.0, 0.0)
    assert upwards(0.25) == 150.0


def test_logarithmic_scale_puts_equal_ratios_equally_far() -> None:
    scale = Scale(0.01, 100.0, 0.0, 400.0, is_log=True)
    assert [scale(v) for v in (0.01, 0.1, 1.0, 10.0)] == pytest.approx([0.0, 100.0, 200.0, 300.0])
    assert scale.ticks() == pytest.approx([0.01, 0.1, 1.0, 10.0, 100.0])


@given(st.lists(numbers, min_size=1, max_size=6), st.booleans())
def test_all_values_and_ticks_lie_on_the_scale(values: list[float], is_log: bool) -> None:
    scale = scale_for(values, 10.0, 110.0, is_log=is_log)
    shown = [v for v in values if v > 0] if is_log else values
    assert all(10.0 - 1e-6 <= scale(v) <= 110.0 + 1e-6 for v in shown)
    assert scale.low < scale.high
    assert all(9.99 <= scale(tick) <= 110.01 for tick in scale.ticks())


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf], [0.0], [5.0], [5.0, 5.0], [-3.0]])
def test_little_or_nothing_to_show_still_gives_a_scale(values: list[float]) -> None:
    scale = scale_for(values, 0.0, 100.0)
    assert math.isfinite(scale.low)
    assert scale.low < scale.high
    if any(map(math.isfinite, values)):
        assert scale(values[0]) == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (-0.0, "0"), (0.25, "0.25"), (-2.5, "\u22122.5"), (1500.0, "1500"), (2e6, "2e+06")]
)
def test_numbers_of_an_axis_are_short(value: float, shown: str) -> None:
    assert short_number(value) == shown


def test_32_variants_look_different() -> None:
    looks = [look(i) for i in range(32)]
    assert len(set(looks)) == 32
    assert len({str(key(i)) for i in range(32)}) == 32
    assert all(re.fullmatch(r"c[0-7] d[0-3]", found) for found in looks)


def test_line_is_interrupted_where_a_value_is_missing() -> None:
    across, up = frame((280, 200))
    panel = Panel("a line", Scale(0.0, 4.0, *across), Scale(0.0, 1.0, *up), "step", "loss")
    panel.line([(0.0, 0.0), (1.0, 0.5), (2.0, math.nan), (3.0, 0.5), (4.0, 1.0)], "c0")
    panel.dots([(0.0, 0.0)], "c1")
    panel.mark((4.0, 1.0), 1)
    page = read_page(str(panel.markup()))
    line, dots, mark = (page.one("path", class_=name).attributes["d"] for name in ("line", "dots", "mark"))
    assert [command[0] for command in re.findall(r"[ML][\d. ]+", line)] == ["M", "L", "M", "L"]
    assert line.startswith(f"M{across[0]} {up[0]}")
    assert line.endswith(f"L{across[1]} {up[1]}")
    assert dots == f"m{across[0]} {up[0]}h0"
    assert mark.endswith("z")


def test_drawing_escapes_what_it_is_told() -> None:
    drawing = svg('<b>"1" & 2', (10, 10), [text(1.0, 2.0, "<script>", "end", 'a"b')])
    assert "<script>" not in drawing
    page = read_page(str(drawing))
    assert page.one("svg").attributes["aria-label"] == '<b>"1" & 2'
    assert page.one("text").text == "<script>"
    assert page.one("text").attributes["class"] == 'a"b'

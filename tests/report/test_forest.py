"""Forest plots: right means that the first is better, whatever the metric."""

import re
from dataclasses import replace

import pytest

from html_pages import read_page
from predgen.findings.base import Difference, Findings, MetricEstimate, Ordering, Verdict
from predgen.report.forest import Forest, across_tasks, forests

PLACE = re.compile(r'class="(\w+)[^"]*"[^>]*?(?:cx="|d="M)([\d.]+)')


def difference(value: float, verdict: Verdict, greater_is_better: bool, task: str = "a") -> Difference:
    figure = MetricEstimate(value, value - 0.05, value + 0.05, [value], "rows only")
    metric = "accuracy" if greater_is_better else "mse"
    return Difference(
        task, "x", "y", metric, greater_is_better, "headline", [0], 50, 0, figure, 0.5, None, 0.5, 0.5, verdict, None
    )


def found(differences: list[Difference], tasks: list[str], against: list[Difference] | None = None) -> Findings:
    return Findings("test", None, [], [0], tasks, [], [], [], differences, against or [], [], [], [], [], [], [], [])


def plots(differences: list[Difference], tasks: list[str]) -> list[Forest]:
    return forests(found(differences, tasks), differences)


def places(drawing: str) -> dict[str, float]:
    """Horizontal places of zero line, interval and dot."""
    return {name: float(x) for name, x in PLACE.findall(drawing)}


@pytest.mark.parametrize(("value", "greater_is_better"), [(0.2, True), (-0.2, False)])
def test_first_better_stands_on_the_right(value: float, greater_is_better: bool) -> None:
    [forest] = plots([difference(value, "first better", greater_is_better)], ["a", "b"])
    [row] = forest.rows
    at = places(row.drawing)
    assert at["zero"] < at["span"] < at["point"]
    assert (row.verdict, row.is_shown, forest.n_shown) == ("x better", True, 1)
    ticks = [float(t.text.replace("\u2212", "-")) for t in read_page(str(forest.axis)).all("text")]
    assert ticks == sorted(ticks, reverse=not greater_is_better) or not greater_is_better
    assert 0.0 in ticks


def test_second_better_stands_on_the_left_and_is_named() -> None:
    [forest] = plots([difference(-0.2, "second better", True)], ["a"])
    at = places(forest.rows[0].drawing)
    assert at["point"] < at["zero"]
    assert forest.rows[0].verdict == "y better"
    label = read_page(str(forest.rows[0].drawing)).one("svg").attributes["aria-label"]
    assert label == "Interval does not contain 0; the second is better"


@pytest.mark.parametrize(("floors", "is_shown"), [("xy", False), ("x", True), ("", True)])
def test_no_verdict_in_bold_where_neither_beats_the_constant(floors: str, is_shown: bool) -> None:
    headline = [difference(-0.2, "second better", True)]
    against = [
        replace(difference(0.0, "no difference shown", True), first=name, second="constant", family="constant")
        for name in floors
    ]
    [forest] = forests(found(headline, ["a"], against), headline)
    [row] = forest.rows
    assert (row.is_shown, forest.n_shown) == (is_shown, int(is_shown))
    assert ("point open" in row.drawing) == (not is_shown)
    assert row.verdict.startswith("y better")
    assert ("neither" in row.verdict) == (not is_shown)


def test_open_dots_where_nothing_is_shown() -> None:
    rows = [difference(0.2, "no difference shown", True), difference(0.01, "no difference shown", True)]
    [forest] = plots(rows, ["a"])
    assert forest.n_shown == 0
    assert all('class="point open"' in row.drawing for row in forest.rows)
    labels = [read_page(str(row.drawing)).one("svg").attributes["aria-label"] for row in forest.rows]
    assert labels == ["Interval does not contain 0", "Interval contains 0"]


def test_difference_without_an_interval_is_drawn_as_what_it_is() -> None:
    bare = replace(
        difference(0.2, "no difference shown", True), estimate=MetricEstimate(None, None, None, [None], "nothing")
    )
    [forest] = plots([bare], ["a"])
    assert "circle" not in forest.rows[0].drawing
    assert "Difference without an interval" in forest.rows[0].drawing


def test_tasks_keep_their_order_and_are_left_out_where_empty() -> None:
    rows = [difference(0.1, "no difference shown", True, task) for task in ("a", "c", "a")]
    assert [(f.task, len(f.rows)) for f in plots(rows, ["c", "b", "a"])] == [("c", 1), ("a", 2)]


def test_intervals_over_two_tasks_run_out_of_the_drawing() -> None:
    wide = Ordering("x", "y", ["a", "b"], 0, 0, 2, 0.1, -9.0, 9.2)
    narrow = Ordering("x", "z", ["a", "b", "c"], 0, 0, 3, 0.1, 0.05, 0.15)
    alone = Ordering("y", "z", ["a"], 0, 0, 1, 5.0, None, None)
    nothing = [[] for _ in range(6)]
    found = Findings("test", None, [], [0], ["a"], [], [], [], [], [], [wide, narrow, alone], *nothing)
    rows, axis = across_tasks(found)
    assert [row.ordering.second for row in rows] == ["y", "z"], "one task is no sample of tasks"
    assert rows[0].drawing.count('class="span') == 3, "a line and the tips of two arrows"
    assert rows[1].drawing.count('class="span') == 1
    ticks = [float(t.text.replace("\u2212", "-")) for t in read_page(str(axis)).all("text")]
    assert max(map(abs, ticks)) < 1

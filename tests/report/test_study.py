"""Figures of the paper drawn again: a dot per value of the setting that varies, where its figure says."""

import re
from dataclasses import replace
from typing import Any

import pytest

from html_pages import read_page
from predgen.findings.base import Entry, Findings, MetricEstimate, VariantFacts
from predgen.report.study import study_figures

NOTHING: list[Any] = [[] for _ in range(9)]


def entry(variant: str, value: float | None, task: str = "sst2", metric: str = "accuracy") -> Entry:
    width = 0.05
    ends = (None, None) if value is None else (value - width, value + width)
    figure = MetricEstimate(value, *ends, [value], "rows only")
    return Entry(
        task, task, "classification", variant, None, metric, metric == "accuracy", [0], [], 50, {metric: figure}, {}, []
    )


def variant(name: str, steps: int | None) -> VariantFacts:
    if steps is None:
        return VariantFacts(name, None, name, None, {})
    return VariantFacts(name, "predgen", None, None, {"method": "predgen", "max_steps_for_sampling": steps})


def experiment(study: str | None, variants: list[VariantFacts], entries: list[Entry]) -> Findings:
    tasks = list(dict.fromkeys(e.task for e in entries))
    return Findings("test", study, ["embedded"], [0], tasks, variants, [], entries, *NOTHING)


FOUND = experiment(
    "figure4",
    [variant("slow", 7000), variant("fast", 50), variant("constant", None)],
    [entry("slow", 0.5), entry("fast", 0.7), entry("constant", 0.6)],
)


def test_dots_lie_where_their_figures_say() -> None:
    [figure] = study_figures(FOUND)
    assert (figure.task, figure.metric, figure.direction) == ("sst2", "accuracy", "higher is better")
    slow, fast = (float(x) for x in re.findall(r'<circle class="point" cx="([\d.]+)"', figure.drawing))
    [floor] = re.findall(r'class="line ideal" d="M([\d.]+)', figure.drawing)
    assert float(floor) == pytest.approx((slow + fast) / 2, abs=0.2), "0.6 lies between 0.5 and 0.7"
    spans = [
        [float(x) for x in ends] for ends in re.findall(r'class="span" d="M([\d.]+) [\d.]+H([\d.]+)"', figure.drawing)
    ]
    assert [sum(ends) / 2 for ends in spans] == pytest.approx([slow, fast], abs=0.2)
    assert spans[1][1] - spans[1][0] == pytest.approx((fast - slow) / 2, abs=0.3), "0.1 is half of 0.2"


def test_lines_are_named_by_the_value_in_the_order_of_the_plan() -> None:
    [figure] = study_figures(FOUND)
    page = read_page(str(figure.drawing))
    texts = [t.text for t in page.all("text")]
    assert [t for t in texts if t in ("7000", "50")] == ["7000", "50"]
    label = page.one("svg").attributes["aria-label"]
    assert label == "accuracy on sst2 by max_steps_for_sampling: 7000 0.5 and 50 0.7; constant baseline 0.6"


def test_equal_values_are_told_apart_by_the_names_of_their_variants() -> None:
    variants = [variant("lora", 50), variant("full", 50), variant("slow", 7000)]
    [figure] = study_figures(experiment("figure4", variants, [entry(v.name, 0.5) for v in variants]))
    texts = [t.text for t in read_page(str(figure.drawing)).all("text")]
    assert [t for t in texts if t in ("lora", "full", "7000", "50")] == ["lora", "full", "7000"]


def test_long_names_have_room() -> None:
    name = "predgen with a name that somebody thought about for long"
    variants = [variant(name, 50), variant("other", 50)]
    [figure] = study_figures(experiment("figure4", variants, [entry(v.name, 0.5) for v in variants]))
    svg = read_page(str(figure.drawing)).one("svg")
    [end] = [t.attributes["x"] for t in svg.all("text") if t.text == name]
    assert end is not None
    assert len(name) * 6 < float(end) < float(svg.attributes["width"] or 0) - 150


def test_a_figure_per_task_and_what_is_not_defined_has_no_dot() -> None:
    variants = [variant("slow", 7000), variant("fast", 50)]
    entries = [entry("slow", None), entry("fast", 0.5), entry("fast", 1.0, "sick", "mse")]
    sst2, sick = study_figures(experiment("figure4", variants, entries))
    assert sst2.drawing.count("<circle") == 1
    assert "7000 not defined and 50 0.5" in sst2.drawing
    assert "ideal" not in sst2.drawing, "no constant baseline was measured"
    assert (sick.task, sick.direction, sick.drawing.count("<circle")) == ("sick", "lower is better", 1)


def test_tables_of_the_paper_and_other_experiments_have_no_figure() -> None:
    assert study_figures(replace(FOUND, study="table2")) == []
    assert study_figures(replace(FOUND, study=None)) == []
    assert study_figures(replace(FOUND, study="figure5")) == [], "the setting of another figure did not vary"

"""Marks of the headline table: only what verdicts allow."""

from dataclasses import replace

from predgen.findings.base import Difference, Entry, Findings, MetricEstimate, Shortfall, VariantFacts, Verdict
from predgen.report.headline import HeadlineCell, headline_grid

METHODS = ["predictor", "generator", "predgen"]


def variant(name: str, derived_from: str | None = None) -> VariantFacts:
    is_method = name.split()[0] in METHODS
    return VariantFacts(name, name if is_method else None, None if is_method else name, derived_from, {})


def entry(task: str, name: str, value: float, greater_is_better: bool = True) -> Entry:
    metric = "accuracy" if greater_is_better else "mse"
    figure = MetricEstimate(value, value - 0.1, value + 0.1, [value], "rows only")
    return Entry(
        task, task, "classification", name, None, metric, greater_is_better, [0], [], 50, {metric: figure}, {}, [name]
    )


def difference(first: str, second: str, verdict: Verdict, family: str = "headline", task: str = "a") -> Difference:
    figure = MetricEstimate(0.1, 0.0, 0.2, [0.1], "rows only")
    return Difference(
        task, first, second, "accuracy", True, family, [0], 50, 0, figure, 0.5, None, 0.5, 0.5, verdict, None
    )


def found(
    differences: list[Difference], against: list[Difference] | None = None, methods: list[str] = METHODS
) -> Findings:
    names = [*methods, "constant"]
    entries = [entry("a", name, 0.5 + 0.1 * i) for i, name in enumerate(names)]
    variants = [variant(name) for name in names]
    return Findings(
        "test", None, [], [0], ["a"], variants, methods, entries, differences, against or [], [], [], [], [], [], [], []
    )


def cells(findings: Findings) -> dict[str, HeadlineCell]:
    [line] = headline_grid(findings).lines
    return {cell.variant: cell for cell in line}


def best(findings: Findings) -> list[str]:
    return [name for name, cell in cells(findings).items() if cell.is_best]


def test_best_has_beaten_all_others() -> None:
    beaten = [difference("predictor", "predgen", "second better"), difference("generator", "predgen", "second better")]
    assert best(found([*beaten, difference("predictor", "generator", "no difference shown")])) == ["predgen"]
    turned = [difference("predgen", "predictor", "first better"), beaten[1]]
    assert best(found(turned)) == ["predgen"]


def test_highest_figure_alone_is_not_best() -> None:
    open_one = difference("generator", "predgen", "no difference shown")
    assert best(found([difference("predictor", "predgen", "second better"), open_one])) == []
    assert best(found([difference("predictor", "predgen", "second better")])) == [], "one pair was not compared"
    elsewhere = [difference(name, "predgen", "second better", task="b") for name in METHODS[:2]]
    assert best(found(elsewhere)) == []


def test_best_of_those_that_do_not_beat_the_constant_is_not_best() -> None:
    beaten = [difference("predictor", "predgen", "second better"), difference("generator", "predgen", "second better")]
    assert best(found(beaten, [difference("predgen", "constant", "no difference shown", "constant")])) == []
    assert best(found(beaten, [difference("predgen", "constant", "first better", "constant")])) == ["predgen"]


def test_only_method_is_not_best() -> None:
    assert best(found([], methods=["predgen"])) == []


def test_methods_at_the_floor_are_marked() -> None:
    against = [
        difference("predictor", "constant", "no difference shown", "constant"),
        difference("generator", "constant", "second better", "constant"),
        difference("predgen", "constant", "first better", "constant"),
        difference("predgen", "tfidf", "no difference shown", "tfidf"),
    ]
    marked = [name for name, cell in cells(found([], against)).items() if cell.is_at_floor]
    assert marked == ["predictor", "generator"]


def test_empty_cells_know_why() -> None:
    findings = found([])
    short = Shortfall("x", "a", "predictor", 0, "refused", "ConfigError: no")
    findings = replace(
        findings,
        entries=findings.entries[1:2],
        shortfalls=[short, replace(short, seed=1), replace(short, status="failed")],
        variants=[
            *findings.variants,
            variant("generator (mean)", "generator"),
            variant("predictor (mean)", "predictor"),
        ],
    )
    reasons = {name: cell.why_empty for name, cell in cells(findings).items()}
    assert reasons == {
        "predictor": "refused and failed",
        "generator": "",
        "predgen": "not asked for",
        "constant": "not asked for",
        "generator (mean)": "no numbers",
        "predictor (mean)": "refused and failed",
    }


def test_many_variants_are_lines() -> None:
    many = [f"predgen {i}" for i in range(9)]
    assert headline_grid(found([], methods=many)).by_variant
    assert not headline_grid(found([])).by_variant

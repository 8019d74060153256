"""Numbers and findings in words."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predgen.findings.base import (
    Difference,
    Entry,
    Findings,
    MetricEstimate,
    RunStatus,
    Shortfall,
    VariantFacts,
    Verdict,
)
from predgen.report.words import as_figure, bytes_in_words, clean, count, decimals_for, finding, listed

NOTHING = Findings("test", None, ["embedded"], [0], ["a"], [], [], [], [], [], [], [], [], [], [], [], [])


def estimate(value: float | None, low: float | None = None, high: float | None = None) -> MetricEstimate:
    return MetricEstimate(value, low, high, [value], "rows only" if low is not None else "nothing")


def entry(task: str, seeds: list[int], variant: str = "predgen") -> Entry:
    figures = {"accuracy": estimate(0.5)}
    return Entry(task, task, "classification", variant, None, "accuracy", True, seeds, [], 9, figures, {}, [])


def difference(task: str, first: str, second: str, verdict: Verdict = "no difference shown") -> Difference:
    shown = estimate(0.1, 0.0, 0.2)
    return Difference(
        task, first, second, "accuracy", True, "headline", [0], 100, 0, shown, 0.5, None, 0.5, 1.0, verdict, 0.1
    )


@pytest.mark.parametrize(
    ("value", "decimals", "shown"),
    [
        (0.12345, 3, "0.123"),
        (-0.5, 2, "\u22120.50"),
        (-0.0004, 3, "0.000"),
        (4984064.0, 0, "4,984,064"),
        (None, 3, "not defined"),
        (-2.5e-12, 14, "\u22122.50e\u221212"),
        (2.5e-12, None, "2.50e\u221212"),
    ],
)
def test_number_is_rounded_and_has_no_minus_zero(value: float | None, decimals: int, shown: str) -> None:
    assert as_figure(value, decimals) == shown


def test_decimals_follow_the_narrowest_interval() -> None:
    assert decimals_for([estimate(0.5, 0.4, 0.6)]) == 3
    assert decimals_for([estimate(0.5, 0.4, 0.6), estimate(0.02, 0.019, 0.021)]) == 4
    assert decimals_for([estimate(0.5, 0.5, 0.5)]) == 3
    assert decimals_for([estimate(None)]) == 3
    assert decimals_for([estimate(1e-9, 0.0, 1e-8)]) == 9


def test_small_words() -> None:
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert [count(n, "row") for n in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]
    assert count(2, "fish", "fish") == "2 fish"
    assert bytes_in_words(3 * 2**20) == "3 MiB"


@given(st.text(st.characters(exclude_categories=[])))
def test_cleaned_text_can_be_written_and_cleaning_again_changes_nothing(text: str) -> None:
    found = clean(text)
    found.encode("utf-8")
    assert not any(ord(sign) < 32 and sign not in "\t\n" for sign in found)
    assert clean(found) == found


def test_control_characters_become_pictures() -> None:
    assert clean("a\x00b\x1b\x7f\x85\ud800\r\n\tc") == "a\u2400b\u241b\u2421\ufffd\ufffd\n\tc"


def test_finding_names_who_is_better_where() -> None:
    found = replace(
        NOTHING,
        tasks=["a", "unpaired", "b"],
        entries=[entry("a", [0, 1]), entry("b", [0, 1])],
        differences=[
            difference("a", "generator", "predgen", "second better"),
            difference("b", "generator", "predgen", "second better"),
            difference("a", "predictor", "generator", "first better"),
            difference("b", "predictor", "generator"),
        ],
    )
    shown, rests = finding(found)
    assert shown == (
        "Of 4 comparisons of methods on a and b, 3 show a difference after correction for their number: predgen is better"
        " than generator on a and b; predictor is better than generator on a; in the other 1 no difference is shown."
    )
    assert rests == "Every figure is about test rows and rests on 2 seeds."


def test_no_difference_is_a_finding() -> None:
    found = replace(
        NOTHING, tasks=list("abcde"), differences=[difference(t, "x", "y") for t in "abcde"], not_learnable=["b"]
    )
    shown, rests = finding(found)
    assert (
        shown
        == "No difference is shown in any of 5 comparisons of methods on 5 tasks, after correction for their number."
    )
    assert "rests on one seed, so that nothing is known about other seeds" in rests
    assert rests.endswith(
        "on b no method is shown to beat the constant baseline, so that comparisons there say little."
    )


def test_seeds_are_those_that_were_run_not_those_that_were_asked_for() -> None:
    constant = VariantFacts("constant", None, "constant", None, {})
    found = replace(NOTHING, seeds=[0, 1, 2], variants=[constant], entries=[entry("a", [0]), entry("b", [0])])
    assert "rests on one seed," in finding(found)[1]
    some = replace(found, entries=[entry("a", [0, 1]), entry("b", [0, 1, 2]), entry("b", [0], "constant")])
    assert "rests on 2 to 3 seeds" in finding(some)[1]


def test_nothing_to_compare_is_said() -> None:
    assert finding(NOTHING)[0].startswith("No two methods were measured on the same rows")


def at_floor(task: str, *names: str) -> list[Difference]:
    return [replace(difference(task, name, "constant"), family="constant") for name in names]


def test_differences_between_methods_at_the_floor_are_left_aside() -> None:
    two = [difference("a", "x", "y", "first better"), difference("b", "x", "y", "first better")]
    found = replace(NOTHING, tasks=["a", "b"], differences=two, baseline_differences=at_floor("a", "x", "y"))
    shown = finding(found)[0]
    assert "1 show a difference" in shown
    assert "x is better than y on b" in shown
    assert "1 difference between methods of which neither is above the constant" in shown
    alone = replace(found, tasks=["a"], differences=two[:1])
    assert "better" not in finding(alone)[0]


def test_missing_runs_are_counted() -> None:
    def short(status: RunStatus, variant: str = "predgen", source: str = "a") -> Shortfall:
        return Shortfall("run", source, variant, 0, status, "why")

    done = replace(entry("a", [0]), records=["r1", "r2", "r3"])
    some = replace(NOTHING, entries=[done], shortfalls=[short("missing")] * 3)
    assert finding(some)[2] == "Of 6 runs 3 are missing."
    mixed = [short("missing"), short("failed"), short("refused"), short("missing", "all", "b")]
    assert finding(replace(some, shortfalls=mixed))[2].startswith(
        "Of 6 runs 1 is missing, 1 failed and 1 is refused; of b "
    )
    assert len(finding(replace(some, shortfalls=[]))) == 2

"""Answers in cells: several names, shares, and cells that have none."""

from typing import Any

import numpy as np
import pytest

from predgen.core import Target
from predgen.data.cells import CellError
from predgen.data.examples import custom_task
from predgen.data.target_cells import answer_reader, labels_in, names_in, shares_in
from predgen.targets import TargetSpec


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("a;b", {"a", "b"}),
        (" a ; ;a", {"a"}),
        ("a,b", {"a,b"}),
        (";", set()),
        ([], set()),
        (["a", 2, True], {"a", "2", "true"}),
        (np.array(["a", "b"]), {"a", "b"}),
        ("", None),
        ("  ", None),
        (None, None),
        (float("nan"), None),
    ],
    ids=lambda value: repr(sorted(value)) if isinstance(value, set) else repr(value),  # the same in every worker
)
def test_names_of_a_cell(cell: Any, names: set[str] | None) -> None:
    assert names_in(cell, ";") == names


@pytest.mark.parametrize("cell", [5, {"a": 1}, ["a", None], [1.5]], ids=repr)
def test_what_holds_no_names_is_refused(cell: Any) -> None:
    with pytest.raises(CellError):
        names_in(cell, ";")


def test_shares_are_normalised_in_the_order_of_the_labels() -> None:
    known = {"bad": "bad", "so": "so", "good": "good"}
    assert shares_in({"good": 0.2, "bad": "0.8", "so": None}, known) == (("bad", 0.8), ("good", 0.2))
    assert sum(share for _, share in shares_in({"good": 0.333, "bad": 0.333, "so": 0.333}, known)) == pytest.approx(
        1, abs=1e-15
    )
    for wrong, reason in (
        ({"good": 0.5, "bad": 0.2}, "0.7"),
        ({"good": -0.5, "bad": 1.5}, "-0.5"),
        ({"ok": 1.0}, "'bad'"),
    ):
        with pytest.raises(CellError, match=reason):
            shares_in(wrong, known)


def test_a_row_without_an_answer_has_no_target() -> None:
    task = custom_task(prompt="{text}", target="y", kind="classification")
    read = answer_reader(TargetSpec("y", "classification"), task)
    assert [read({"y": cell}) for cell in ("", None, " b ", 1.0)] == [None, None, Target("b"), Target("1")]
    assert read({}) is None
    number = answer_reader(TargetSpec("y", "regression"), custom_task(prompt="{text}", target="y", kind="regression"))
    assert [number({"y": cell}) for cell in ("", " 2.5")] == [None, Target(2.5)]
    with pytest.raises(CellError, match="not a number"):
        number({"y": "many"})


def test_soft_labels_come_from_a_mapping_or_from_columns() -> None:
    task = custom_task(prompt="{text}", target="y", kind="classification", labels={"no": "no", "yes": "yes"})
    soft = Target("yes", shares=(("no", 0.25), ("yes", 0.75)))
    assert answer_reader(TargetSpec("y", "classification"), task)({"y": {"yes": 0.75, "no": 0.25}}) == soft
    columns = TargetSpec("y", "classification", shares={"yes": "p1", "no": "p0"})
    assert answer_reader(columns, task)({"p0": "0.25", "p1": "0.75"}) == soft
    assert answer_reader(columns, task)({"p0": "", "p1": None}) is None


def test_labels_are_those_that_cells_name() -> None:
    rows = [{"y": ["b", "a"]}, {"y": "c"}, {"y": 5}, {"y": None}, {}]
    assert labels_in(rows, TargetSpec("y", "multilabel")) == {"a", "b", "c"}
    assert labels_in([{"y": {"no": 1}}, {"y": "yes"}], TargetSpec("y", "classification")) == {"no"}

"""The data processing inequality: what is a function of Z, what is not, and estimates that break it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis_cases import encoded_rows, measured_run, trained_model
from method_cases import Case, examples
from predgen.analysis import processing
from predgen.analysis.comparison import checks_of, measure_information
from predgen.analysis.processing import OF_Z, OWN, Check, part, processed, whole
from predgen.analysis.rows import RunRows
from predgen.analysis.runs import MiSettings
from predgen.analysis.store import Store

CASES = [
    Case("predictor", "classification", pooling="mean"),
    Case("generator", "regression"),
    Case("predgen", "classification", "linear", "token"),
    Case("predgen", "regression", "value", "token"),
    Case("predgen", "regression", "ordered", "token"),
    Case("predgen", "classification", "residual", "token"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_functions_of_z_are_linear_in_z(case: Case) -> None:
    trained = trained_model(case)
    encoded = encoded_rows(trained, examples(case.kind))
    rows = RunRows(encoded, encoded * 3, np.zeros((24, 1)), "")
    seen: list[int] = []
    found = processed(trained, rows, 3, None, seen.append)
    assert sum(seen) == 8 + 24
    z = found[whole(3)]
    assert z.shape == (24, 3)
    wanted = {"mean", "last"} | ({"first"} if case.method != "predictor" else set())
    wanted |= {"head"} if case.method == "predictor" or case.director in ("linear", "value") else set()
    wanted -= {"head"} if case.method == "generator" else set()
    assert {name for name in found if name.endswith(OF_Z)} == {part(3, g, OF_Z) for g in wanted}
    design = np.hstack([z, np.ones((24, 1))])
    for g in wanted:
        values = found[part(3, g, OF_Z)]
        assert values.shape[1] <= 3
        fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
        np.testing.assert_allclose(fitted, values, atol=1e-4 * np.abs(values).max(initial=1.0))
    own = found[part(3, "last", OWN)]
    residue = own - design @ np.linalg.lstsq(design, own, rcond=None)[0]
    assert (
        np.abs(residue).max() > 1e-3
    )  # no function of the three components, linear or other: rows differ outside of them


def test_a_prompts_first_token_has_seen_nothing() -> None:
    trained = trained_model(CASES[0])
    encoded = encoded_rows(trained, examples("classification"))
    found = processed(trained, RunRows(encoded, encoded, np.zeros((8, 1)), ""), 2, None, lambda n: None)
    assert found[part(2, "first", OWN)].shape == (8, 0)


def test_checks_find_what_grows_beyond_error(tmp_path: Path) -> None:
    run = measured_run("run", "predgen", 0.9)
    z, rng = run.arrays["trained"], np.random.default_rng(0)
    arrays = {
        **run.arrays,
        whole(4): z[:, 1:],  # nothing but noise
        part(4, "mean", OF_Z): z[:, :1],  # as no function of Z could be
        part(4, "last", OF_Z): rng.normal(size=(len(z), 2)),
        part(4, "first", OWN): np.zeros((len(z), 0)),
    }
    run = replace(run, arrays=arrays)
    settings = MiSettings(("ksg",), components=4, processing=True)
    checks = {
        (c.g, c.kind): c for c in checks_of([run], settings, measure_information([run], settings, Store(tmp_path)))
    }
    assert checks.keys() == {("mean", OF_Z), ("last", OF_Z), ("first", OWN)}
    assert checks["mean", OF_Z].is_broken
    assert checks["mean", OF_Z].part > 0.6
    assert not checks["last", OF_Z].is_broken
    assert checks["first", OWN].part == 0.0


@pytest.mark.parametrize(("more", "error", "is_broken"), [(0.2, 0.1, True), (0.05, 0.1, False), (0.2, None, False)])
def test_broken_means_beyond_the_error(more: float, error: float | None, is_broken: bool) -> None:
    assert Check("run", "ksg", "mean", OF_Z, 0.1, 0.1 + more, error).is_broken == is_broken


def test_names_of_one_k_are_not_those_of_another() -> None:
    assert not whole(10).startswith(whole(1)[:-1])
    assert processing.PROMPT_TOKENS > 1

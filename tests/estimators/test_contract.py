"""scikit-learn's own checks on both estimators; those that do not hold are listed with reasons, here and in the docs."""

import re
import warnings
from pathlib import Path

import pytest
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import check_estimator

from predgen import PredGenClassifier, PredGenRegressor
from tiny_runs import tiny_base

PAGE = Path(__file__).parents[2] / "docs" / "estimators.md"
EXPECTED = dict(re.findall(r"^\| `(check_\w+)` \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
"""Check -> why it cannot hold, as the docs say."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_base(tmp_path_factory.mktemp("base")))


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [PredGenClassifier, PredGenRegressor])
def test_checks_of_scikit_learn_hold_but_for_those_listed(base: str, estimator: type) -> None:
    model = estimator(base, max_steps=1, validation_fraction=0, batch_size=4, settings={"max_length": 512})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        found = check_estimator(model, on_skip=None, on_fail=None)
    failed = {check["check_name"]: repr(check["exception"]) for check in found if check["status"] == "failed"}
    assert {name: why for name, why in failed.items() if name not in EXPECTED} == {}
    assert sum(check["status"] == "passed" for check in found) > 30

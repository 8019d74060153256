"""Records of numbers at an offset keep all digits, and one metric chooses and judges."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_runs import PROMPT, write_csv
from predgen.errors import ConfigError
from predgen.findings.calibration import residuals
from predgen.findings.runs import gather
from tiny_experiments import run_plan, tiny_plan
from tiny_runs import tiny_base

OFFSET = 1.7e9


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("offset")
    rows = [{"text": f"number {i}", "score": str(int(OFFSET) + 10 * (i % 6))} for i in range(40)]
    data = write_csv(folder / "times.csv", rows)
    return {"model": str(tiny_base(folder / "base")), "data": str(data), "prompt": PROMPT}


def test_intervals_and_means_of_records_keep_their_digits(files: dict[str, Any], tmp_path: Path) -> None:
    records = run_plan(tiny_plan(files, methods=["generator"], settings={"rank": 2}), tmp_path)
    columns = records[0].measurements[0].predictions
    assert columns.interval is not None
    assert columns.mean is not None
    assert columns.top is not None
    width = np.ptp(np.array(columns.interval), axis=1)
    assert (width > 0).all()
    assert (width < 60).all()
    assert all(
        low <= mean <= high for mean, (low, high) in zip(columns.mean, [[OFFSET - 3, OFFSET + 53]] * 99, strict=False)
    )
    assert all(OFFSET - 3 <= number <= OFFSET + 53 for row in columns.top for number, _ in row)
    found = residuals([run for runs in gather(records, {}).done.values() for run in runs.values()][:1])
    assert found is not None
    assert found.width == pytest.approx(width.mean())


def test_another_metric_than_the_one_that_judges_is_refused_before_the_first_run(
    files: dict[str, Any], tmp_path: Path
) -> None:
    plan = tiny_plan(files, methods=["predictor"], settings={"metric": "pearson"})
    with pytest.raises(ConfigError, match=r"'pearson'.*'mse'.*`metric: mse`"):
        run_plan(plan, tmp_path)
    assert not (tmp_path / "runs").exists()

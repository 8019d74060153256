"""Which validation rows choose a run's checkpoint and which calibrate its model; and calibrating at the end of a run."""

from collections.abc import Sequence

from predgen.config import RunConfig
from predgen.core import Example, Prediction
from predgen.data.encode import Encoded
from predgen.data.splits import limit_rows
from predgen.errors import DataError
from predgen.figures import number
from predgen.inference.calibration import calibrate
from predgen.inference.trained import TrainedModel
from predgen.terminal import PlainConsole
from predgen.uncertainty.calibrate import CalibrationRows
from predgen.uncertainty.record import LEAST_ROWS, MOST_KEPT_ROWS


def dealt(rows: list[Example], most: int, config: RunConfig, kind: str) -> tuple[list[Example], list[Example]]:
    """Deal validation rows out to what looks at them while training, and to calibration; by seed, each in its order.

    Calibration has those that are not looked at, and at least half of all. Where half would be fewer than `LEAST_ROWS`, there
    is no calibration and all rows may be looked at: the choice of a checkpoint loses nothing.

    Args:
        rows: Validation rows.
        most: Most rows to look at while training.
        config: The settings.
        kind: Kind of task; math answers have nothing to calibrate.

    Returns:
        Rows to look at, and rows that calibrate (at most `MOST_KEPT_ROWS`).
    """
    half = len(rows) // 2
    calibrates = config.calibrate and kind != "math" and half >= LEAST_ROWS
    n_looked = min(most, len(rows) - half if calibrates else len(rows))
    looked = limit_rows(rows, n_looked, config.rows_seed) if n_looked < len(rows) else rows
    if not calibrates:
        return looked, []
    seen = {id(row) for row in looked}
    return looked, limit_rows([row for row in rows if id(row) not in seen], MOST_KEPT_ROWS, config.rows_seed)


def calibrate_run(
    trained: TrainedModel,
    rows: Sequence[Example],
    encoded: Sequence[Encoded],
    plain: Sequence[Prediction],
    n_validation: int,
    console: PlainConsole,
) -> None:
    """Calibrate a model that has just been trained, and say what came of it, or why it is not calibrated.

    Args:
        trained: The model.
        rows: Rows that calibrate; empty where there are too few.
        encoded: The same rows, as token ids.
        plain: What the model predicts of them, with all that is known of it.
        n_validation: All validation rows.
        console: Where it is said.
    """
    if not trained.config.calibrate or trained.model.setup.kind == "math" or not n_validation:
        return
    if not rows:
        said = (
            f"Not calibrated: half of the {n_validation} validation rows are fewer than the {LEAST_ROWS} that it takes."
            " `predgen calibrate RUN --data FILE` does it with others."
        )
    else:
        targets = CalibrationRows([row.target.value for row in rows if row.target is not None])
        try:
            found = calibrate(trained, encoded, targets, plain=plain)
        except DataError as error:  # one class alone, by chance or because there are few of the others
            said = f"Not calibrated: {error}"
        else:
            figures = [
                f"{name} {number(before, 4)} -> {number(found['after'][name], 4)}"
                for name, before in found["before"].items()
                if isinstance(before, float) and found["after"].get(name) is not None
            ]
            told = f"temperature {number(found['temperature'], 4)}; {', '.join(figures)}"
            console.print(f"Calibrated on {found['rows']} rows that chose no checkpoint: {told}.", soft_wrap=True)
            if "remark" in found:
                console.print(f"Its {found['remark']}.", soft_wrap=True)
            return
    trained.report["calibration"] = {"rows": len(rows), "remark": said}
    console.print(said, markup=False, highlight=False, soft_wrap=True)

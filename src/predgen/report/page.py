"""Put the page together and write it."""

from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

import predgen
from predgen.errors import DataError
from predgen.files import write_text
from predgen.findings.base import Findings
from predgen.findings.study_tables import study_tables
from predgen.report import words
from predgen.report.calibration import confusion_matrices, reliability_diagrams, residual_plots
from predgen.report.cost import cost_section
from predgen.report.errors import error_browser
from predgen.report.experiment import LoadedExperiment, load_experiment
from predgen.report.forest import across_tasks, forests
from predgen.report.headline import headline_grid, summary_of
from predgen.report.learning import learning_curves
from predgen.report.pictures import mutual_information
from predgen.report.provenance import absent_runs, asked, data_cards, environments, plan_text, training_command
from predgen.report.study import study_figures
from predgen.report.templates import ASSETS, policy, style, templates

FILE = "report.html"


def write_report(folder: Path, target: Path | None = None) -> Path:
    """Write the page about an experiment; a reader sees the whole page or the one before.

    Args:
        folder: The experiment's folder.
        target: The file to write; None: `report.html` in the folder.

    Returns:
        The file.

    Raises:
        DataError: If the folder is no experiment, no run is finished, or a record is damaged.
        StorageError: If the file cannot be written.
    """
    target = folder / FILE if target is None else target
    if target.is_dir() or not target.parent.is_dir():
        what = "is a folder" if target.is_dir() else "lies in a folder that does not exist; make it first"
        raise DataError(f"the page's file {str(target)!r} {what}. Give a file such as 'report.html'.")
    page = make_page(load_experiment(folder))
    write_text(target, page)
    return target


def make_page(experiment: LoadedExperiment) -> str:
    """Return the page: the same experiment gives the same text, byte by byte."""
    script = (ASSETS / "page.js").read_text(encoding="utf-8")
    page = _templates().get_template("page.html")
    return words.clean(
        page.render(
            version=predgen.__version__,
            name=experiment.folder.resolve().name,
            experiment=experiment,
            found=experiment.found,
            style=style(),
            script=Markup(script),
            policy=policy(script),
            **_figures(experiment.found),
            **_rows(experiment),
        )
    )


def _figures(found: Findings) -> dict[str, Any]:
    """What follows from the findings alone."""
    ordering, axis = across_tasks(found)
    return {
        "finding": words.finding(found),
        "seeds": words.seeds_a_figure(found),
        "study": study_tables(found),
        "study_figures": study_figures(found),
        "grid": headline_grid(found),
        "ordering": ordering,
        "ordering_axis": axis,
        "forests": forests(found, found.differences),
        "proper_forests": forests(found, found.proper_differences),
        "baseline_forests": forests(found, found.baseline_differences),
    }


def _rows(experiment: LoadedExperiment) -> dict[str, Any]:
    """What needs plan, runs and rows."""
    return {
        "asked": asked(experiment),
        "plan": plan_text(experiment),
        "curves": learning_curves(experiment),
        "reliability": reliability_diagrams(experiment),
        "residuals": residual_plots(experiment),
        "confusion": confusion_matrices(experiment),
        "browser": error_browser(experiment),
        "cost": cost_section(experiment),
        "pictures": mutual_information(experiment.folder),
        "absent": absent_runs(experiment),
        "environments": environments(experiment),
        "cards": data_cards(experiment),
    }


def _templates() -> Environment:
    """Templates with everything escaped, and the words for numbers."""
    found = templates()
    filters: dict[str, Any] = {
        "memory": words.bytes_in_words,
        "listed": words.listed,
        "settings": words.settings_in_words,
        "command": training_command,
        "metric_summary": summary_of,
    }
    found.filters.update(filters)
    found.globals.update(decimals_for=words.decimals_for)
    return found

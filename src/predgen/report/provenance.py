"""Where the figures come from: the plan, data, environments, and the command behind every run."""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from predgen import registries
from predgen.components import value_of
from predgen.config import RunConfig, all_settings, renamed, without_useless
from predgen.core import TaskSpec
from predgen.records import Record
from predgen.report.drawing import Panel, frame, scale_for
from predgen.report.experiment import LoadedExperiment
from predgen.report.words import count, listed, settings_in_words

_SIZE = (280, 180)
_DIGEST = 12
_SAMPLE = 25  # labels that a table of targets shows


@dataclass(frozen=True, slots=True)
class DataCard:
    """The rows of one task.

    Attributes:
        task: Measured task.
        kind: "classification", "regression" or "math".
        facts: (name, text) pairs: licence, source, prompt, labels or scale, and so on.
        splits: (split, rows, digest) of each split of the first run on it.
        differing: Splits that were not the same in all runs; empty where all is well.
        truncated: Truncated measured rows per variant, where there are any.
        labels: (label, training rows or None, measured rows), for labels.
        drawing: Distribution of the measured targets, for numbers.
    """

    task: str
    kind: str
    facts: list[tuple[str, str]]
    splits: list[tuple[str, int, str]]
    differing: list[str]
    truncated: list[tuple[str, int]]
    labels: list[tuple[str, int | None, int]]
    drawing: Markup | None


@dataclass(frozen=True, slots=True)
class Absent:
    """Runs that are in no figure, for the same reason.

    Attributes:
        status: "failed", "refused" or "missing".
        reason: What went wrong.
        runs: Their names.
        traceback: Where it went wrong; "" if it is not known.
    """

    status: str
    reason: str
    runs: list[str]
    traceback: str


@dataclass(frozen=True, slots=True)
class Environments:
    """Where the runs were made.

    Attributes:
        runs: Runs made in each environment.
        lines: Name -> its value in each environment, and whether the values differ.
    """

    runs: list[int]
    lines: dict[str, tuple[list[str], bool]]


def asked(experiment: LoadedExperiment) -> list[tuple[str, str]]:
    """Return the plan in words, as (subject, text) pairs."""
    plan, found = experiment.plan, experiment.found
    told = [
        ("Tasks", _tasks(plan.get("tasks") or [], found.tasks)),
        ("Methods", "; ".join(_variant(v) for v in plan.get("variants") or [])),
        ("Baselines", "; ".join(map(_baseline, plan.get("baselines") or []))),
        ("Settings of baselines", settings_in_words(plan.get("baseline_settings") or {})),
        ("Seeds", _seeds(plan.get("seeds") or found.seeds, bool(plan.get("screen")))),
        ("Base model", _base_model(experiment)),
        ("Rows", _rows(plan, found.split)),
        ("Training", _training(experiment)),
        ("Tuning", _tuning(plan)),
        ("Settings of all runs", settings_in_words(plan.get("settings") or {})),
    ]
    return [(subject, text) for subject, text in told if text]


def _baseline(name: str) -> str:
    """A baseline in words, as far as it is known here."""
    return f"{name}: {registries.baselines.summary(name)}" if name in registries.baselines else name


def _base_model(experiment: LoadedExperiment) -> str:
    """Base models that were tuned, and how; before the first run of a method, the one that is asked for."""
    if experiment.found.models:
        return f"{listed(experiment.found.models)}, tuned with {listed(_configured(experiment.done, 'peft'))}"
    settings = experiment.plan.get("settings") or {}
    return f"{settings.get('model', RunConfig.model)}; no run of a method is finished yet"


def _variant(variant: Mapping[str, Any]) -> str:
    """A variant and its settings."""
    settings = {name: value for name, value in (variant.get("settings") or {}).items() if name != "method"}
    return f"{variant['name']} ({settings_in_words(settings)})" if settings else str(variant["name"])


def _tasks(asked: Sequence[str], measured: Sequence[str]) -> str:
    """Tasks that were asked for, and which of them have figures."""
    names = [*asked, *(name for name in measured if name not in asked)]
    told = f"{count(len(names), 'task')}: {listed(names)}"
    missing = [name for name in names if name not in measured]
    return f"{told}; no figures yet of {listed(missing)}" if missing else told


def _seeds(seeds: Sequence[int], is_screened: bool) -> str:
    """Seeds, and what they are for."""
    told = listed([str(seed) for seed in seeds])
    if len(seeds) == 1:
        return f"{told}: one seed, so that nothing is known about other seeds"
    screen = "; further ones only for tasks where a method beats the constant baseline at the first, on validation rows"
    return f"{told}: a run for each; all share their rows, baselines that do not train run once{screen if is_screened else ''}"


def _configured(runs: Iterable[Record], name: str) -> list[str]:
    """All values of a setting that methods (not baselines) have."""
    values = [str(run.config[name]) for run in runs if name in run.config and run.cell.get("baseline") is None]
    return list(dict.fromkeys(values)) or ["nothing"]


def _rows(plan: Mapping[str, Any], split: str) -> str:
    """Which rows select, and which are reported."""
    most = plan.get("scored_rows")
    limit = f", at most {most:,} of each" if most else ""
    if split == "validation":
        return f"figures are on validation rows, which also selected the checkpoints; test rows stay unseen{limit}"
    return f"validation rows select the checkpoint, figures are on {split} rows{limit}"


def _training(experiment: LoadedExperiment) -> str:
    """The budget."""
    tokens = experiment.plan.get("train_tokens")
    settings = experiment.plan.get("settings") or {}
    told = [f"at most {tokens:,} training tokens a run, all passes counted"] if tokens else []
    methods = {variant.name for variant in experiment.found.variants if variant.baseline is None}
    costs = [cost for cost in experiment.found.costs if cost.variant in methods]
    steps = sorted({int(cost.optimizer_steps) for cost in costs if cost.optimizer_steps})
    if steps:
        span = f"{steps[0]:,} to {steps[-1]:,}" if len(steps) > 1 else f"{steps[0]:,}"
        told.append(f"{span} optimizer steps")
    names = [name for name in ("epochs", "batch_size", "limit") if name in settings]
    told += [f"{name.replace('_', ' ')} {settings[name]}" for name in names]
    return ", ".join([*told, "the same data, prompts and steps for every method of a task"])


def _tuning(plan: Mapping[str, Any]) -> str:
    """What was tuned."""
    tune = plan.get("tune") or {}
    if not tune:
        return "none: every method ran with its given settings"
    trials = f", {plan['trials']} trials each" if plan.get("trials") else ""
    return "; ".join(f"{name} of {listed([str(v) for v in values], 'or')}" for name, values in tune.items()) + trials


def data_cards(experiment: LoadedExperiment) -> list[DataCard]:
    """Describe the rows of every measured task."""
    return [_card(experiment, task) for task in experiment.found.tasks]


def _card(experiment: LoadedExperiment, task: str) -> DataCard:
    """The rows of one task."""
    runs = [run for run in experiment.done if any(m.task == task for m in run.measurements)]
    shown = experiment.of_task(task)
    targets = shown[0].measurement.predictions.target if shown else []
    kind = shown[0].kind if shown else ""
    data: Mapping[str, Any] = next((run.data for run in runs if run.data), {})
    truncated = [(one.variant, one.measurement.counts.get("truncated", 0)) for one in shown]
    return DataCard(
        task,
        kind,
        _facts(task, data, {run.task for run in runs}),
        [(name, part["rows"], str(part["digest"])[:_DIGEST]) for name, part in (data.get("splits") or {}).items()],
        _differing(runs),
        [(variant, n) for variant, n in truncated if n],
        _labels(data, targets) if kind == "classification" else [],
        _histogram(task, [float(t) for t in targets]) if kind != "classification" and targets else None,
    )


def _facts(task: str, data: Mapping[str, Any], sources: set[str]) -> list[tuple[str, str]]:
    """What task and record say about the rows."""
    spec: TaskSpec | None = value_of(registries.tasks, task) if task in registries.tasks else None
    trained_on = listed(sorted(sources)) if sources != {task} else ""
    labels = data.get("labels") or (list(spec.labels.values()) if spec else [])
    scale = data.get("scale") or (spec.scale if spec else None)
    told = [
        ("What", registries.tasks.summary(task) if spec else "a file of the user's own"),
        ("Trained on the rows of", trained_on),
        ("Licence", str(data.get("licence") or (spec.licence if spec else ""))),
        ("Source", str(data.get("source") or (spec.source if spec else ""))),
        ("Version of the task", str(data.get("task_version") or (spec.version if spec else ""))),
        ("Prompt", str(data.get("prompt") or (spec.prompt if spec else ""))),
        ("Labels", listed([str(label) for label in labels[:_SAMPLE]])),
        ("Scale", f"{scale[0]:g} to {scale[1]:g}" if scale else ""),
        ("Skipped rows", str(data.get("skipped_rows") or "")),
    ]
    return [(name, text) for name, text in told if text]


def _differing(runs: Sequence[Record]) -> list[str]:
    """Splits whose digests are not the same in all runs."""
    digests: dict[str, set[str]] = {}
    for run in runs:
        for name, part in (run.data.get("splits") or {}).items():
            digests.setdefault(name, set()).add(str(part["digest"]))
    return [name for name, found in digests.items() if len(found) > 1]


def _labels(data: Mapping[str, Any], targets: Sequence[Any]) -> list[tuple[str, int | None, int]]:
    """Rows per label, the most frequent first."""
    train = (data.get("targets") or {}).get("rows") or {}
    measured = Counter(map(str, targets))
    names = sorted({*measured, *train}, key=lambda name: (-measured[name], name))
    return [(name, train.get(name, 0) if train else None, measured[name]) for name in names[:_SAMPLE]]


def _histogram(task: str, numbers: Sequence[float]) -> Markup:
    """How many measured targets there are of which size."""
    across, up = frame(_SIZE)
    counts, edges = np.histogram(numbers, bins=min(20, max(1, len(set(numbers)))))
    label = f"Targets of {task}, {len(numbers)} rows: from {min(numbers):g} to {max(numbers):g}, mean {np.mean(numbers):.3g}."
    y = scale_for([0.0, float(counts.max())], *up, margin=0)
    panel = Panel(label, scale_for(edges.tolist(), *across, margin=0.02), y, "target", "rows", _SIZE)
    for n, low, high in zip(counts, edges, edges[1:], strict=False):
        panel.box((float(low), 0.0), (float(high), float(n)), "amount")
    return panel.markup()


def environments(experiment: LoadedExperiment) -> Environments:
    """Return all distinct environments, those with the most runs first."""
    told = [tuple((name, _plain(value)) for name, value in run.environment.items()) for run in experiment.done]
    ordered = Counter(told).most_common()
    names = dict.fromkeys(name for environment, _ in ordered for name, _ in environment)
    lines = {}
    for name in names:
        values = [dict(environment).get(name, "not recorded") for environment, _ in ordered]
        lines[name] = (values, len(set(values)) > 1)
    return Environments([runs for _, runs in ordered], lines)


def _plain(value: Any) -> str:  # noqa: ANN401
    """A fact as text."""
    return "none" if value is None else str(value)


def absent_runs(experiment: LoadedExperiment) -> list[Absent]:
    """Return what is in no figure, runs with the same reason together."""
    errors = {run.id: run.error or {} for run in experiment.runs}
    groups: dict[tuple[str, str], Absent] = {}
    for short in experiment.found.shortfalls:
        where = errors.get(short.record, {}).get("traceback", "")
        group = groups.setdefault((short.status, short.reason), Absent(short.status, short.reason, [], where))
        group.runs.append(short.record)
    return list(groups.values())


def training_command(run: Record) -> str:
    """Return the `predgen train` command with the settings of a run, those of its PEFT method and defaults left out."""
    config = without_useless(
        renamed(run.config, says=False), all_settings()
    )  # a run of 0.1 has recorded all settings that there are
    defaults = {
        name: listed.defaults.get(config.get("peft", "lora"), listed.default) for name, listed in all_settings().items()
    }
    words = ["predgen", "train"]
    for name, default in defaults.items():
        value = config.get(name)
        if value is None or (value == default and name not in ("task", "method", "peft", "seed")):
            continue
        flag = "--" + name.replace("_", "-")
        words += [flag if value else f"--no{flag[1:]}"] if isinstance(value, bool) else [flag, str(value)]
    return shlex.join([*words, "--out", f"RUN-{run.id}"])


def plan_text(experiment: LoadedExperiment) -> str:
    """Return the plan as YAML, without what was not asked for."""
    kept = {name: value for name, value in experiment.plan.items() if value not in (None, [], {})}
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)

"""Saved runs as an analysis sees them: who they are, their answers Y, and the components Z that are measured."""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from predgen import registries
from predgen.analysis import processing
from predgen.analysis.reduction import fit_reduction
from predgen.analysis.representations import answer_slots, represent, require_tokens, with_random_weights, writes
from predgen.analysis.rows import Outcomes, RunRows, Source, check_enough, rows_of_run
from predgen.analysis.store import Store
from predgen.errors import ConfigError
from predgen.inference.trained import TrainedModel, load
from predgen.settings import declared

TRAINED, SHUFFLED, RANDOM = "trained", "shuffled labels", "random weights"
"""What is measured of a run: the model itself; the same states with Y in another order; an untrained model's states."""

Representations = dict[str, npt.NDArray[np.float64]]
Maker = Callable[[Callable[[int], None]], Representations]
ShowProgress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Shows something being done: called with a title and a number of steps, gives the function that counts them."""


@contextmanager
def silent(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Progress that is not shown."""
    yield lambda steps: None


@dataclass(frozen=True, slots=True)
class MiSettings:
    """What to measure, equal for all runs.

    Attributes:
        estimators: Registry names.
        components: k of the comparison.
        sweep: Further ks, for the sweep.
        seeds: Seeds of estimators, shuffles and random weights; each adds one estimate of everything.
        answer_tokens: m_max; None: see `representations.answer_slots`.
        processing: Whether to measure what pooling leaves, too.
        own: Own settings of the estimators, as far as they are given.
    """

    estimators: tuple[str, ...]
    components: int = 10
    sweep: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    answer_tokens: int | None = None
    processing: bool = False
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def all_components(self) -> list[int]:
        """Every k to measure, ascending."""
        return sorted({self.components, *self.sweep})

    def made_with(self, run: "RunStates", estimator: str) -> dict[str, Any]:
        """Return all that the estimates of a run depend on, besides their own keys; an estimator's defaults go without saying."""
        defaults = declared(registries.mi_estimators.settings_of(estimator))
        given = {n: v for n, v in self.own.items() if n in defaults and v != defaults[n].default}
        return {**run.made_with, **given}

    def check(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            ConfigError: If there is no estimator or no seed, or a k or m_max is below 1.
        """
        require_tokens(self.answer_tokens)
        have = {name for one in self.estimators for name in declared(registries.mi_estimators.settings_of(one))}
        for name in self.own.keys() - have:
            raise ConfigError(
                f"`{name}` is a setting of none of the estimators {', '.join(self.estimators)}. Leave it out."
            )
        for name, given in (("estimators", self.estimators), ("seeds", self.seeds)):
            if not given:
                raise ConfigError(f"`{name}` is empty; give at least one.")
        if self.all_components[0] < 1:
            raise ConfigError(f"`components` is {self.all_components[0]}, but at least 1 component is needed.")


@dataclass(frozen=True)
class RunStates:
    """A run with everything that is measured of it.

    Attributes:
        label: Its name in tables and files.
        task: The task's name, or the target's column for files of the user's.
        method: "predictor", "generator" or "predgen".
        outcomes: Y of the rows to measure.
        arrays: Name -> components of the rows to measure, rows x k.
        made_with: What the arrays depend on, plain data.
        facts: What a reader of the table should know, plain data.
    """

    label: str
    task: str
    method: str
    outcomes: Outcomes
    arrays: Mapping[str, npt.NDArray[np.float64]]
    made_with: Mapping[str, Any]
    facts: Mapping[str, Any]


def run_labels(folders: Sequence[Path]) -> list[str]:
    """Name each run by its folder, with the folders above where names are equal.

    Raises:
        ConfigError: If a run is given twice, or none is given.

    Example:
        >>> run_labels([Path("a/predgen"), Path("b/predgen"), Path("c")])
        ['a-predgen', 'b-predgen', 'c']
    """
    places = [folder.resolve() for folder in folders]
    if not places:
        raise ConfigError("no runs were given. Name the folders of saved models.")
    if len(set(places)) < len(places):
        twice = next(str(folder) for folder, place in zip(folders, places, strict=True) if places.count(place) > 1)
        raise ConfigError(f"run {twice!r} is given twice; name each run once.")
    depth = 1
    while len({place.parts[-depth:] for place in places}) < len(places):
        depth += 1
    names = [place.name for place in places]
    return [
        re.sub(r"[^\w.-]", "_", "-".join(place.parts[-depth:] if names.count(place.name) > 1 else (place.name,)))
        for place in places
    ]


def task_name(trained: TrainedModel) -> str:
    """The task's name, or the target's column for files of the user's."""
    return trained.config.task or trained.task.target


def read_runs(
    folders: Sequence[Path],
    source: Source,
    settings: MiSettings,
    store: Store,
    *,
    base: str | None = None,
    trust_remote_code: bool = False,
    progress: ShowProgress = silent,
) -> list[RunStates]:
    """Load runs one after the other and bring each to the components that are measured; finished ones are not run again.

    Args:
        folders: Saved runs.
        source: Rows to measure on.
        settings: What to measure.
        store: Where states are kept.
        base: Where the base model lies now, if it was moved.
        trust_remote_code: Let models run Python code of their base that they were trained with.
        progress: How to show it.

    Raises:
        ConfigError: If settings do not fit the runs, or the runs do not fit each other.
        DataError: If rows cannot be used.
        ModelError: If states are not finite.
    """
    settings.check()
    found: list[RunStates] = []
    for folder, label in zip(folders, run_labels(folders), strict=True):
        trained = load(folder, base=base, merge_adapter=True, trust_remote_code=trust_remote_code)
        rows = rows_of_run(trained, source)
        check_enough(rows.outcomes, settings.estimators)
        _require_fit(found, label, task_name(trained), rows, source)
        found.append(_read_run(trained, label, rows, settings, store, progress))
    return found


def _read_run(
    trained: TrainedModel, label: str, rows: RunRows, settings: MiSettings, store: Store, progress: ShowProgress
) -> RunStates:
    """One run."""
    tokens = answer_slots(trained, settings.answer_tokens) if writes(trained) else None
    made_with = {"run": _fingerprint(trained), "rows": rows.digest, "answer_tokens": tokens}
    arrays = store.states(label, made_with) or {}
    wanted = _wanted(trained, rows, settings)
    for name, (components, make) in wanted.items():
        kept = arrays.get(name)
        if kept is None or kept.shape[1] < components:
            with progress(f"states of {label}: {name}", len(rows.train) + len(rows.test)) as advance:
                arrays |= make(advance)
            store.keep_states(label, made_with, arrays)
    task, method = task_name(trained), trained.model.setup.method
    facts = {
        "run": label,
        "task": task,
        "method": method,
        "base": trained.base.name,
        "training_rows": trained.report.get("train_rows"),
        "fit_rows": len(rows.train),
        "rows": len(rows.test),
        "answer_tokens": tokens,
        "pooling": None if tokens else trained.model.setup.own.pooling,
        "trained_on": _digest(sorted(trained.trained_rows.digests)) if trained.trained_rows else None,
    }
    return RunStates(label, task, method, rows.outcomes, arrays, made_with, facts)


def _wanted(trained: TrainedModel, rows: RunRows, settings: MiSettings) -> dict[str, tuple[int, Maker]]:
    """Name of each array -> its least number of columns, and what makes it (perhaps along with others)."""
    most = settings.all_components[-1]

    def reduced(name: str, model: Callable[[], TrainedModel]) -> Maker:
        def make(advance: Callable[[int], None]) -> Representations:
            return {name: _reduced(model(), rows, settings, name, advance)}

        return make

    found: dict[str, tuple[int, Maker]] = {TRAINED: (most, reduced(TRAINED, lambda: trained))}
    for seed in settings.seeds:
        name = f"{RANDOM} {seed}"
        found[name] = most, reduced(name, functools.partial(with_random_weights, trained, seed))
    if settings.processing:
        k = settings.components
        found[processing.whole(k)] = (
            k,
            lambda advance: processing.processed(trained, rows, k, settings.answer_tokens, advance),
        )
    return found


def _reduced(
    trained: TrainedModel, rows: RunRows, settings: MiSettings, where: str, advance: Callable[[int], None]
) -> npt.NDArray[np.float64]:
    """Components of the rows to measure, by PCA on the training rows."""
    train, test = (represent(trained, part, settings.answer_tokens, advance) for part in (rows.train, rows.test))
    return fit_reduction(train, settings.all_components[-1], where).reduced(test)


def _fingerprint(trained: TrainedModel) -> str:
    """Tells one training run from another: settings, and all that was measured while training."""
    return _digest([trained.config.to_dict(), trained.report, trained.model.setup.to_dict()])


def _digest(data: Any) -> str:  # noqa: ANN401
    """Short fingerprint of plain data."""
    return hashlib.blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=8).hexdigest()


def _require_fit(before: Sequence[RunStates], label: str, task: str, rows: RunRows, source: Source) -> None:
    """Refuse runs that cannot be compared on these rows.

    Raises:
        ConfigError: If a file is measured by runs of different tasks, or runs of one task would be measured on other rows.
    """
    for run in before:
        if run.task != task:
            if source.data is not None:
                raise ConfigError(
                    f"run {run.label!r} is of task {run.task!r}, but {label!r} of {task!r}: one file (--data"
                    f" {source.data!r}) can be measured by runs of one task only. Give `split` instead, or runs of one task."
                )
        elif run.made_with["rows"] != rows.digest:
            raise ConfigError(
                f"runs {run.label!r} and {label!r} of task {task!r} would be measured on different rows: their splits"
                " were made with different seeds, or in different folders. Give the rows as a file (`data`), or train the runs"
                " with one `seed`."
            )

"""What an experiment asks for, as plain data, and the runs that follow from it.

A plan is read from YAML or made from flags; it expands to cells. A cell is one run: a task, a variant (method with its
settings) and a seed. All variants get the same rows, steps, prompts and seeds; what differs between two variants is what
their names say.
"""

import dataclasses
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from predgen import registries
from predgen.components import owned, value_of
from predgen.config import RENAMED, RunConfig, all_settings, config_from, has_setting, renamed, without_useless
from predgen.errors import ConfigError
from predgen.near_names import near_matches
from predgen.records import Stage
from predgen.settings import declared

BASELINES = ("constant", "tfidf", "zero_shot")
"""Baselines that a plan has if it does not say otherwise."""
OWN_FILE = "data"
"""Name of the task that a user's own file is."""

_EQUAL = frozenset(
    "task data data_dir validation_data prompt target kind weight_column limit bad_rows seed split_seed eval_rows"
    " epochs max_steps batch_size gradient_accumulation".split()
)
"""Settings that must not differ between variants: they decide on data, prompts and number of steps."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A method with the settings in which it differs from others of the plan.

    Attributes:
        name: Shown in tables and file names, e.g. "predgen loss=sum".
        settings: Settings of `RunConfig`, among them `method`.
    """

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """One run.

    Attributes:
        task: Task to train on, or `OWN_FILE`.
        tests: Tasks whose rows to measure; its own, or several that share the training rows (math).
        variant: Name of the variant or baseline.
        baseline: One of `registries.baselines`, or None for a variant.
        seed: Seed of the run.
        stage: "final", or "trial" of tuning.
        settings: All settings that are not defaults, for `RunConfig`.
        choice: Those of them that a trial tries, or that tuning chose.
        measure_on: "test" or "validation".
        scored_rows: Most rows to measure of each split; None: all.
        test_data: File with the test rows, where the task is the user's own file; None: 20 % of it.
        screen: Compare with the constant baseline on validation rows, too.
        trial: Number of the trial, counted from 0; None in final runs.
        own: The baseline's own settings, as far as they were given.
    """

    task: str
    tests: tuple[str, ...]
    variant: str
    baseline: str | None
    seed: int
    stage: Stage
    settings: Mapping[str, Any]
    choice: Mapping[str, Any] = field(default_factory=dict)
    measure_on: str = "test"
    scored_rows: int | None = None
    test_data: str | None = None
    screen: bool = False
    trial: int | None = None
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Name of the run and of its file."""
        variant = "".join(c if c.isalnum() or c in "=.+-_" else "-" for c in self.variant.replace(" ", "-"))
        last = f"seed{self.seed}" if self.trial is None else f"trial{self.trial}"
        return f"{self.task}--{variant}--{last}"

    def config(self) -> RunConfig:
        """Return the run's settings.

        Raises:
            ConfigError: If they contradict each other.
        """
        return config_from(self.settings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        if not self.own:  # a run that was made before baselines had settings is the same run
            del found["own"]
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Cell":
        """Read what `to_dict` wrote."""
        return cls(**{**data, "tests": tuple(data["tests"])})


@dataclass(frozen=True, slots=True)
class Plan:
    """An experiment.

    Attributes:
        tasks: Tasks to measure; empty for a file of the user's (`settings["data"]`).
        variants: Methods with their settings.
        baselines: Of `registries.baselines`.
        baseline_settings: Own settings of theirs.
        seeds: A run per variant and seed; baselines that do not train run once.
        settings: Settings of `RunConfig` shared by all runs.
        preset: Settings per task to start from (`predgen ls presets`).
        tune: Setting -> values to try on validation rows, before the final runs.
        trials: Trials per variant and task; None: as many as the smallest of the variants' grids has points.
        train_tokens: Most training tokens a run, all passes counted, prompts and answers; it sets `limit` per task.
        scored_rows: Most validation rows, and most test rows, to measure.
        test_data: Test file where the task is the user's own.
        train_on: Task that math tasks without training rows are trained on.
        measure_on: "test", or "validation" for choosing between settings: test rows then stay unseen.
        screen: Run further seeds only for tasks where a variant beats the constant baseline at the first one, on validation rows.
        keep_models: Keep the trained models in `EXP/models`.
        study: Study of the paper that this is the analogue of, such as "table2".
        headline: Names of the variants to compare with each other, chosen before figures are seen: their pairs and the tasks
            are what p-values are corrected for. None: all variants.
        reference: Name of the variant that the others are compared with, as where one setting is changed at a time; None:
            all pairs.

    Raises:
        ConfigError: If the plan contradicts itself.
    """

    tasks: tuple[str, ...]
    variants: tuple[Variant, ...]
    baselines: tuple[str, ...] = BASELINES
    baseline_settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    tune: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    trials: int | None = None
    train_tokens: int | None = None
    scored_rows: int | None = None
    test_data: str | None = None
    train_on: str = "gsm8k"
    measure_on: str = "test"
    screen: bool = False
    keep_models: bool = False
    study: str | None = None
    headline: tuple[str, ...] | None = None
    reference: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(registries.tasks.canonical(task) for task in self.tasks))
        _rename(self)
        _check_rows(self)
        _check_variants(self)
        _check_names(self)
        _check_baselines(self)
        if self.tune:
            _check_tuning(self)
        for source in self.sources:  # values that no run can have are told now
            for cell in [*self.cells(source, self.seeds[0], {}), *self.trial_cells(source)]:
                cell.config()

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """Task to train on -> tasks that its models are measured on."""
        if not self.tasks:
            return {OWN_FILE: (OWN_FILE,)}
        found: dict[str, list[str]] = {}
        for task in self.tasks:
            source = task if "train" in value_of(registries.tasks, task).files else self.train_on
            found.setdefault(source, []).append(task)
        return {source: tuple(tests) for source, tests in found.items()}

    @property
    def n_trials(self) -> int:
        """Trials per variant and task: the same for every variant."""
        if not self.tune:
            return 0
        return self.trials or min(len(_grid(self, variant)) for variant in self.variants)

    @property
    def untrained(self) -> str:
        """The method that answers without training: one that needs no head, for rows of the form that the variants have."""
        form = _form_of(self.variants[0]) if self.variants else "paper"
        facts = {name: registries.methods.facts(name) for name in registries.methods}
        return next(name for name, f in facts.items() if f.get("headless") and f.get("form", "paper") == form)

    def settings_of(self, source: str, own: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of a run on a task.

        Args:
            source: Task to train on.
            own: Settings of the variant, which override those shared by all.
        """
        asked = {**self.settings, **own}
        start: Mapping[str, Any] = {}
        if self.preset is not None:
            peft = (asked["peft"],) if "peft" in asked else ()
            start = registries.presets.get(self.preset)(source, *peft).settings
        settings = {"split_seed": 0, **start, **asked}
        if source != OWN_FILE:
            settings["task"] = source
        if self.scored_rows is not None:
            settings["eval_rows"] = self.scored_rows
        shared = settings.keys() - own.keys()  # not all methods and tasks have all of these
        return without_useless(settings, shared | self._of_other_kinds(source, settings, own))

    def _of_other_kinds(self, source: str, settings: Mapping[str, Any], own: Mapping[str, Any]) -> set[str]:
        """Answer formats of a variant (decimals of numbers, say) that are for other tasks of the plan, of another kind."""
        formats = {name for name, one in owned([registries.codecs]).items() if name in own}
        if not formats:
            return set()
        others = [without_useless({**settings, "task": task}, formats) for task in self.sources if task != source]
        return {name for name in formats if any(name in kept for kept in others)}

    def cells(self, source: str, seed: int, choices: Mapping[str, Mapping[str, Any]]) -> list[Cell]:
        """Final runs on a task with a seed; baselines that do not train come with the first seed, for they have no other.

        Args:
            source: Task to train on.
            seed: One of `seeds`.
            choices: Variant -> settings that tuning chose.
        """
        common: dict[str, Any] = {
            "task": source,
            "tests": self.sources[source],
            "seed": seed,
            "stage": "final",
            "measure_on": self.measure_on,
            "scored_rows": self.scored_rows,
            "test_data": self.test_data,
            "screen": self.screen,
        }
        cells = [
            Cell(
                variant=variant.name,
                baseline=None,
                choice=choices.get(variant.name, {}),
                settings=self.settings_of(source, {**variant.settings, **choices.get(variant.name, {}), "seed": seed}),
                **common,
            )
            for variant in self.variants
        ]
        untrained = self.settings_of(source, {"method": self.untrained, "peft": "none", "seed": seed})
        return [
            Cell(variant=name, baseline=name, settings=untrained, own=self._own_of(name), **common)
            for name in self.baselines
            if seed == self.seeds[0] or registries.baselines.facts(name).get("trains", False)
        ] + cells

    def _own_of(self, baseline: str) -> dict[str, Any]:
        """What the plan says of a baseline's own settings."""
        own = declared(registries.baselines.settings_of(baseline))
        return {name: value for name, value in self.baseline_settings.items() if name in own}

    def trial_cells(self, source: str) -> list[Cell]:
        """Tuning runs on a task: the same number for every variant, measured on validation rows only, first seed."""
        cells: list[Cell] = []
        for cell in self.cells(source, self.seeds[0], {}) if self.tune else []:
            if cell.baseline is not None:
                continue
            variant = next(v for v in self.variants if v.name == cell.variant)
            for number, choice in enumerate(_trials(self, variant)):
                settings = {**cell.settings, **choice}
                cells.append(replace(cell, stage="trial", trial=number, choice=choice, settings=settings))
        return cells

    def all_cells(self) -> list[Cell]:
        """All runs, as far as they are known before the first of them: tuning runs, then final ones."""
        trials = [cell for source in self.sources for cell in self.trial_cells(source)]
        pairs = [(source, seed) for source in self.sources for seed in self.seeds]
        return trials + [cell for source, seed in pairs for cell in self.cells(source, seed, {})]

    def to_dict(self) -> dict[str, Any]:
        """Return plain YAML data."""
        found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return found


def variants_of(methods: Sequence[str], vary: Mapping[str, Sequence[Any]]) -> tuple[Variant, ...]:
    """Every method with every combination of the settings it has.

    Args:
        methods: Names of methods.
        vary: Setting -> values; a setting that a method has not (a loss for the Predictor) does not multiply it.

    Example:
        >>> [v.name for v in variants_of(["predictor", "predgen"], {"loss": ["sum", "wdal"], "peft": ["lora"]})]
        ['predictor', 'predgen loss=sum', 'predgen loss=wdal']
    """
    found = []
    for method in map(registries.methods.canonical, methods):
        own = {name: values for name, values in vary.items() if has_setting(method, name)}
        for values in itertools.product(*own.values()):
            settings = dict(zip(own, values, strict=True))
            told = [f"{name}={value}" for name, value in settings.items() if len(own[name]) > 1]
            found.append(Variant(" ".join([method, *told]), {"method": method, **settings}))
    return tuple(found)


def one_at_a_time(base: Variant, factors: Mapping[str, Sequence[Any]]) -> tuple[Variant, ...]:
    """The base variant, and it with one setting changed at a time.

    Example:
        >>> base = Variant("predgen", {"method": "predgen"})
        >>> [v.name for v in one_at_a_time(base, {"loss": ["sum"], "p_max": [0.5, 0.9]})]
        ['predgen', 'predgen loss=sum', 'predgen p_max=0.5', 'predgen p_max=0.9']
    """
    changed = [
        Variant(f"{base.name} {name}={value}", {**base.settings, name: value})
        for name, values in factors.items()
        for value in values
    ]
    return (base, *changed)


def _grid(plan: Plan, variant: Variant) -> list[dict[str, Any]]:
    """All combinations of tuned settings that a variant has and does not fix itself."""
    method = variant.settings["method"]
    own = {n: v for n, v in plan.tune.items() if has_setting(method, n) and n not in variant.settings}
    return [dict(zip(own, values, strict=True)) for values in itertools.product(*own.values())]


def _trials(plan: Plan, variant: Variant) -> list[dict[str, Any]]:
    """`n_trials` points of a variant's grid, by seed, in the grid's order."""
    grid = _grid(plan, variant)
    chosen = random.Random(plan.seeds[0]).sample(range(len(grid)), plan.n_trials)
    return [grid[i] for i in sorted(chosen)]


def _check_rows(plan: Plan) -> None:
    """Refuse plans without tasks, with contradicting sources, or without seeds."""
    if bool(plan.tasks) == ("data" in plan.settings):
        raise ConfigError(
            "give either `tasks` (`predgen ls tasks`) or `data` (your own file), not both and not neither."
        )
    if plan.test_data is not None and plan.tasks:
        raise ConfigError("`test_data` belongs to your own file (`data`); tasks declare their own test rows.")
    if plan.measure_on not in ("test", "validation"):
        raise ConfigError(f"`measure_on` is {plan.measure_on!r}, but must be 'test' or 'validation'.")
    if plan.measure_on == "validation" and any(source not in tests for source, tests in plan.sources.items()):
        raise ConfigError(
            "`measure_on` 'validation' needs tasks with training rows of their own; leave the others out."
        )
    if not plan.seeds or len(set(plan.seeds)) < len(plan.seeds):
        raise ConfigError(f"`seeds` is {list(plan.seeds)}; give one or more different numbers, such as 0,1,2.")
    for name in ("trials", "train_tokens", "scored_rows"):
        value = getattr(plan, name)
        if value is not None and value < 1:
            raise ConfigError(f"`{name}` is {value}, but must be at least 1.")
    if plan.train_tokens is not None and {"limit", "max_steps"} & set(plan.settings):
        raise ConfigError(
            "`train_tokens` sets the number of training rows, as `limit` and `max_steps` do; give one of them."
        )


def _check_variants(plan: Plan) -> None:
    """Refuse variants that are not told apart, or would get other data or other numbers of steps."""
    names = [variant.name for variant in plan.variants]
    if not names and not plan.baselines:
        raise ConfigError("the plan has no methods and no baselines; give `methods`.")
    twice = {name for name in names if names.count(name) > 1} | (set(names) & set(plan.baselines))
    if twice:
        raise ConfigError(f"two variants are called {', '.join(map(repr, sorted(twice)))}; give each its own `name`.")
    named = [("headline", name) for name in plan.headline or ()]
    if plan.reference is not None:
        named.append(("reference", plan.reference))
    for key, name in named:
        if name.removesuffix(" (mean)") not in names:
            raise ConfigError(f"`{key}` names {name!r}.{near_matches(name, names)} The plan has: {', '.join(names)}.")
    for variant in plan.variants:
        if "method" not in variant.settings:
            raise ConfigError(f"variant {variant.name!r} has no `method`; known: {', '.join(registries.methods)}.")
        unequal = sorted(_EQUAL & set(variant.settings))
        if unequal:
            raise ConfigError(
                f"variant {variant.name!r} sets {', '.join(unequal)}: variants would differ in data or steps. Set it for all"
                " runs instead, or make two experiments."
            )
    if len({_form_of(variant) for variant in plan.variants}) > 1:
        raise ConfigError(
            "variants see other rows: method 'options' asks without the options, and the others with them. Make two experiments."
        )


def _rename(plan: Plan) -> None:
    """Call settings of the first version as they are called now."""
    if not set(RENAMED) & set(plan.settings):
        return
    old = {name: value for name, value in plan.settings.items() if name in RENAMED}
    variants = [replace(v, settings=renamed({**old, **v.settings})) for v in plan.variants]
    object.__setattr__(plan, "variants", tuple(variants))
    object.__setattr__(plan, "settings", {n: value for n, value in plan.settings.items() if n not in old})


def _form_of(variant: Variant) -> str:
    """Form of the rows that a variant is trained on."""
    return str(registries.methods.facts(variant.settings["method"]).get("form", "paper"))


def _check_names(plan: Plan) -> None:
    """Refuse unknown settings and baselines."""
    known = list(all_settings())
    places = [("settings", plan.settings), ("tune", plan.tune), *((v.name, v.settings) for v in plan.variants)]
    for where, settings in places:
        for name in settings:
            if name not in known:
                raise ConfigError(f"{where}: unknown setting {name!r}.{near_matches(name, known)}")
    for name in ("task", "seed", "method"):
        if name in plan.settings:
            raise ConfigError(f"`{name}` is set for all runs; give it as `{name}s` or in the variants.")


def _check_baselines(plan: Plan) -> None:
    """Refuse unknown baselines, and settings that none of the plan's has: they would have no effect."""
    object.__setattr__(plan, "baselines", tuple(map(registries.baselines.canonical, plan.baselines)))
    known = owned([registries.baselines])
    for name, value in plan.baseline_settings.items():
        if name not in known:
            raise ConfigError(f"`baseline_settings`: unknown setting {name!r}.{near_matches(name, known)}")
        known[name].setting.read(value)
        if not set(known[name].owners) & set(plan.baselines):
            raise ConfigError(
                f"`{name}` is a setting of baseline {known[name].owners[0]!r}, which the plan has not: it would have no effect."
                " Leave it out, or name the baseline in `baselines`."
            )


def _check_tuning(plan: Plan) -> None:
    """Refuse grids with nothing to try, and more trials than the smallest grid has points."""
    unequal = sorted(_EQUAL & set(plan.tune))
    if unequal:
        raise ConfigError(f"`tune` has {', '.join(unequal)}: variants would differ in data or steps.")
    for name, values in plan.tune.items():
        if len(values) < 1 or len({repr(value) for value in values}) < len(values):
            raise ConfigError(f"`tune` has {name}={list(values)}; give different values.")
    sizes = {variant.name: len(_grid(plan, variant)) for variant in plan.variants}
    smallest = min(sizes, key=sizes.__getitem__)
    if plan.trials is not None and plan.trials > sizes[smallest]:
        raise ConfigError(
            f"`trials` is {plan.trials}, but variant {smallest!r} has {sizes[smallest]} settings to try: every variant gets"
            " the same number. Give fewer, or tune settings that all variants have."
        )

"""One model with k targets against k models of one target, at equal total cost: does sharing help?

For each method and seed, a model of each target alone is trained as the settings say, and one of all targets with as many tokens as
all of them together. Everything is measured on the same test rows, question by question, and recorded as runs of an experiment whose
tasks are the questions: `findings` pairs them by row and seed, and `report` shows them.

    rows -> one split for all -> per target: METHOD alone, and of all: METHOD joint -> per question a record
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from predgen import registries
from predgen.baselines.base import Baseline, make_baseline, require_packages
from predgen.compare.environment import environment, forget_peak, peak_bytes
from predgen.compare.measuring import MeasuredModel, columns, defined, figures, row_facts
from predgen.compare.rows import rows_digest
from predgen.config import RunConfig, config_from
from predgen.core import Example
from predgen.data.encode import Encoder
from predgen.data.sources import rows_of
from predgen.data.splits import limit_rows
from predgen.engine.base_model import load_tokenizer
from predgen.errors import ConfigError, DataError
from predgen.escaping import in_line
from predgen.figures import number
from predgen.files import holdings, locked_folder, write_text
from predgen.inference.targets import TrainedTargets
from predgen.records import PLAN_FILE, Measurement, Record, find_record, find_records, write_record
from predgen.saved.exchange import MANIFEST
from predgen.terminal import PlainConsole
from predgen.training.folder import CONFIG
from predgen.training.run import train_targets
from predgen.training.target_rows import TargetsData, load_target_rows, of_targets, without_test_rows

_BASELINES = ("constant", "tfidf")  # of each question, if nothing else is said
_TEST_SHARE = 0.2
_SAMPLED = 200  # rows whose prompts are measured
_ANSWER_TOKENS = 8  # a label or a number with its stop, rounded up


@dataclass(frozen=True, slots=True)
class SharingPlan:
    """What to compare.

    Attributes:
        settings: Settings of `RunConfig` that all runs share, `targets` among them.
        methods: Methods, each with a joint model and one for each target.
        seeds: A run of each for every seed; the split has a seed of its own (`split_seed`, 0).
        baselines: Of `registries.baselines`, for each question.
        test_data: File with the test rows; None: 20 % of the rows.
        scored_rows: Most test rows to measure; None: all.

    Raises:
        ConfigError: If settings contradict themselves, there are fewer than two targets, or no seeds.
    """

    settings: Mapping[str, Any]
    methods: tuple[str, ...] = ("predgen",)
    seeds: tuple[int, ...] = (0, 1, 2)
    baselines: tuple[str, ...] = _BASELINES
    test_data: str | None = None
    scored_rows: int | None = None

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"`seeds` is {list(self.seeds)}; give one or more different numbers, such as 0,1,2.")
        if self.settings.get("validation_data") is not None and self.test_data is None:
            raise ConfigError(
                "`validation_data` is a file, so that rows for the test are to be one, too: give `test_data`, or leave it out."
            )
        for method in self.methods:
            if len(self.config(method, self.seeds[0]).target_specs) < 2:
                raise ConfigError("one target alone shares nothing. Give `target` twice or more, each as NAME:KIND.")

    def config(self, method: str, seed: int) -> RunConfig:
        """Settings of a joint run."""
        return config_from({"split_seed": 0, **self.settings, "method": method, "seed": seed})

    def to_dict(self) -> dict[str, Any]:
        """Return plain YAML data, with the keys by which findings and report read a plan."""
        found: dict[str, Any] = json.loads(json.dumps({"settings": dict(self.settings), "seeds": list(self.seeds)}))
        names = [(f"{m} {how}", m) for m in self.methods for how in ("joint", "alone")]
        found["variants"] = [{"name": name, "settings": {"method": method}} for name, method in names]
        return found | {
            "baselines": list(self.baselines),
            "test_data": self.test_data,
            "scored_rows": self.scored_rows,
        }


class Sharing:
    """An experiment that compares joint and single models, in a folder; the same call goes on where it stopped.

    Args:
        plan: What to compare.
        folder: Where records go.
        console: Where progress is shown; None: nowhere.
    """

    def __init__(self, plan: SharingPlan, folder: str | Path, console: PlainConsole | None = None) -> None:
        self.plan, self.folder = plan, Path(folder)
        self.console = console or PlainConsole(quiet=True)

    def run(self) -> list[Record]:
        """Make all runs that are missing; returns all records.

        Raises:
            PredgenError: If settings or rows cannot be used, or the folder holds another experiment.
            KeyboardInterrupt: After Ctrl-C; the same call goes on.
        """
        require_packages(self.plan.baselines)
        self._take_folder()
        with locked_folder(self.folder):
            self._read_rows()
            write_text(self.folder / PLAN_FILE, yaml.safe_dump(self._told(), sort_keys=False), is_held=True)
            for seed in self.plan.seeds:
                self._baselines(seed)
                for method in self.plan.methods:
                    names = [spec.name for spec in self.data.specs]
                    for name in names:
                        self._models(f"{method} alone", self.plan.config(method, seed), [name])
                    self._models(f"{method} joint", self._joint(method, seed), names)
            shutil.rmtree(self.folder / "work", ignore_errors=True)
        return find_records(self.folder, "final")

    def _told(self) -> dict[str, Any]:
        """The plan with the questions as its tasks."""
        return {"tasks": sorted(self.data.parts), **self.plan.to_dict()}

    def _take_folder(self) -> None:
        """Refuse a folder that holds something else, or the same with other settings."""
        path = self.folder / PLAN_FILE
        if not path.is_file():
            if holdings(self.folder):
                raise ConfigError(
                    f"`out` {str(self.folder)!r} is not empty and holds no experiment. Choose another folder."
                )
            return
        before, now = yaml.safe_load(path.read_text(encoding="utf-8")), self.plan.to_dict()
        changed = [key for key in ("settings", "test_data", "scored_rows") if before.get(key) != now[key]]
        if changed:
            raise ConfigError(
                f"{str(self.folder)!r} holds an experiment with other {', '.join(changed)}. Choose another folder, or ask for the same."
            )

    def _read_rows(self) -> None:
        """Read and split rows once for all runs."""
        plan, config = self.plan, self.plan.config(self.plan.methods[0], self.plan.seeds[0])
        if plan.test_data is not None:
            self.data = load_target_rows(config)
            given = list(rows_of(plan.test_data))
            read = {one.name: one.read(given, source=f"`test_data` {plan.test_data!r}") for one in self.data.questions}
            test = {n: [e for e in of_one.values() if e.target is not None] for n, of_one in read.items()}
        else:
            whole = load_target_rows(replace(config, limit=None), fraction=_TEST_SHARE)
            self.data, test = without_test_rows(config, whole)
        for name, rows in test.items():
            if not rows or not self.data.parts[name].validation:
                raise DataError(f"target {name!r}: no test or validation row has an answer to it. Give more rows.")
        most = plan.scored_rows
        self.test = {n: limit_rows(rows, most, config.rows_seed) if most else rows for n, rows in test.items()}
        self.tokens = tokens_a_pass(config, self.data)
        told = f"{len(self.data.train)} train, {len(self.data.validation)} validation rows; test: "
        self.console.print(told + ", ".join(f"{in_line(n)} {len(rows)}" for n, rows in self.test.items()))

    def _joint(self, method: str, seed: int) -> RunConfig:
        """Settings of the joint run: as many steps as the tokens of all single ones together allow."""
        config = self.plan.config(method, seed)
        rows_a_step = config.batch_size * config.gradient_accumulation
        spent = 0.0
        for spec in self.data.specs:
            rows = len(of_targets(self.data, [spec.name]).train)
            passes = config.max_steps * rows_a_step / rows if config.max_steps else config.epochs
            spent += passes * self.tokens[spec.name]
        passes = spent / self.tokens["joint"]
        return replace(config, max_steps=max(1, round(passes * len(self.data.train) / rows_a_step)))

    def _models(self, variant: str, config: RunConfig, names: Sequence[str]) -> None:
        """Train and measure one model of some targets, unless its records are there."""
        data = of_targets(self.data, names)
        wanted = [self._record(question, variant, config, None) for question in data.parts]
        if all(self._is_made(record) for record in wanted):
            return
        asked = [spec.to_dict() for spec in config.target_specs if spec.name in names]
        work = self.folder / "work" / _file_name("+".join(names), variant, config.seed)
        forget_peak()
        own = replace(config, targets=asked, data=None)
        is_finished = (work / MANIFEST).is_file()  # by a call that was killed before it wrote the records
        goes_on = not is_finished and (work / CONFIG).is_file()
        trained = train_targets(own, work, data=data, resume=goes_on, overwrite=is_finished)
        for record in wanted:
            self._write(self._measured(record, trained, data, len(wanted)))

    def _measured(self, record: Record, trained: TrainedTargets, data: TargetsData, n_questions: int) -> Record:
        """The record of one question of a model; what training cost is shared out evenly."""
        part, report = trained.parts[record.task], trained.report
        found = replace(
            record,
            kind=part.task.kind,
            config=part.config.settled(part.model.setup.settings).to_dict(),
            data=self._data_facts(record.task),
            training={k: report[k] for k in ("optimizer_steps", "best_step", "parameters", "trainable_parameters")}
            | {"targets": [spec.name for spec in data.specs], "engine": trained.model.engine},
            validation=defined(part.report["validation"]),
            cost={"train_s": round(report["seconds"] / n_questions, 2), "peak_memory_bytes": peak_bytes()},
        )
        return _with_figures(found, MeasuredModel(part), part.config, self.data, self.test[record.task])

    def _baselines(self, seed: int) -> None:
        """Measure the baselines of all questions; those that do not train with the first seed only."""
        for name in self.plan.baselines:
            if seed != self.plan.seeds[0] and not registries.baselines.facts(name).get("trains", False):
                continue
            for one in self.data.questions:
                config = replace(one.config, seed=seed)
                record = self._record(one.name, name, config, name)
                if self._is_made(record):
                    continue
                baseline = make_baseline(name, one.task.kind)
                baseline.fit(config, self.data.parts[one.name])
                known: dict[str, Any] = {
                    "kind": one.task.kind,
                    "config": config.to_dict(),
                    "data": self._data_facts(one.name),
                }
                found = replace(record, **known, training=baseline.facts)
                self._write(_with_figures(found, baseline, config, self.data, self.test[one.name]))

    def _record(self, question: str, variant: str, config: RunConfig, baseline: str | None) -> Record:
        """What is known of a run before it is made."""
        steps = config.max_steps if variant.endswith(" joint") else None
        cell = {"sharing": True, "tests": [question], "baseline": baseline, "variant": variant, "max_steps": steps}
        return Record(
            id=_file_name(question, variant, config.seed),
            task=question,
            kind="",
            variant=variant,
            seed=config.seed,
            stage="final",
            status="done",
            cell=cell,
            environment=environment(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _is_made(self, wanted: Record) -> bool:
        """Whether a run's record is there.

        Raises:
            ConfigError: If it is of another order.
        """
        found = find_record(self.folder, "final", wanted.id)
        if found is not None and found.cell != wanted.cell:
            raise ConfigError(
                f"run {wanted.id!r} in {str(self.folder)!r} was made with other settings or rows. Choose another folder."
            )
        return found is not None

    def _data_facts(self, question: str) -> dict[str, Any]:
        """What a record says of its rows."""
        part = self.data.parts[question]
        splits = {"train": part.train, "validation": part.validation, "test": self.test[question]}
        digests = {name: {"rows": len(rows), "digest": rows_digest(rows)} for name, rows in splits.items()}
        return {"splits": digests, "labels": list(part.task.labels.values()), "prompt": part.task.prompt}

    def _write(self, record: Record) -> None:
        """Write a record, and say its figure."""
        write_record(record, self.folder)
        name, value = next(iter(record.measurements[0].metrics.items()))
        self.console.print(in_line(f"  {record.id}: test {name} {number(value, 4)}"), soft_wrap=True)


def tokens_a_pass(config: RunConfig, data: TargetsData) -> dict[str, float]:
    """Training tokens of one pass over the rows: of a model of each target alone, and "joint".

    The joint model runs what a row's questions have in common once. Prompts are measured on a sample of rows.

    Args:
        config: Settings of the joint run.
        data: Its rows.
    """
    tokenizer = load_tokenizer(config.model, trust_remote_code=config.trust_remote_code)
    sample = limit_rows(data.train, _SAMPLED, config.rows_seed)

    def mean_length(prompt: str) -> float:
        encoder = Encoder(tokenizer, prompt, None, max_length=config.max_length)
        rows = [replace(row, target=None) for row in sample]
        return fmean(len(encoder.encode(row, with_answer=False).prompt_ids) for row in rows)

    assert config.prompt is not None, "RunConfig makes sure of it"
    shared = mean_length(config.prompt.replace("\\n", "\n"))
    found = {spec.name: shared * len(of_targets(data, [spec.name]).train) for spec in data.specs}
    joint = shared * len(data.train)
    for one in data.questions:
        own = max(0.0, mean_length(one.task.prompt) - shared) + _ANSWER_TOKENS
        found[one.spec.name] += own * len(data.parts[one.name].train)
        joint += own * len(data.parts[one.name].train)
    return {**found, "joint": joint}


def _with_figures(
    record: Record,
    fitted: MeasuredModel | Baseline,
    config: RunConfig,
    data: TargetsData,
    rows: Sequence[Example],
) -> Record:
    """The record with what was measured on test rows."""
    task = data.parts[record.task].task
    predictions = fitted.predict(rows)
    facts = row_facts(fitted, task.kind, rows, predictions)
    metrics = figures(config, task, rows, predictions, fitted.labels, facts)
    kept = columns(rows, predictions, fitted.labels, facts)
    counted = fitted.counts(rows, predictions)
    return replace(record, measurements=[Measurement(record.task, "test", metrics, counted, rows_digest(rows), kept)])


def _file_name(question: str, variant: str, seed: int) -> str:
    """Name of a run and of its file."""
    told = f"{question}--{variant.replace(' ', '-')}"
    return "".join(c if c.isalnum() or c in "=.+-_[]" else "-" for c in told) + f"--seed{seed}"

"""The settings of a run: those that every run has, and the own ones of the components that it chooses.

The command line, YAML files, the docs table and the saved model are all made from `all_settings`. What every run has is
declared here; a component's own settings are declared beside it (`settings.Settings`) and found by `components`.
"""

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from predgen import registries
from predgen.components import CODECS, Component, Listed, filled, flat, left_open, owned, reaches, resolve, value_of
from predgen.errors import ConfigError, RenamedWarning
from predgen.lookup import Registry
from predgen.near_names import near_matches
from predgen.settings import Settings, declared, setting
from predgen.targets import KIND_OF_TASK, TargetSpec, as_label, read_targets, settings_of_targets

_SCORED_OPTIONS = "generator"  # with form "cloze", in the first version
TARGET_TRANSFORMS = ("none", "log", "quantile")


@dataclass(frozen=True, init=False)
class RunConfig(Settings):
    """All settings of one training run. See `predgen train --help` for the same list.

    Raises:
        ConfigError: On a value out of range, an unknown name, or settings that contradict each other.

    Example:
        >>> RunConfig(task="sick", director="linaer")
        Traceback (most recent call last):
        predgen.errors.ConfigError: unknown director 'linaer'. Did you mean 'linear'? Known: crps, expected, linear, nll, ordered, residual, reward, value.
    """

    # What to learn
    task: str | None = setting(None, "A task that predgen knows (`predgen ls tasks`).", group="Data", choices=registries.tasks)
    data_dir: str | None = setting(None, "Folder with the task's files, named as its publisher names them; without it, the task is read from the hub.", group="Data")
    data: str | None = setting(None, "Your own file: .csv, .tsv, .jsonl, .json or .parquet.", group="Data")
    validation_data: str | None = setting(None, "Your validation file; without it, a seeded 10 % of the training rows is held out.", group="Data")
    prompt: str | None = setting(None, r"Prompt template with {column} fields, e.g. 'Review: {text}\nScore:'.", group="Data")
    target: str | None = setting(None, "Column to predict.", group="Data")
    kind: str | None = setting(None, "What is predicted: a label, a number, or the answer to a word problem.", group="Data", choices=("classification", "regression", "math"))
    weight_column: str | None = setting(None, "Column with row weights (> 0).", group="Data")
    minimum: float | None = setting(None, "Lowest possible number; default: the task's own, else the lowest training target minus 5 % of their span, but not below 0 if all targets are 0 or more.", group="Data")
    maximum: float | None = setting(None, "Highest possible number; default: the task's own, else the highest training target plus 5 % of their span, but not above 0 if all targets are 0 or less.", group="Data")
    target_transform: str = setting("none", "How numbers are written and learned: as they are (none), as their logarithm (log; targets above 0), or as normal scores of their ranks among the training rows (quantile). Predictions are transformed back.", group="Data", choices=TARGET_TRANSFORMS)
    label_texts: dict[str, str] | None = setting(None, "Your own file, classes: the text that the model writes for each label, as a mapping (on the command line: 0=negative,1=positive). Predictions are given as the file's labels.", group="Data", hash=False)  # noqa: RUF009  (the default is None)
    normalise_labels: bool = setting(False, "Your own file, classes: treat labels that differ only in case or blanks as one, in the spelling that most training rows use.", group="Data")
    stratify: bool = setting(True, "Your own file, classes: hold out the same share of every class, and never a class's last row; otherwise rows are drawn regardless of class.", group="Data")
    limit: int | None = setting(None, "Train on only this many rows (a seeded choice); a class with no row among them remains a class.", group="Data", low=1)
    bad_rows: str = setting("error", "What to do with rows whose target is missing or unreadable: stop, or leave them out and write them to a side file.", group="Data", choices=("error", "skip"))
    truncate_field: str | None = setting(None, "Prompt field to shorten first if a row is too long; default: that row's longest field.", group="Data")
    truncate: str = setting("tail", "What to cut from that field: its tail, its head, or its middle; the rest is kept.", group="Data", choices=("tail", "head", "middle"))
    max_length: int = setting(512, "Most tokens of prompt and answer together (the model's context is a limit, too).", group="Data", low=8)

    format: str = setting("plain", "Prompt as it stands, or in the base model's own chat template (chat), for instruct models.", group="Data", choices=("plain", "chat"))
    system: str | None = setting(None, "System text of a chat; default: the template's own, or none.", group="Data")

    # Which model
    model: str = setting("smollm2", "Base model: a name of `predgen models ls`, a hub id, a folder, a .gguf file, or 'embedded' (5M weights, for trying things out).", group="Model")
    method: str = setting("predgen", "Prediction method.", group="Model", choices=registries.methods)
    peft: str = setting("lora", "Parameter-efficient fine-tuning method.", group="Model", choices=registries.peft_methods)
    dtype: str = setting("float32", "Type of the base model's weights; heads and adapters stay float32. auto: float32 weights, trained by bfloat16 products where the processor has them.", group="Model", choices=("float32", "bfloat16", "auto"))
    quantize: str | None = setting(None, "Keep the base's linear layers in 4 bits (nf4, by bitsandbytes; extra `quantize`): a third of the memory, but slower on a CPU, and near, not equal, to the base as published.", group="Model", choices=("nf4",))
    trust_remote_code: bool = setting(False, "Let a hub model run its own Python code. Read that code first.", group="Model")

    # How to learn
    class_weight: str = setting("none", "'balanced' weights rows by n / (number of classes * rows of the class).", group="Loss", choices=("none", "balanced"))
    epochs: float = setting(3.0, "Passes over the training rows; may be a fraction.", group="Training", low=0.0)
    max_steps: int | None = setting(None, "Optimizer steps; overrides --epochs.", group="Training", low=1)
    batch_size: int = setting(16, "Rows per micro-batch and process.", group="Training", low=1)
    gradient_accumulation: int = setting(1, "Micro-batches per optimizer step.", group="Training", low=1)
    learning_rate: float = setting(2e-3, "Peak learning rate (paper: 2e-3).", group="Training", low=0.0)
    lr_schedule: str = setting("cosine", "Learning-rate schedule (paper: cosine).", group="Training", choices=("cosine", "linear", "constant"))
    warmup_ratio: float = setting(0.06, "Share of the optimizer steps spent warming up.", group="Training", low=0.0, high=1.0)
    warmup_steps: int | None = setting(None, "Optimizer steps spent warming up; overrides --warmup-ratio.", group="Training", low=0)
    weight_decay: float = setting(0.0, "Decoupled weight decay.", group="Training", low=0.0)
    optimizer: str = setting("adamw", "Optimizer.", group="Training", choices=("adamw", "sgd"))
    max_grad_norm: float = setting(1.0, "Norm to which gradients are clipped; 0 turns clipping off.", group="Training", low=0.0)
    bf16: bool = setting(False, "Compute matrix products in bfloat16.", group="Training")
    gradient_checkpointing: bool = setting(False, "Recompute activations to save memory.", group="Training")
    seed: int = setting(0, "Seed for the adapter, the data order and scheduled sampling, and for the split unless --split-seed is given.", group="Training", low=0)
    split_seed: int | None = setting(None, "Seed for the split and the choice of rows, so that runs with different seeds can share their rows; default: --seed.", group="Data", low=0)

    # When to look and stop
    eval_steps: int | None = setting(None, "Evaluate and checkpoint every N optimizer steps; default: once per epoch.", group="Evaluation", low=1)
    eval_rows: int | None = setting(None, "Validation rows to evaluate during training (a seeded choice; all of them are measured at the end); default: as many as there are training rows, but at least 500.", group="Evaluation", low=1)
    eval_batch_size: int | None = setting(None, "Rows per batch when predicting; default: as many as --eval-batch-tokens allows.", group="Evaluation", low=1)
    eval_batch_tokens: int = setting(4096, "Tokens per batch when predicting, counting prompts with their padding and the answers' nodes; halved if memory runs out.", group="Evaluation", low=1)
    metric: str | None = setting(None, "Validation metric that selects the best checkpoint; default: the task's first.", group="Evaluation", choices=registries.metrics)
    calibrate: bool = setting(True, "After training, fit a temperature and keep conformal scores on the half of the validation rows that chose no checkpoint (100 validation rows or more; labels and numbers).", group="Evaluation")
    patience: int | None = setting(None, "Stop after this many evaluations without an improvement of the metric.", group="Evaluation", low=1)
    report_to: str = setting("none", "Trackers, separated by commas: mlflow, tensorboard, wandb (extras of these names), or others that transformers knows.", group="Evaluation")

    # Several targets instead of `target` and `kind`, as `targets.read_targets` takes them. No setting of one value: `--target`,
    # given for each, is its flag, and what runs of one target record does not have it.
    targets: Any = field(default=None, hash=False)

    # The own settings of the components that are chosen, as far as they were given; `to_dict` has them among the others.
    own: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        """Take the settings by name, own ones of components among the others; `target` may be a list of `targets`."""
        settings = _with_targets(renamed(settings))
        names = {f.name for f in fields(self)} - {"own"}
        own = {**settings.pop("own", {}), **{name: settings.pop(name) for name in list(settings) if name not in names}}
        for f in fields(self):
            object.__setattr__(self, f.name, own if f.name == "own" else settings.get(f.name, f.default))
        self.__post_init__()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_texts is not None:
            object.__setattr__(self, "label_texts", _texts_by_label("label_texts", self.label_texts))
        if self.targets is not None:
            object.__setattr__(self, "targets", [one.to_dict() for one in read_targets(self.targets)])
        self._keep_own()
        self._check_what_to_learn()
        self._check_targets()
        if self.quantize is not None and self.peft == "full":
            raise ConfigError("`quantize` keeps the base in 4 bits, which cannot train, but `peft` is 'full': every weight trains. Choose an adapter, e.g. 'lora', or leave `quantize` out.")
        for name in ("label_texts", "normalise_labels"):
            if self.targets is None and getattr(self, name) and self.kind != "classification":
                raise ConfigError(f"`{name}` names the classes of your own file, but {'`kind` is ' + repr(self.kind) if self.task is None else f'task {self.task!r} declares its own labels'}. Leave it out.")
        self._check_range()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            """Own settings of the chosen components, as given or at their defaults, read like all others."""
            # Not before all fields are there (`own` comes last), nor for what is looked for on the way to the components.
            is_ready = "own" in self.__dict__ and name not in ("components", "task_kind") and not name.startswith("__")
            values = flat(self.components) if is_ready else {}
            if name in values:
                return values[name]
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the components, which are found again where the configuration is read."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def task_kind(self) -> str:
        """Kind of the task: as given, or the known task's."""
        return _kind_of(self.task, self.kind, self.own)

    @cached_property
    def components(self) -> dict[str, Component]:
        """The components that the settings choose, by the kind of their registry."""
        common = {name: getattr(self, name) for name in declared(RunConfig)}
        return _components(common, self.own)

    def _keep_own(self) -> None:
        """Keep what was given for a chosen component; refuse what no component has, or none that is chosen."""
        used, owners = flat(self.components), owned()
        kept = {}
        for name, value in self.own.items():
            if name not in owners:
                known = [*declared(RunConfig), "targets", *owners]
                raise ConfigError(f"unknown setting {name!r}.{near_matches(name, known)} See `predgen train --help` for all settings.")
            value = None if value is None else used[name] if name in used else owners[name].setting.read(value)
            if value is None or value == owners[name].default:
                continue  # says nothing: all components that have it have this default
            if name not in used:
                raise ConfigError(self._useless(name, value, owners[name]))
            kept[name] = value
        object.__setattr__(self, "own", kept)

    def _useless(self, name: str, value: Any, listed: Listed) -> str:  # noqa: ANN401
        """Say that no chosen component has a setting."""
        if self.targets is not None and name in settings_of_targets():
            return f"`{name}` is {value!r}, but with `targets` it belongs to one of them. Give it inside that target, or leave it out."
        kind, chosen = listed.kind, self.components.get(listed.kind)
        here = f"{kind} {chosen.name!r} has no such setting" if chosen else f"method {self.method!r} has no {kind}"
        have = f"{', '.join(listed.owners)} {'have' if len(listed.owners) > 1 else 'has'} it"
        return f"`{name}` is {value!r}, but {here}; {kind} {have}. Leave it out, or choose another."

    def component(self, registry: Registry) -> Component | None:
        """Return the component that is chosen from a registry; None where there is none."""
        return self.components.get(registry.kind)

    def _check_what_to_learn(self) -> None:
        """Refuse settings that name no task, or two.

        Rows of one's own may lie in a file (`data`) or in memory: where they lie is no part of what is learned from them.
        """
        own = ("prompt", "target", "kind") if self.targets is None else ("prompt",)
        missing = [name for name in own if getattr(self, name) is None]
        names_nothing = self.task is None and self.data is None and self.targets is None and len(missing) == len(own)
        if names_nothing or (self.task is not None and self.data is not None):
            raise ConfigError("give either `task` (a task predgen knows, see `predgen ls tasks`) or `data` (your own file), not both and not neither.")
        if self.task is None and missing:
            raise ConfigError(f"rows of your own also need {', '.join(f'`{m}`' for m in missing)}: predgen does not guess what to predict.")

    @cached_property
    def target_specs(self) -> tuple[TargetSpec, ...]:
        """The targets, where there are several; empty where `target` names the only one."""
        return () if self.targets is None else read_targets(self.targets)

    def of_target(self, spec: TargetSpec, label: str | None = None) -> "RunConfig":
        """Return the configuration of one question: that of a model with this target alone.

        Args:
            spec: One of `target_specs`.
            label: The label that the question is about, of a multi-label target.

        Raises:
            ConfigError: If what the target has of its own does not fit the run; the target is named.
        """
        own = spec.part_settings()
        if spec.director and "director" not in {**self.own, **own} and reaches(registries.methods, self.method, "director"):
            own["director"] = spec.director
        common = {name: own.pop(name) for name in list(own) if name in declared(RunConfig)}
        if spec.labels and not spec.is_multilabel and "label_texts" not in common:
            common["label_texts"] = {text: text for text in spec.labels}
        kind, prompt = KIND_OF_TASK[spec.kind], f"{self.prompt}{spec.asked(label)}"
        try:
            return replace(self, targets=None, target=spec.part_name(label), kind=kind, prompt=prompt, own={**self.own, **own}, **common)
        except ConfigError as error:
            raise ConfigError(f"target {spec.part_name(label)!r}: {error}") from error

    def _check_targets(self) -> None:
        """Refuse what does not go with several targets, and targets that do not go with the run."""
        if self.targets is None:
            return
        own = [name for name in settings_of_targets() if name in declared(RunConfig)]
        for name in ("task", "target", "kind", "metric", *own):
            if (value := getattr(self, name)) not in (None, declared(RunConfig)[name].default):
                where = f"Give `{name}` inside the target that it is for, or leave it out." if name in own else "Leave one of them out."
                raise ConfigError(f"`{name}` is {value!r}, but `targets` says what is predicted, each target for itself. {where}")
        if registries.methods.facts(self.method).get("form", "paper") != "paper":
            raise ConfigError(f"method {self.method!r} chooses among a row's options, and `targets` has none. Choose another method.")
        for spec in self.target_specs:
            self.of_target(spec, label="" if spec.is_multilabel else None)

    def _check_range(self) -> None:
        """Refuse ends of a range that are no numbers, or the wrong way round."""
        for name in ("minimum", "maximum"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ConfigError(f"`{name}` is {value}, but must be a finite number; leave it out where there is no bound.")
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            raise ConfigError(f"`minimum` is {self.minimum:g}, but must be below `maximum`, which is {self.maximum:g}. Swap or correct them.")

    @property
    def rows_seed(self) -> int:
        """Seed of the split and of the choice of rows."""
        return self.seed if self.split_seed is None else self.split_seed

    def peft_settings(self) -> dict[str, Any]:
        """Return the settings of the chosen PEFT method: as given, or else its defaults."""
        return flat({"": self.components[registries.peft_methods.kind]})

    def method_settings(self) -> dict[str, Any]:
        """Return the settings of the chosen method and of the components that it chooses in turn, these by their names."""
        return filled(resolve([(registries.methods, self.method)], self.own, self.task_kind))

    def settled(self, used: Mapping[str, Any]) -> "RunConfig":
        """Return the settings with those components named that were left open and that a model has chosen.

        Args:
            used: The model's settings (`ModelSetup.settings`).
        """
        chosen = {name: used[name] for name in left_open(self.components) if used.get(name) is not None}
        return replace(self, own={**self.own, **chosen}) if chosen else self

    def defaults(self) -> dict[str, Any]:
        """Return the defaults of the chosen components' own settings."""
        return {name: one.default for c in self.components.values() for name, one in c.declared().items()}

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain data, those of the chosen components filled in: what is used, and what runs record."""
        found = {**super().to_dict(), **flat(self.components)}
        return found if self.targets is None else {**found, "targets": self.targets}


def _with_targets(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings where `target`, given several times, says several targets; one that names no kind is the column of the only one."""
    named = settings.get("target")
    if not isinstance(named, list | tuple):
        return settings
    rest = {name: value for name, value in settings.items() if name != "target"}
    if len(named) == 1 and (":" not in str(named[0]) or settings.get("kind") is not None):
        return {**rest, "target": named[0]}
    return {**rest, "targets": list(named)} if named else rest


RENAMED = ("form",)
"""Settings of the first version that are others now; they are still read, from YAML and flags, too."""


def renamed(settings: Mapping[str, Any], *, says: bool = True) -> dict[str, Any]:
    """Return settings with those of the first version as they are called now.

    Args:
        settings: Settings of a run.
        says: Whether to say so in a line, as a `RenamedWarning`.

    Raises:
        ConfigError: If such a setting has a value that it could not have, or one that did not go with the others.
    """
    kept = {name: value for name, value in settings.items() if name not in RENAMED}
    form, method = settings.get("form"), settings.get("method", RunConfig.method)
    if form in (None, "paper"):
        return kept
    if form != "cloze" or method not in (_SCORED_OPTIONS, "options"):
        raise ConfigError(f"`form` is {form!r} with `method` {method!r}, but form 'cloze' is now a method, 'options', and 'paper' what all others do. Give `method: options`, and leave `form` out.")
    if says and method == _SCORED_OPTIONS:
        warnings.warn("`form: cloze` with `method: generator` is called `method: options` now.", RenamedWarning, stacklevel=3)
    return {**kept, "method": "options"}


def all_settings() -> dict[str, Listed]:
    """Return every setting, by name: those that every run has, then those of components."""
    found = {name: Listed(one) for name, one in declared(RunConfig).items()}
    for name, listed in owned().items():
        if name in found:
            raise ConfigError(f"setting `{name}` of {listed.kind} {listed.owners[0]!r} is one that every run has. Give it another name, such as `{listed.owners[0]}_{name}`.")
        found[name] = listed
    return found


def _texts_by_label(name: str, value: object) -> dict[str, str]:
    """Read a mapping from labels to texts, or its form on the command line, "0=negative,1=positive"."""
    if isinstance(value, str):
        parts = [part.partition("=") for part in value.split(",")]
        if not all(sign for _, sign, _ in parts):
            raise ConfigError(f"`{name}` is {value!r}; give LABEL=TEXT pairs separated by commas, e.g. 0=negative,1=positive. Labels with commas: as a mapping in a YAML file (--config).")
        value = [(label, text) for label, _, text in parts]
    pairs = list(value.items() if isinstance(value, Mapping) else value) if isinstance(value, Mapping | list) else []
    texts = {as_label(label): as_label(text) for label, text in pairs}
    for label, text in texts.items():
        if not label or not text:
            raise ConfigError(f"`{name}` gives label {label!r} the text {text!r}; both must be words. Fill it in, or leave the pair out.")
        if list(texts.values()).count(text) > 1 or (text in texts and text != label):
            raise ConfigError(f"`{name}` gives label {label!r} the text {text!r}, which belongs to another label, too; a text must say which label is meant. Give each label a text of its own.")
    if len(texts) < 2 or len(texts) < len(pairs):
        raise ConfigError(f"`{name}` is {value!r}; give a text for each of two or more different labels, e.g. {{0: negative, 1: positive}}.")
    return texts


def config_from(*sources: Mapping[str, Any]) -> RunConfig:
    """Build a `RunConfig` from mappings, later ones overriding earlier ones.

    Raises:
        ConfigError: On a key that is not a setting; near matches are named.
    """
    return RunConfig(**{key: value for source in sources for key, value in source.items()})


def without_useless(settings: Mapping[str, Any], droppable: Iterable[str]) -> dict[str, Any]:
    """Return settings without those that no chosen component has.

    For settings that are meant for several runs (a preset, what the variants of a plan share) or were stored by a version
    that stored all there are.

    Args:
        settings: Settings of a run.
        droppable: Names that may be left out; others stay, so that they are refused.
    """
    common = {name: settings.get(name, one.default) for name, one in declared(RunConfig).items()}
    owners, dropped = owned(), set(droppable)
    try:
        used = flat(_components(common, settings))
    except ConfigError:
        return dict(settings)  # it is refused when it is used, saying what is wrong
    return {n: value for n, value in settings.items() if n not in owners or n in used or n not in dropped}


def _kind_of(task: str | None, kind: str | None, own: Mapping[str, Any]) -> str:
    """Kind of a known task, or else that of the user's rows; such a row's kind is checked elsewhere."""
    if task is None:
        return kind or ""
    found: str = value_of(registries.tasks, task, own).kind
    return found


def _components(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Component]:
    """The components that settings choose.

    Args:
        common: Settings that every run has, all of them.
        own: Settings of components, as far as they are given; others are passed over.
    """
    names = [(registries.methods, common["method"]), (registries.peft_methods, common["peft"])]
    names += [(registry, common[key]) for key, registry in (("task", registries.tasks), ("metric", registries.metrics)) if common[key] is not None]
    kind = _kind_of(common["task"], common["kind"], own)
    facts = registries.methods.facts(common["method"])
    if facts.get("writes", True) and (codec := facts.get("codec", CODECS.get(kind))):
        names.append((registries.codecs, codec))
    return resolve(names, own, kind)


def has_setting(method: str, name: str) -> bool:
    """Whether a setting means something for a method, whatever else is chosen."""
    owners = owned()
    if name not in owners or owners[name].registry in (registries.peft_methods, registries.tasks, registries.metrics):
        return True
    if owners[name].registry is registries.codecs:
        facts = registries.methods.facts(method)
        own = facts.get("codec")
        return bool(facts.get("writes", True)) and (own is None or own in owners[name].owners)
    return reaches(registries.methods, method, name)


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of settings. YAML holds data, never code.

    Raises:
        ConfigError: If the file is missing, is not YAML, or is not a mapping of settings.
    """
    from predgen.plain_data import read_yaml

    data = read_yaml(Path(path), error=ConfigError, repair="Write it as `setting: value` lines.")
    return {key.replace("-", "_"): value for key, value in data.items()}

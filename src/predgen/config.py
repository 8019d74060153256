"""Every setting of a run, in one place: type, default, unit and range.

The command line, YAML files, the docs table and the saved model are all made from `RunConfig`.
"""

import dataclasses
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from predgen import registries
from predgen.errors import ConfigError
from predgen.registry import Registry, near_matches

TARGET_TRANSFORMS = ("none", "log", "quantile")


def option(
    default: Any,  # noqa: ANN401
    help: str,
    *,
    group: str,
    choices: Registry | tuple[str, ...] | None = None,
    low: float | None = None,
    high: float | None = None,
    hash: bool | None = None,
) -> Any:  # noqa: ANN401
    """Declare one setting: default, help (with its unit), allowed names or range."""
    metadata = {"help": help, "group": group, "choices": choices, "low": low, "high": high}
    return field(default=default, metadata=metadata, hash=hash)


@dataclass(frozen=True)
class RunConfig:
    """All settings of one training run. See `predgen train --help` for the same list.

    Raises:
        ConfigError: On a value out of range, an unknown name, or settings that contradict each other.

    Example:
        >>> RunConfig(task="sick", director="linaer")
        Traceback (most recent call last):
        predgen.errors.ConfigError: unknown director 'linaer'. Did you mean 'linear'? Known: expected, linear, ordered, value.
    """

    # What to learn
    task: str | None = option(None, "A task that predgen knows (`predgen ls tasks`).", group="Data", choices=registries.tasks)
    data_dir: str | None = option(None, "Folder with the task's files as its publisher names them; without it the task is read from the hub.", group="Data")
    data: str | None = option(None, "Your own file: .csv, .tsv, .jsonl, .json or .parquet.", group="Data")
    validation_data: str | None = option(None, "Your validation file; without it a seeded 10 % of the rows is held out.", group="Data")
    prompt: str | None = option(None, r"Prompt template with {column} fields, e.g. 'Review: {text}\nScore:'.", group="Data")
    target: str | None = option(None, "Column to predict.", group="Data")
    kind: str | None = option(None, "What the target is.", group="Data", choices=("classification", "regression", "math"))
    weight_column: str | None = option(None, "Column with row weights (> 0).", group="Data")
    decimals: int | None = option(None, "Decimals written for numbers, in fixed format; default: the fewest (at most 3) that keep rounding under 1 % of the target's std.", group="Data", low=0, high=6)
    minimum: float | None = option(None, "Lowest number that can be; default: the task's, or the training rows' minimum minus 5 % of the span, but not below 0 where all targets are 0 or more.", group="Data")
    maximum: float | None = option(None, "Highest number that can be; default: the task's, or the training rows' maximum plus 5 % of the span, but not above 0 where all targets are 0 or less.", group="Data")
    target_transform: str = option("none", "Write and learn numbers as they are, as their logarithm (targets above 0), or as normal scores of their ranks among the training rows; inverted in all predictions.", group="Data", choices=TARGET_TRANSFORMS)
    number_format: str = option("auto", "Write numbers as fixed-width decimals, or with significant digits and an exponent; auto: fixed, unless the grid would be large or rounding would exceed 1 % of the target's std.", group="Data", choices=("auto", "fixed", "scientific"))
    label_texts: dict[str, str] | None = option(None, "Own files, classes: what the model writes for each label, as a mapping (command line: 0=negative,1=positive); predictions come back as the labels of the file.", group="Data", hash=False)  # noqa: RUF009  (the default is None)
    normalise_labels: bool = option(False, "Own files, classes: labels that differ only in case or blanks are one, spelled as most training rows spell it.", group="Data")
    stratify: bool = option(True, "Own files, classes: hold out a share of each class, and the last row of none; else rows are drawn whatever their class.", group="Data")
    limit: int | None = option(None, "Use only this many training rows (a seeded choice); classes without a row among them stay classes.", group="Data", low=1)
    bad_rows: str = option("error", "Rows whose target is missing or unreadable: stop, or skip them into a side file.", group="Data", choices=("error", "skip"))
    truncate_field: str | None = option(None, "Prompt field to shorten first where a row is too long; default: the longest field of that row.", group="Data")
    truncate: str = option("tail", "What to cut from such a field: its tail (its head is kept), its head (its tail is kept), or its middle (both ends are kept).", group="Data", choices=("tail", "head", "middle"))
    max_length: int = option(512, "Longest prompt + answer, in tokens (also bounded by the model's context).", group="Data", low=8)
    form: str = option("paper", "Multiple choice: show all options and write the right one's name (paper), or score each option's text (cloze; method generator).", group="Data", choices=("paper", "cloze"))
    rationale: bool = option(True, "Math: write the worked solution before the answer.", group="Data")

    # Which model
    model: str = option("embedded", "Base model: a hub id, a local folder, or 'embedded'.", group="Model")
    method: str = option("predgen", "Prediction method.", group="Model", choices=registries.methods)
    peft: str = option("lora", "Parameter-efficient fine-tuning method.", group="Model", choices=registries.peft_methods)
    rank: int | None = option(None, "Rank r of the adapter (rocoft: number of columns or rows; melora: rank of each block; adalora: average after pruning); default: the PEFT method's own.", group="Model", low=1)
    alpha: float | None = option(None, "Scale of a low-rank adapter; the update is multiplied by alpha / rank; default: the PEFT method's own.", group="Model", low=0.0)
    rocoft_axis: str | None = option(None, "RoCoFT: whether columns or rows of the weights train; default: column.", group="Model", choices=("column", "row"))
    rocoft_selection: str | None = option(None, "RoCoFT: which columns or rows train, the first ones or a seeded random choice; default: first.", group="Model", choices=("first", "random"))
    melora_blocks: int | None = option(None, "MELoRA: number of blocks n; has to divide the width of every layer; default: 8.", group="Model", low=1)
    propulsion_degree: int | None = option(None, "Propulsion: power k of the factors; multiplies the effective learning rate; default: 15.", group="Model", low=1)
    director: str | None = option(None, "PredGen's task adapter; default: linear for classes, value for numbers, ordered for math.", group="Model", choices=registries.directors)
    pooling: str = option("last", "Predictor: how prompt states become one vector.", group="Model", choices=("last", "mean", "first"))
    dtype: str = option("float32", "Type of the base model's weights; heads and adapters stay float32.", group="Model", choices=("float32", "bfloat16"))
    trust_remote_code: bool = option(False, "Let a hub model run its own Python code. Read that code first.", group="Model")

    # How to learn
    loss: str = option("wdal_shifted", "How PredGen joins writer and director loss.", group="Loss", choices=registries.losses)
    reduction: str = option("example", "Join the losses per example (default), or per batch as the paper's code does.", group="Loss", choices=("example", "batch"))
    ordered_last_weight: float = option(2.0, "Director 'ordered': weight of the last digit before normalising (paper D.2: 2).", group="Loss", low=0.0)
    class_weight: str = option("none", "'balanced' weighs rows by n / (classes * rows of the class).", group="Loss", choices=("none", "balanced"))
    sampling: str = option("token", "Scheduled sampling.", group="Sampling", choices=registries.sampling)
    sampling_schedule: str = option("linear", "How the sampling probability p grows.", group="Sampling", choices=registries.schedules)
    p_min: float = option(0.0, "Sampling probability at the first optimizer step.", group="Sampling", low=0.0, high=1.0)
    p_max: float = option(1.0, "Highest sampling probability.", group="Sampling", low=0.0, high=1.0)
    max_steps_for_sampling: int | None = option(None, "Optimizer steps until p reaches p_max; default: half of the run, at most 500 (the paper's 500).", group="Sampling", low=1)
    sampling_passes: int = option(2, "Sampling 'parallel': passes over the answer; as many as it has tokens equal 'token'.", group="Sampling", low=1)
    max_tree_nodes: int = option(256, "Most trie nodes to run in one pass; larger number grids are expanded level by level.", group="Sampling", low=1)
    epochs: float = option(3.0, "Passes over the training rows.", group="Training", low=0.0)
    max_steps: int | None = option(None, "Optimizer steps; overrides --epochs.", group="Training", low=1)
    batch_size: int = option(16, "Rows per micro-batch and process.", group="Training", low=1)
    gradient_accumulation: int = option(1, "Micro-batches per optimizer step.", group="Training", low=1)
    learning_rate: float = option(2e-3, "Peak learning rate (paper: 2e-3).", group="Training", low=0.0)
    lr_schedule: str = option("cosine", "Learning-rate schedule (paper: cosine).", group="Training", choices=("cosine", "linear", "constant"))
    warmup_ratio: float = option(0.06, "Share of the optimizer steps spent warming up.", group="Training", low=0.0, high=1.0)
    warmup_steps: int | None = option(None, "Optimizer steps of warming up; overrides --warmup-ratio.", group="Training", low=0)
    weight_decay: float = option(0.0, "Decoupled weight decay.", group="Training", low=0.0)
    optimizer: str = option("adamw", "Optimizer.", group="Training", choices=("adamw", "sgd"))
    max_grad_norm: float = option(1.0, "Gradients are clipped to this norm; 0 switches clipping off.", group="Training", low=0.0)
    bf16: bool = option(False, "Run the matrix products in bfloat16.", group="Training")
    gradient_checkpointing: bool = option(False, "Recompute activations to save memory.", group="Training")
    seed: int = option(0, "Seed of the adapter, the data order and the sampling; of the split too, unless --split-seed is given.", group="Training", low=0)
    split_seed: int | None = option(None, "Seed of the split and of the choice of rows, so that runs with several seeds share their rows; default: --seed.", group="Data", low=0)

    # When to look and stop
    eval_steps: int | None = option(None, "Evaluate and checkpoint every N optimizer steps; default: once per epoch.", group="Evaluation", low=1)
    eval_rows: int | None = option(None, "Validation rows to look at while training (a seeded choice; all are measured at the end); default: as many as there are training rows, at least 500.", group="Evaluation", low=1)
    eval_batch_size: int | None = option(None, "Rows per batch when predicting; default: as many as --eval-batch-tokens allow.", group="Evaluation", low=1)
    eval_batch_tokens: int = option(4096, "Tokens to run per batch when predicting: prompts with padding, and the answers' nodes; halved where memory runs out.", group="Evaluation", low=1)
    metric: str | None = option(None, "Validation metric that picks the best checkpoint; default: the task's first.", group="Evaluation", choices=registries.metrics)
    patience: int | None = option(None, "Stop after this many evaluations without a better metric.", group="Evaluation", low=1)
    report_to: str = option("none", "Trackers of transformers, comma separated, e.g. 'tensorboard' or 'wandb'.", group="Evaluation")

    # What a PEFT method of somebody else's takes besides; `config_from`, YAML and `to_dict` have these beside the others.
    own: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for f in setting_fields():
            object.__setattr__(self, f.name, _checked(f, hints[f.name], getattr(self, f.name)))
        self._check_what_to_learn()
        for name in ("label_texts", "normalise_labels"):
            if getattr(self, name) and self.kind != "classification":
                raise ConfigError(f"`{name}` names the classes of your own file, but {'`kind` is ' + repr(self.kind) if self.task is None else f'task {self.task!r} declares its own labels'}. Leave it out.")
        self._check_peft()
        self._check_range()
        if self.p_min > self.p_max:
            raise ConfigError(f"`p_min` is {self.p_min:g}, above `p_max` {self.p_max:g}; p grows from p_min to p_max.")

    def _check_what_to_learn(self) -> None:
        """Refuse settings that name no task, or two.

        Rows of one's own may lie in a file (`data`) or in memory: where they lie is no part of what is learned from them.
        """
        own = ("prompt", "target", "kind")
        missing = [name for name in own if getattr(self, name) is None]
        names_nothing = self.task is None and self.data is None and len(missing) == len(own)
        if names_nothing or (self.task is not None and self.data is not None):
            raise ConfigError("give either `task` (a task predgen knows, see `predgen ls tasks`) or `data` (your own file), not both and not neither.")
        if self.task is None and missing:
            raise ConfigError(f"rows of your own also need {', '.join(f'`{m}`' for m in missing)}: predgen does not guess what to predict.")

    def _check_peft(self) -> None:
        """Refuse settings that only other PEFT methods have."""
        own = registries.peft_methods.facts(self.peft).get("settings", {})
        owners_of = peft_setting_owners()
        unknown = [name for name in self.own if name not in owners_of or name in _BUILT_IN]
        if unknown:
            raise ConfigError(f"`own` has {unknown[0]!r}, which no registered PEFT method declares.{near_matches(unknown[0], owners_of)}")
        object.__setattr__(self, "own", {name: _of_type(name, value, type(own[name])) if name in own else value for name, value in self.own.items() if value is not None})
        for name, owners in owners_of.items():
            value = self._given(name)
            if name not in own and value is not None:
                raise ConfigError(f"`{name}` is {value!r}, but peft {self.peft!r} has no such setting; {', '.join(owners)} {'have' if len(owners) > 1 else 'has'} it. Leave it out, or choose another `peft`.")

    def _given(self, name: str) -> Any:  # noqa: ANN401
        """A PEFT method's setting as it was given; None where it was not."""
        return getattr(self, name) if name in _BUILT_IN else self.own.get(name)

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
        """Return the settings that belong to the chosen PEFT method: as given, or else its defaults.

        The fields stay as given, so that `dataclasses.replace(config, peft=...)` takes the other method's defaults.
        """
        own = registries.peft_methods.facts(self.peft).get("settings", {})
        given = {name: self._given(name) for name in own}
        return {name: own[name] if value is None else value for name, value in given.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain data, the PEFT method's defaults filled in: what is used, and what runs record."""
        settings = {f.name: getattr(self, f.name) for f in setting_fields()}
        return {**settings, **self.peft_settings()}


def setting_fields() -> list["dataclasses.Field[Any]"]:
    """Return the fields of `RunConfig` that are settings with flag, help and range, in their order."""
    return [f for f in fields(RunConfig) if f.name != "own"]


_BUILT_IN = frozenset(f.name for f in setting_fields())


def peft_setting_owners() -> dict[str, list[str]]:
    """Return the settings that some PEFT methods have and others have not, each with the methods that have it."""
    owners: dict[str, list[str]] = {}
    for method in registries.peft_methods:
        for name in registries.peft_methods.facts(method).get("settings", {}):
            owners.setdefault(name, []).append(method)
    return owners


def _checked(f: "dataclasses.Field[Any]", hint: object, value: Any) -> Any:  # noqa: ANN401
    """Return `value` converted to the field's type, or raise naming field, value and what is allowed."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None:
        if type(None) not in options:
            raise ConfigError(f"`{f.name}` cannot be empty; {f.metadata['help']}")
        return None
    wanted = next(option for option in options if option is not type(None))
    if get_origin(wanted) is dict:
        return _texts_by_label(f.name, value)
    value = _of_type(f.name, value, wanted)
    choices, low, high = f.metadata["choices"], f.metadata["low"], f.metadata["high"]
    if isinstance(choices, Registry):
        value = choices.canonical(value)
    elif choices is not None and value not in choices:
        raise ConfigError(f"`{f.name}` is {value!r}.{near_matches(value, choices)} Allowed: {', '.join(choices)}.")
    if wanted in (int, float) and not ((low is None or value >= low) and (high is None or value <= high)):
        bounds = f"{'-inf' if low is None else f'{low:g}'}..{'inf' if high is None else f'{high:g}'}"
        raise ConfigError(f"`{f.name}` is {value!r}, outside {bounds}. {f.metadata['help']}")
    return value


def _of_type(name: str, value: Any, wanted: type) -> Any:  # noqa: ANN401
    """Return `value` as the wanted type, or raise naming setting, value and type."""
    if wanted is float and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            value = float(value)
        except ValueError:
            raise ConfigError(f"`{name}` is {value!r}, but must be a number.") from None
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise ConfigError(f"`{name}` is {value!r}, but must be of type {wanted.__name__}.")
    return value


def _texts_by_label(name: str, value: object) -> dict[str, str]:
    """Read a mapping from labels to texts, or its form on the command line, "0=negative,1=positive"."""
    if isinstance(value, str):
        parts = [part.partition("=") for part in value.split(",")]
        if not all(sign for _, sign, _ in parts):
            raise ConfigError(f"`{name}` is {value!r}; give LABEL=TEXT pairs separated by commas, e.g. 0=negative,1=positive. Labels with commas: as a mapping in a YAML file (--config).")
        value = [(label, text) for label, _, text in parts]
    pairs = list(value.items() if isinstance(value, Mapping) else value) if isinstance(value, Mapping | list) else []
    texts = {_written(label): _written(text) for label, text in pairs}
    for label, text in texts.items():
        if not label or not text:
            raise ConfigError(f"`{name}` gives label {label!r} the text {text!r}; both must be words. Fill it in, or leave the pair out.")
        if list(texts.values()).count(text) > 1 or (text in texts and text != label):
            raise ConfigError(f"`{name}` gives label {label!r} the text {text!r}, which belongs to another label, too; a text must say which label is meant. Give each label a text of its own.")
    if len(texts) < 2 or len(texts) < len(pairs):
        raise ConfigError(f"`{name}` is {value!r}; give a text for each of two or more different labels, e.g. {{0: negative, 1: positive}}.")
    return texts


def _written(value: object) -> str:
    """A label as text, as `data.cells` reads it: 1.0 is the label 1, true the label true."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def config_from(*sources: Mapping[str, Any]) -> RunConfig:
    """Build a `RunConfig` from mappings, later ones overriding earlier ones.

    Raises:
        ConfigError: On a key that is not a setting; near matches are named.
    """
    merged: dict[str, Any] = {}
    own: dict[str, Any] = {}
    known = [*_BUILT_IN, *peft_setting_owners()]
    for source in sources:
        for key, value in source.items():
            if key in known and key not in _BUILT_IN:
                own[key] = value
                continue
            if key not in known:
                raise ConfigError(f"unknown setting {key!r}.{near_matches(key, known)} See `predgen train --help` for all settings.")
            merged[key] = value
    return RunConfig(**merged, own=own)


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of settings. YAML holds data, never code.

    Raises:
        ConfigError: If the file is missing, is not YAML, or is not a mapping of settings.
    """
    from predgen.plain_data import read_yaml

    data = read_yaml(Path(path), error=ConfigError, repair="Write it as `setting: value` lines.")
    return {key.replace("-", "_"): value for key, value in data.items()}

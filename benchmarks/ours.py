"""Every call into predgen that the suite makes, in one place."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks import inputs
from benchmarks.inputs import HIGH, LOW, Ids
from benchmarks.models import ALPHA, ATTENTION, RANK, base_folder
from benchmarks.processes import Command
from benchmarks.settings import Setting
from benchmarks.steps import training_step
from predgen import registries
from predgen.codecs.base import Codec
from predgen.codecs.label import LabelCodec
from predgen.core import Target
from predgen.data.buckets import split_by_length
from predgen.data.collate import Batch, collate
from predgen.data.encode import Encoded
from predgen.engine.base_model import BaseModel, load_base
from predgen.inference.batching import predict_encoded
from predgen.models.base import ModelSetup, RowRunner
from predgen.peft_methods.base import apply_peft
from predgen.sampling.draws import SamplingPlan
from predgen.saved.exchange import MANIFEST
from predgen.target_scale import TargetScale

Call = Callable[[], object]
BATCH_TOKENS = 4096  # predgen's default; not looked at where the batch size is given
Factory = Callable[[Setting], Call]
SCALE = TargetScale(mean=(LOW + HIGH) / 2, std=1.5)


def classify(labels: Sequence[str], attention: str = ATTENTION) -> Factory:
    """Exact probabilities of all labels, and the best one; `attention` runs the prompts."""

    def make(setting: Setting) -> Call:
        model, _ = _model(setting, "generator", labels=labels)
        if attention != ATTENTION:
            model.lm.set_attn_implementation(attention)
        batch = _batch(inputs.prompts(setting), setting)
        return lambda: model.predict(batch)

    return make


def label_log_probs(labels: Sequence[str]) -> Factory:
    """Log P(a|X) of every label."""

    def make(setting: Setting) -> Call:
        model, _ = _model(setting, "generator", labels=labels)
        batch = _batch(inputs.prompts(setting), setting)
        return lambda: model.answer_log_probs(batch)

    return make


def distribution(decimals: int, bound: float) -> Factory:
    """The distribution over the numbers 0..5, but for at most `bound` of its mass."""

    def make(setting: Setting) -> Call:
        model, _ = _model(setting, "generator", decimals=decimals)
        batch = _batch(inputs.prompts(setting), setting)
        return lambda: model.distributions(batch, bound=bound)

    return make


def write_number(setting: Setting) -> Call:
    """The most probable number of the grid 0.0, 0.1, ..., 5.0."""
    model, _ = _model(setting, "generator", decimals=1)
    batch = _batch(inputs.prompts(setting), setting)
    return lambda: model.predict(batch)


def predict_with_instruction(full: int, *, share_prefix: bool) -> Factory:
    """Classify rows whose prompts begin with the same 60 tokens."""

    def make(setting: Setting) -> Call:
        model, _ = _model(setting, "generator", labels=inputs.LABELS_5)
        rows = _encoded(inputs.prompts_with_instruction(setting, setting.rows(full)))
        n = setting.batch_size
        return lambda: predict_encoded(
            model, rows, pad_id=0, batch_tokens=BATCH_TOKENS, batch_size=n, share_prefix=share_prefix
        )

    return make


def training_step_at_p1(setting: Setting) -> Call:
    """A step of PredGen whose writer is fed its own tokens only, as its trainer runs it: numbers, `value`, LoRA."""
    model, codec = _model(setting, "predgen", decimals=1, lora=True)
    batch = _batch(inputs.prompts(setting), setting, codec, inputs.numbers(setting.batch_size))
    plan = SamplingPlan(1.0, 0, 0)
    model.train()

    def backward() -> None:
        for part in split_by_length(batch):
            torch.autograd.backward(model(part, plan, "example").total / setting.batch_size)

    return training_step(model.parameters(), backward)


def answer_ids(setting: Setting, values: Sequence[float]) -> list[Ids]:
    """Tokens of numbers of the grid 0.0, 0.1, ..., 5.0, stop included; peers are trained on the same ones."""
    codec = _codec(load_base(str(base_folder(setting))).tokenizer, (), 1)
    return [codec.encode(Target(value)) for value in values]


def label_ids(setting: Setting, labels: Sequence[str]) -> list[Ids]:
    """Content tokens of labels; peers score the same ones."""
    codec = _codec(load_base(str(base_folder(setting))).tokenizer, labels, 0)
    return [codec.encode(Target(label))[:-1] for label in labels]


def train_command(table: Path, validation: Path, out: Path, setting: Setting, **settings: object) -> Command:
    """`predgen train` with its defaults; `settings` are further flags."""
    flags: dict[str, object] = {
        "data": table,
        "validation-data": validation,
        "prompt": inputs.TEMPLATE,
        "model": base_folder(setting),
        "dtype": setting.spec.dtype,
        "batch-size": setting.batch_size,
        "out": out,
        **{name.replace("_", "-"): value for name, value in settings.items()},
    }
    arguments = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    return Command("predgen", ("train", *arguments, "--overwrite"))


def predict_command(run: Path, table: Path, out: Path) -> Command:
    """`predgen predict` with its defaults."""
    return Command("predgen", ("predict", str(run), str(table), "--out", str(out), "--overwrite"))


def is_trained(run: Path) -> bool:
    """Whether a folder holds a finished run."""
    return (run / MANIFEST).is_file()


def _model(
    setting: Setting,
    method: Literal["generator", "predgen"],
    *,
    labels: Sequence[str] = (),
    decimals: int = 1,
    lora: bool = False,
) -> tuple[Any, Codec]:
    """A prediction model on the base, in eval state, with its codec."""
    base = load_base(str(base_folder(setting)), dtype=setting.spec.dtype)
    codec = _codec(base.tokenizer, labels, decimals)
    options = {"rank": RANK, "alpha": ALPHA}
    peft = registries.peft_methods.get("lora")
    lm = apply_peft(peft, base.lm, options, total_optimizer_steps=1) if lora else base.lm
    setup = ModelSetup(
        method=method,
        kind="classification" if labels else "regression",
        labels=tuple(labels),
        target_mean=SCALE.mean,
        target_std=SCALE.std,
    )
    return registries.methods.get(method)(setup, lm, codec).to(setting.spec.device).eval(), codec


def _codec(tokenizer: Any, labels: Sequence[str], decimals: int) -> Codec:  # noqa: ANN401
    """Labels, or numbers 0..5."""
    if labels:
        return label_codec(tokenizer, labels)
    return number_codec(tokenizer, decimals)


def number_codec(tokenizer: Any, decimals: int) -> Codec:  # noqa: ANN401
    """Numbers 0..5 with so many decimals as answers."""
    codec: Codec = registries.codecs.get("number").fit([LOW, HIGH], tokenizer, scale=(LOW, HIGH), decimals=decimals)
    return codec


def label_codec(tokenizer: Any, labels: Sequence[str]) -> LabelCodec:  # noqa: ANN401
    """Labels as answers."""
    return LabelCodec.fit(labels, tokenizer)


def runner_of(base: BaseModel) -> RowRunner:
    """A base as models see it."""
    return RowRunner(base.lm)


def plain_rows(prompts: Sequence[Ids]) -> list[Encoded]:
    """Prompts alone, as predgen encodes them."""
    return _encoded(prompts)


def _encoded(prompts: Sequence[Ids], codec: Codec | None = None, values: Sequence[float] = ()) -> list[Encoded]:
    """Rows as predgen encodes them, with answers where a codec is given."""
    rows = []
    for i, prompt in enumerate(prompts):
        answer = codec.encode(Target(values[i])) if codec else ()
        weighed = codec.weighed_positions(answer) if codec else ()
        target = values[i] if codec else math.nan
        rows.append(Encoded(i, prompt, answer, weighed, target, 1.0, False, standardised=SCALE.standardised(target)))
    return rows


def _batch(prompts: Sequence[Ids], setting: Setting, codec: Codec | None = None, values: Sequence[float] = ()) -> Batch:
    """Rows as tensors."""
    return collate(_encoded(prompts, codec, values), 0, setting.spec.device)

"""Runs that version 0.1 has begun, which had fewer settings, can be gone on with as they were meant."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from predgen.config import RunConfig
from predgen.errors import ConfigError
from predgen.terminal import PlainConsole
from predgen.training.folder import CONFIG, look_at, settings_of_start
from predgen.training.run import train
from tiny_runs import tiny_base, tiny_rows

# config.yaml as 0.1 wrote it
WRITTEN = """\
task: null
data_dir: null
data: {data}
validation_data: null
prompt: '{{text}} ='
target: answer
kind: {kind}
weight_column: null
decimals: null
limit: null
bad_rows: error
truncate_field: null
max_length: 512
form: paper
rationale: true
model: {model}
method: predgen
peft: lora
rank: 2
alpha: 4.0
rocoft_axis: null
rocoft_selection: null
melora_blocks: null
propulsion_degree: null
director: null
pooling: last
dtype: float32
trust_remote_code: false
loss: wdal_shifted
reduction: example
ordered_last_weight: 2.0
class_weight: none
sampling: token
sampling_schedule: linear
p_min: 0.0
p_max: 1.0
max_steps_for_sampling: null
sampling_passes: 2
max_tree_nodes: 256
epochs: 3.0
max_steps: 2
batch_size: 4
gradient_accumulation: 1
learning_rate: 0.002
lr_schedule: cosine
warmup_ratio: 0.06
warmup_steps: null
weight_decay: 0.0
optimizer: adamw
max_grad_norm: 1.0
bf16: false
gradient_checkpointing: false
seed: 0
split_seed: null
eval_steps: null
eval_rows: null
eval_batch_size: null
eval_batch_tokens: 4096
metric: null
patience: null
report_to: none
"""


def begun(folder: Path, kind: str, data: Path, model: str) -> RunConfig:
    """Make the folder of such a run; return the settings of the command that began it."""
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(WRITTEN.format(kind=kind, data=data, model=model), encoding="utf-8")
    given = {"prompt": "{text} =", "target": "answer", "kind": kind, "model": model}
    return RunConfig(**given, data=str(data), rank=2, alpha=4.0, max_steps=2, batch_size=4)


def test_settings_that_the_version_had_not_are_what_it_did(tmp_path: Path) -> None:
    of_all = {"stratify": False, "calibrate": False, "head_norm": "none", "loss": "wdal_shifted"}
    of_numbers = {"number_format": "fixed", "metric": "pearson", "director": "value"}
    for kind, more in (("classification", {"director": "linear"}), ("regression", of_numbers)):
        config = begun(tmp_path, kind, tmp_path / "rows.csv", "embedded")
        look_at(tmp_path, config, resume=True, overwrite=False)
        assert settings_of_start(tmp_path, config) == replace(config, **of_all, **more)


def test_settings_are_refused_that_are_neither_its_own_nor_left_alone(tmp_path: Path) -> None:
    config = begun(tmp_path, "regression", tmp_path / "rows.csv", "embedded")
    for name, value in (("number_format", "scientific"), ("minimum", 0.0), ("seed", 1)):
        with pytest.raises(ConfigError, match=f"{name} .* -> {value!r}"):
            look_at(tmp_path, replace(config, **{name: value}), resume=True, overwrite=False)


def test_such_a_run_is_gone_on_with_and_says_how(tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    rows = [
        f"{row.fields['text']} {row.row_id},{row.target and row.target.value}"
        for row in tiny_rows(20, "classification")
    ]
    data.write_text("\n".join(["text,answer", *rows]), encoding="utf-8")
    config = begun(tmp_path / "run", "classification", data, str(tiny_base(tmp_path / "base")))
    said = io.StringIO()
    trained = train(config, tmp_path / "run", resume=True, console=PlainConsole(file=said))
    assert "goes on with stratify False" in said.getvalue()
    assert (trained.config.stratify, trained.config.head_norm) == (False, "none")
    assert (trained.config.director, trained.config.loss) == ("linear", "wdal_shifted")
    assert trained.report["optimizer_steps"] == 2

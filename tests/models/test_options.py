"""Method "options": the texts of a row's options are scored, and the likeliest is chosen."""

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import predgen
from cli_runs import predgen as command
from predgen import registries
from predgen.codecs.option import OptionCodec
from predgen.compare.plan_file import plan_from
from predgen.config import RunConfig
from predgen.core import Decoding, Example, TaskSpec
from predgen.data.digests import row_digest
from predgen.data.encode import Encoder
from predgen.data.examples import to_examples
from predgen.data.tables import available_splits, load_task
from predgen.errors import ConfigError, DataError, RenamedWarning
from predgen.evaluation import evaluate, rows_to_measure
from predgen.inference.trained import TrainedModel
from predgen.training.prepare import make_codec, make_encoder, make_setup
from predgen.training.rows import TrainingData, load_data, task_of
from predgen.training.run import train
from task_files import REAL, needs_real_rows, publish
from tiny_models import save_tiny
from tokenizers_for_tests import char_level, embedded, gpt2_like

CHOICE = [name for name in registries.tasks if registries.tasks.get(name).cloze is not None]


def config_of(name: str, **settings: Any) -> RunConfig:
    given = {"task": name, "method": "options", "max_length": 256, **settings}
    return RunConfig(**given)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("base"), char_level())


def run(base: Path, name: str, folder: Path, out: Path | None = None, **settings: Any) -> TrainedModel:
    given = {"model": str(base), "data_dir": str(folder), "batch_size": 4, "max_steps": 1, "rank": 2, **settings}
    return train(config_of(name, **given), out)


def test_tasks_with_options() -> None:
    assert CHOICE == ["piqa", "siqa", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "obqa"]
    for name in CHOICE:
        task = registries.tasks.get(name)
        assert len(task.options) == len(task.labels)
        assert not any(f"{{{column}}}" in task.cloze for column in task.options)


@pytest.mark.parametrize("name", ["piqa", "arc_easy"])
def test_scores_are_those_of_a_plain_loop(base: Path, tmp_path: Path, name: str) -> None:
    publish(name, tmp_path)
    if name == "arc_easy":  # rows with three to five options
        (tmp_path / "ARC-Easy-Train.jsonl").write_text((tmp_path / "ARC-Easy-Dev.jsonl").read_text() * 4)
    trained = run(base, name, tmp_path)
    rows = to_examples(load_task(trained.task, "test", data_dir=tmp_path), trained.task)
    rows += to_examples(load_task(trained.task, "validation", data_dir=tmp_path), trained.task)
    predictions = trained.predict_examples(rows, batch_size=3)
    stop = trained.base.tokenizer.eos_token_id
    for row, prediction in zip(rows, predictions, strict=True):
        prompt = trained.base.tokenizer.encode(trained.task.prompt.format(**row.fields), add_special_tokens=False)
        scores = []
        for option in row.options:
            answer = [*trained.base.tokenizer.encode(" " + option.strip(), add_special_tokens=False), stop]
            with torch.no_grad():
                logits = trained.model.lm(torch.tensor([prompt + answer])).logits[0].log_softmax(dim=1)
            scores.append(sum(logits[len(prompt) - 1 + t, token].item() for t, token in enumerate(answer)))
        expected = torch.tensor(scores, dtype=torch.float64).softmax(dim=0).tolist()
        assert prediction.probabilities is not None
        assert prediction.probabilities[: len(expected)] == pytest.approx(expected, abs=1e-4)
        assert set(prediction.probabilities[len(expected) :]) <= {0.0}  # options that the row does not have
        assert len(prediction.probabilities) == len(trained.labels)
        assert prediction.value == trained.labels[max(range(len(scores)), key=scores.__getitem__)]


def test_gold_option_is_what_is_trained(base: Path, tmp_path: Path) -> None:
    config = config_of("piqa", data_dir=str(publish("piqa", tmp_path)))
    data = load_data(config)
    encoder = encoder_of(config, data.task, data.train, char_level())
    by_label = {"solution1": "sol1", "solution2": "sol2"}
    rows = {row["goal"]: row for row in load_task(registries.tasks.get("piqa"), "train", data_dir=tmp_path)}
    for example in data.train:
        assert example.target is not None
        encoded = encoder.encode(example)
        text = char_level().decode(list(encoded.answer_ids[:-1]))
        assert text == " " + rows[example.fields["goal"]][by_label[str(example.target.value)]]
        assert encoded.answer_ids[-1] == char_level().eos_token_id
        assert encoded.answer_ids in encoded.options
        assert encoder.encode(example, with_answer=False).options == encoded.options


def encoder_of(config: RunConfig, task: TaskSpec, rows: list[Example], tokenizer: Any) -> Encoder:
    setup = make_setup(config, task, rows)
    codec = make_codec(config, task, setup, rows, tokenizer)
    return make_encoder(config, task, codec, setup.labels, tokenizer, None)


def test_training_raises_the_gold_options_probability(base: Path, tmp_path: Path) -> None:
    publish("piqa", tmp_path)
    fresh = run(base, "piqa", tmp_path, learning_rate=0.0)
    rows = load_data(fresh.config).train
    trained = run(base, "piqa", tmp_path, max_steps=60, eval_steps=60, learning_rate=0.01, warmup_ratio=0.0)
    before, after = (evaluate(model, rows, n_resamples=10).metrics for model in (fresh, trained))
    assert after["log_loss"] < before["log_loss"] - 5


def test_saved_model_measures_the_same(base: Path, tmp_path: Path) -> None:
    trained = run(base, "siqa", publish("siqa", tmp_path / "data"), tmp_path / "run")
    rows = rows_to_measure(trained, split="test")
    loaded = predgen.load(tmp_path / "run")
    assert (loaded.task, loaded.config) == (trained.task, trained.config)
    assert loaded.predict_examples(rows) == trained.predict_examples(rows)
    found = evaluate(loaded, rows, n_resamples=10)
    assert (found.rows, set(found.metrics)) == (6, {"accuracy", "macro_f1", "log_loss"})
    result = command("evaluate", tmp_path / "run", "--split", "test")
    assert result.exit_code == 0, result.output
    assert loaded.report["validation"] == evaluate(loaded, load_data(loaded.config).validation, n_resamples=10).metrics


def test_rows_without_targets_are_predicted_by_command(base: Path, tmp_path: Path) -> None:
    run(base, "piqa", publish("piqa", tmp_path / "data"), tmp_path / "run")
    rows = [{"goal": f"Open jar {i}.", "sol1": "Twist.", "sol2": "Sing."} for i in range(5)]
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = command("predict", tmp_path / "run", tmp_path / "new.jsonl", "-o", tmp_path / "out.jsonl")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(lines) == 5
    assert all(set(row.values()) & {"solution1", "solution2"} for row in lines)


def test_validate_measures_the_longest_option(base: Path, tmp_path: Path) -> None:
    given = ("--task", "piqa", "--data-dir", publish("piqa", tmp_path), "--method", "options")
    result = command("validate", *given, "--model", base, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    # One token per character: "Question: Reach goal 0.\nAnswer:" and " Use a \"cup\"." with the stop.
    assert found["tokens_per_row"]["min"] == len("Question: Reach goal 0.\nAnswer:") + len(' Use a "cup".') + 1


def test_long_options_shorten_the_prompt_and_never_the_option(tmp_path: Path) -> None:
    config = config_of("piqa", data_dir=str(publish("piqa", tmp_path)), max_length=60)
    data = load_data(config)
    encoder = encoder_of(config, data.task, data.train, char_level())
    row = replace(data.train[0], options=("x" * 40, "y"), fields={"goal": "a long goal " * 9})
    encoded = encoder.encode(row)
    assert encoded.is_truncated
    assert len(encoded.options[0]) == 42  # blank, forty letters, stop
    assert len(encoded.prompt_ids) + 42 <= 60
    with pytest.raises(DataError, match=r"`max_length` 60 leaves -2"):
        encoder.encode(replace(row, options=("x" * 60, "y")))


def test_options_count_as_part_of_the_row() -> None:
    rows = [Example(0, {"goal": "a"}, options=options) for options in (("x", "y"), ("x", "z"), ("x", "Y "))]
    first, second, third = map(row_digest, rows)
    assert first == third != second


# What does not go together


# What the first version called form "cloze"


@pytest.mark.filterwarnings("always::predgen.errors.RenamedWarning")
def test_settings_of_the_first_version_are_read(tmp_path: Path) -> None:
    now = RunConfig(task="piqa", method="options")
    with pytest.warns(RenamedWarning, match="is called `method: options` now"):
        assert RunConfig(task="piqa", form="cloze", method="generator") == now
    assert RunConfig(task="piqa", form="paper", method="generator") == RunConfig(task="piqa", method="generator")
    given = ("--task", "piqa", "--data-dir", publish("piqa", tmp_path), "--method", "generator", "--form", "cloze")
    result = command("validate", *given, "--json")
    assert result.exit_code == 0, result.output
    assert "`method: options`" in result.stderr


@pytest.mark.parametrize("method", ["predictor", "predgen"])
def test_heads_are_refused(method: str) -> None:
    with pytest.raises(ConfigError, match=f"`form` is 'cloze' with `method` '{method}'"):
        RunConfig(task="piqa", form="cloze", method=method)


def test_folder_of_the_first_version_is_loaded(base: Path, tmp_path: Path) -> None:
    trained = run(base, "siqa", publish("siqa", tmp_path / "data"), tmp_path / "run")
    path = tmp_path / "run" / "predgen.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["setup"]["method"] = data["config"]["method"] = "generator"
    data["config"]["form"] = "cloze"
    path.write_text(json.dumps(data), encoding="utf-8")
    rows = rows_to_measure(trained, split="test")
    with pytest.warns(RenamedWarning):
        loaded = predgen.load(tmp_path / "run")
    assert loaded.predict_examples(rows) == trained.predict_examples(rows)


def test_plan_of_the_first_version_is_read_and_one_plan_has_one_form() -> None:
    old = {"tasks": ["piqa"], "methods": ["generator"], "settings": {"form": "cloze", "data_dir": "x"}}
    with pytest.warns(RenamedWarning):
        plan = plan_from(old)
    assert [cell.settings["method"] for cell in plan.cells("piqa", 0, {}) if cell.baseline in (None, "zero_shot")] == [
        "options",
        "options",
    ]
    with pytest.raises(ConfigError, match="method 'options' asks without the options"):
        plan_from({"tasks": ["piqa"], "methods": ["generator", "options"]})


def test_tasks_without_options_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"which task 'sst2' has not; these have them: piqa, siqa"):
        task_of(config_of("sst2"))
    own = RunConfig(data="x.csv", prompt="{a}", target="b", kind="classification", method="options")
    with pytest.raises(
        ConfigError, match=r"method 'options' chooses among the options of the known multiple-choice tasks"
    ):
        task_of(own)


def test_free_decoding_is_refused(base: Path, tmp_path: Path) -> None:
    trained = run(base, "piqa", publish("piqa", tmp_path))
    with pytest.raises(ConfigError, match="method 'options' scores options and writes nothing: leave out `decode`"):
        trained.predict_examples([], decoding=Decoding("free"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"option1": "a", "answer": "answer1"}, r"missing column 'option2' \(for an option\)"),
        ({"option1": "a", "option2": None, "answer": "answer1"}, "1 options, but a choice needs two or more"),
        ({"option1": "a", "option2": "b", "answer": "answer3"}, "'answer3' .not one of the row's 2 options"),
        ({"option1": "a", "option2": None, "option3": "c", "answer": "answer1"}, "missing"),
    ],
)
def test_rows_without_enough_options_are_named(row: dict[str, Any], message: str) -> None:
    task = task_of(config_of("arc_easy"))
    with pytest.raises(DataError, match=message):
        to_examples([{"question": "Why?", **row}], task)


def test_option_that_cannot_be_written_names_the_row(tmp_path: Path) -> None:
    config = config_of("piqa", data_dir=str(publish("piqa", tmp_path)))
    data: TrainingData = load_data(config)
    encoder = encoder_of(config, data.task, data.train, char_level())
    with pytest.raises(DataError, match=r"row 5: one of its options cannot be written: .*cannot spell"):
        encoder.encode(Example(4, {"goal": "a"}, options=("caf\u00e9", "b")))


@functools.cache
def real_tokenizer() -> Any:
    return embedded() or gpt2_like()


def bare(text: str) -> str:
    return "".join(text.split())


@needs_real_rows
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n == "siqa" else ()) for n in CHOICE])
def test_real_options_make_the_round_trip(name: str) -> None:
    config = config_of(name, max_length=1024)
    task = task_of(config)
    for split in available_splits(task, REAL):
        rows = to_examples(load_task(task, split, data_dir=REAL)[:16], task)
        encoder = encoder_of(config, task, rows, real_tokenizer())
        assert isinstance(encoder.codec, OptionCodec)
        for row in rows:
            assert row.target is not None
            encoded = encoder.encode(row)
            read = [encoder.codec.decode(ids[:-1]).value for ids in encoded.options]
            assert [bare(str(text)) for text in read] == [bare(text) for text in row.options]
            assert encoded.answer_ids == encoded.options[list(task.labels.values()).index(str(row.target.value))]

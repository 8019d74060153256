"""Decision models: transformers' own pipeline gives our probabilities, and what it cannot give is refused by name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer, pipeline

from predgen.core import Decoding, Example, Target
from predgen.data.examples import custom_task
from predgen.errors import ConfigError
from predgen.exporting.decision import write_decision
from predgen.inference.trained import TrainedModel
from predgen.training.rows import TrainingData
from tiny_models import save_tiny
from tiny_runs import tiny_data, tiny_run
from tokenizers_for_tests import char_level, gpt2_like, llama2_like

TEXTS = (
    "A warm room, and 12.5 songs!\nGood",
    "Grün",
    "two <eos> ends",
    "it's {{ 1 }} {% if %} \\n",
    "blank at its end ",
)
TOKENIZERS = {"char": char_level, "gpt2": gpt2_like, "llama2": llama2_like}


def run_of(
    base: Path, labels: tuple[str, ...], *, prompt: str = "{text} =", method: str = "generator", **settings: Any
) -> TrainedModel:
    """A run of two steps on these labels."""
    rows = [Example(i, {"text": f"row {i}"}, Target(labels[i % len(labels)])) for i in range(8)]
    task = custom_task(prompt=prompt, target="answer", kind="classification")
    data = TrainingData(task, rows, [])
    return tiny_run(base, "classification", data, max_steps=2, prompt=prompt, method=method, **settings)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {name: save_tiny("llama", folder / name, made(), layers=1) for name, made in TOKENIZERS.items()}


def asked(folder: Path, state: Any, question: dict[str, Any]) -> dict[str, Any]:
    """What the pipeline answers."""
    answers: dict[str, Any] = pipeline("decision", model=str(folder))({"state": state, "questions": {"own": question}})
    return answers["own"]


def choice(trained: TrainedModel) -> dict[str, Any]:
    """The run's own question."""
    return {"type": "choice", "criteria": dict.fromkeys(trained.labels)}


@pytest.mark.parametrize(("name", "labels"), [("char", ("low", "high", "middle")), ("gpt2", ("positive", "a"))])
def test_pipeline_gives_our_probabilities(
    bases: dict[str, Path], tmp_path: Path, name: str, labels: tuple[str, ...]
) -> None:
    trained = run_of(bases[name], labels, prompt='Say "{text}"\n\tand {{here}}: {text}')
    trained.model.temperature = 1.7  # as calibration sets it
    write_decision(trained, tmp_path / "made")
    decide = pipeline("decision", model=str(tmp_path / "made"))
    for text in TEXTS:
        told = decide({"state": {"text": text}, "questions": {"own": choice(trained)}})["own"]
        ours = trained.predict([{"text": text}])[0]
        assert list(told["probabilities"].values()) == pytest.approx(ours.probabilities, abs=1e-6), text
        assert told["choice"] == ours.value
    assert decide({"state": TEXTS[0], "questions": {"own": choice(trained)}})["own"] == asked(
        tmp_path / "made", {"text": TEXTS[0]}, choice(trained)
    )


def test_yes_and_no_and_levels_are_asked_in_their_own_forms(bases: dict[str, Path], tmp_path: Path) -> None:
    trained = run_of(bases["char"], ("0", "1"))
    write_decision(trained, tmp_path / "made")
    probabilities = trained.predict(["a row"])[0].probabilities
    assert probabilities is not None
    assert asked(tmp_path / "made", "a row", {"type": "noul"})["noul"] == pytest.approx(probabilities[1], abs=1e-6)
    level = asked(tmp_path / "made", "a row", {"type": "score", "criteria": ["0", "1"]})
    assert level["score"] == pytest.approx(probabilities[1], abs=1e-6)


@pytest.mark.parametrize(
    ("state", "question"),
    [
        ("a row", {"type": "choice", "criteria": {"b": None, "a": None}}),  # another order has other labels' tokens
        ("a row", {"type": "choice", "criteria": {"a": None}}),
        ("a row", {"type": "noul", "instructions": "Is it a?"}),
        ({"txt": "a row"}, {"type": "choice", "criteria": {"a": None, "b": None}}),
        ({"text": 3}, {"type": "choice", "criteria": {"a": None, "b": None}}),
        (["a row"], {"type": "choice", "criteria": {"a": None, "b": None}}),
    ],
)
def test_questions_and_states_that_are_not_the_runs_are_refused(
    bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, state: Any, question: dict[str, Any]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "refusing"
    if not folder.exists():
        write_decision(run_of(bases["char"], ("a", "b")), folder)
    with pytest.raises(TemplateError, match=r"trained to answer|`state` has to be"):
        asked(folder, state, question)


def test_what_a_director_predicts_is_refused_and_its_writer_exported(bases: dict[str, Path], tmp_path: Path) -> None:
    trained = run_of(bases["char"], ("a", "b"), method="predgen")
    with pytest.raises(ConfigError, match="--decode greedy"):
        write_decision(trained, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    write_decision(trained, tmp_path / "made", decode="greedy")
    ours = trained.predict(["a row"], decoding=Decoding(how="greedy"))[0].probabilities
    told = asked(tmp_path / "made", "a row", choice(trained))["probabilities"]
    assert list(told.values()) == pytest.approx(ours, abs=1e-6)


def test_labels_of_several_tokens_numbers_and_heads_are_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'lo', 'low'"):
        write_decision(run_of(bases["char"], ("lo", "low", "h")), tmp_path / "made")
    with pytest.raises(ConfigError, match="'predictor'"):
        write_decision(run_of(bases["char"], ("a", "b"), method="predictor"), tmp_path / "made")
    numbers = tiny_run(bases["char"], "regression", tiny_data("regression", 4), method="generator", max_steps=1)
    with pytest.raises(ConfigError, match="no labels"):
        write_decision(numbers, tmp_path / "made")
    with pytest.raises(ConfigError, match="'free'"):
        write_decision(run_of(bases["char"], ("a", "b")), tmp_path / "made", decode="free")


def test_a_tokenizer_that_gives_the_pipeline_other_tokens_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    trained = run_of(bases["llama2"], ("a", "b"))  # writes a text's first word otherwise behind its start token
    with pytest.raises(ConfigError, match="other tokens"):
        write_decision(trained, tmp_path / "made")


def test_a_chats_frame_is_part_of_the_template(tmp_path: Path) -> None:
    tokenizer = gpt2_like().__class__(tokenizer_object=gpt2_like().backend_tokenizer, padding_side="left")
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"})
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]\n{{ m['content'] }}<|endoftext|>\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]\n{% endif %}"
    )
    base = save_tiny("llama", tmp_path / "base", tokenizer, layers=1)
    trained = run_of(base, ("a", "b"), format="chat", system="Judge.")
    assert trained.encoder.frame is not None
    write_decision(trained, tmp_path / "made")
    assert AutoTokenizer.from_pretrained(tmp_path / "made").chat_template == tokenizer.chat_template
    for text in ("a row", "end <|endoftext|> of it"):
        told = asked(tmp_path / "made", text, choice(trained))["probabilities"]
        assert list(told.values()) == pytest.approx(trained.predict([text])[0].probabilities, abs=1e-6)


def test_labels_tokens_are_those_of_the_codec(bases: dict[str, Path], tmp_path: Path) -> None:
    trained = run_of(bases["gpt2"], ("a", "b"))
    write_decision(trained, tmp_path / "made")
    decide = pipeline("decision", model=str(tmp_path / "made"))
    ids = decide.label_token_ids(tuple(decide.decision_config.labels["choice"]))
    assert trained.encoder.codec is not None
    assert ids == [trained.encoder.codec.encode(Target(label))[0] for label in trained.labels]
    assert replace(decide.decision_config, chat_template=None).temperature["choice"] == 1.0

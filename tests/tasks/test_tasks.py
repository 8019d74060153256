"""Every registered task: its declaration, and its files in the publisher's exact format."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from predgen import registries
from predgen.core import Example, TaskSpec
from predgen.data.examples import extractor, prompt_fields, to_examples
from predgen.data.tables import available_splits, load_task

REAL = Path(__file__).parents[2].parent / "shared" / "data"
needs_real_rows = pytest.mark.skipif(not REAL.is_dir(), reason="the publishers' files are not here")
NAMES = list(registries.tasks)

# Longest prompt around the fields, in words: a small model is trained with some 100,000 tokens.
MAX_TEMPLATE_WORDS = 25


def task_of(name: str) -> TaskSpec:
    task: TaskSpec = registries.tasks.get(name)
    return task


def lines(n: int, line: str, header: str = "") -> str:
    """`n` lines with {i} filled in, below a header line if there is one."""
    return "\n".join(([header] if header else []) + [line.replace("{i}", str(i)) for i in range(n)]) + "\n"


def json_lines(n: int, **values: object) -> str:
    return lines(n, json.dumps(values))


SST2_HEADER = "sentence\tlabel"
SICK_HEADER = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment"
SICK_LINE = '{i}\tA man {i} is "running"\tNo man {i} runs"\t3.5\tNEUTRAL'
STSB_LINE = 'main-captions\tMSRvid\t2012test\t00{i}\t3.800\tA "man" {i} runs.\t"A man {i} walks.'
WASSA_HEADER = "id\ttweet\ttweettype\tscore"
EMOTIONS = ("anger", "fear", "joy", "sadness")
QUESTION = "is {i} a number"
INSTRUCTION = (
    "Please answer the following question with true or false, question: is {i} a number?\n\nAnswer format: true/false"
)

FILES: dict[str, dict[str, str]] = {
    "sst2": {
        "train.tsv": lines(20, "a fine `` film {i} '' \t1", SST2_HEADER),
        "dev.tsv": lines(5, 'a dull "film {i} . \t0', SST2_HEADER),
        "test-labeled.tsv": lines(6, "a film {i} .\t1", SST2_HEADER),
    },
    "boolq": {
        "train.llm_adapters.json": json.dumps(
            [
                {
                    "instruction": INSTRUCTION.replace("{i}", str(i)),
                    "input": "",
                    "output": "the correct answer is true",
                    "answer": "true",
                }
                for i in range(20)
            ]
        ),
        "dev.jsonl": json_lines(5, question=QUESTION, title="Number", answer=False, passage="A number is {i}."),
        "test.jsonl": json_lines(6, question=QUESTION, title="Number", answer=True, passage="A number is {i}."),
    },
    "stsb": {
        "sts-train.csv": lines(19, STSB_LINE)
        + lines(1, STSB_LINE + "\thttp://source/{i}\thttp://other").replace(" 0", " x"),
        "sts-dev.csv": lines(5, STSB_LINE),
        "sts-test.csv": lines(6, STSB_LINE),
    },
    "sick": {
        "SICK_train.txt": lines(20, SICK_LINE, SICK_HEADER),
        "SICK_trial.txt": lines(5, SICK_LINE, SICK_HEADER),
        "SICK_test_annotated.txt": lines(6, SICK_LINE, SICK_HEADER),
    },
    "wassa": {
        # Half of the files have a header line, half have none: copies differ.
        **{
            f"training/{e}-ratings-0to1.train.txt": lines(
                5, r"1{i}" + f'\t{e} {{i}} &lt;3\\n"so\t{e}\t0.5', WASSA_HEADER * (e < "g")
            )
            for e in EMOTIONS
        },
        **{
            f"validation/{e}-ratings-0to1.dev.gold.txt": lines(2, f"2{{i}}\t{e} {{i}}\t{e}\t0.25", WASSA_HEADER)
            for e in EMOTIONS
        },
        **{f"testing/{e}-ratings-0to1.test.gold.txt": lines(3, f"3{{i}}\t{e} {{i}}\t{e}\t0.75") for e in EMOTIONS},
    },
    "gsm8k": {
        "train.jsonl": json_lines(
            20, question="What is 2*{i}00?", answer="It is 2*{i}00=<<2*{i}00=1200>>1200.\nTotal.\n#### 1,200"
        ),
        "test.jsonl": json_lines(6, question="What is {i}-9?", answer="Below zero.\n#### -9"),
    },
}


def publish(name: str, folder: Path, without: str = "") -> Path:
    """Write a task's files, leaving out those whose name contains `without`."""
    for path, content in FILES[name].items():
        if not (without and without in path):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content.encode("utf-8"))
    return folder


def examples_of(name: str, split: str, folder: Path) -> list[Example]:
    return to_examples(load_task(task_of(name), split, data_dir=folder), task_of(name))


def target_of(example: Example) -> str | float:
    assert example.target is not None
    return example.target.value


# Declarations


@pytest.mark.parametrize("name", NAMES)
def test_declaration_is_complete(name: str) -> None:
    task = task_of(name)
    assert task.name == name
    assert task.target not in prompt_fields(task.prompt)
    assert all(metric in registries.metrics for metric in task.metrics)
    assert set(task.files) <= {"train", "validation", "test"}
    assert "train" in task.files
    assert task.source
    assert task.licence
    assert task.version >= 1
    assert task.group


@pytest.mark.parametrize("name", NAMES)
def test_scale_labels_and_rationale_fit_the_kind(name: str) -> None:
    task = task_of(name)
    assert bool(task.labels) == (task.kind == "classification")
    assert (task.scale is not None) == (task.kind == "regression")
    if task.scale is not None:
        low, high = task.scale
        assert f"from {low:g} to {high:g}:" in task.prompt  # the prompt states the right scale
    for label in task.labels.values():
        assert label in task.prompt


@pytest.mark.parametrize("name", NAMES)
def test_prompt_is_short(name: str) -> None:
    task = task_of(name)
    bare = task.prompt.format(**dict.fromkeys(prompt_fields(task.prompt), ""))
    assert len(bare.split()) <= MAX_TEMPLATE_WORDS


@pytest.mark.parametrize("name", NAMES)
def test_hub_declares_splits_with_labels(name: str) -> None:
    hub = task_of(name).hub
    assert hub is None or "train" in hub.splits


def test_expected_scales() -> None:
    assert {name: task_of(name).scale for name in ("stsb", "sick", "wassa")} == {
        "stsb": (0, 5),
        "sick": (1, 5),
        "wassa": (0, 1),
    }


# Files in the publisher's format


@pytest.mark.parametrize("name", NAMES)
def test_published_splits_are_used_where_there_is_a_test_file(name: str, tmp_path: Path) -> None:
    folder = publish(name, tmp_path)
    assert available_splits(task_of(name), folder) == ("train", "validation", "test")
    counts = {split: len(examples_of(name, split, folder)) for split in ("train", "validation", "test")}
    has_validation = "validation" in task_of(name).files
    assert sum(counts.values()) == total_rows(name)
    assert counts["train"] == (20 if has_validation else 18)


def total_rows(name: str) -> int:
    return {"wassa": 20 + 8 + 12, "gsm8k": 20 + 6}.get(name, 20 + 5 + 6)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "gsm8k"])
def test_published_dev_is_test_where_there_is_no_test_file(name: str, tmp_path: Path) -> None:
    folder = publish(name, tmp_path, without="test")
    assert len(examples_of(name, "test", folder)) == (8 if name == "wassa" else 5)
    assert len(examples_of(name, "train", folder)) + len(examples_of(name, "validation", folder)) == 20


@pytest.mark.parametrize("name", NAMES)
def test_extract_changes_nothing_when_applied_again(name: str, tmp_path: Path) -> None:
    extract = extractor(task_of(name))
    for row in load_task(task_of(name), "train", data_dir=publish(name, tmp_path)):
        assert dict(extract(row)) == row
    assert dict(extract({"something": 1})) == {"something": 1}


@pytest.mark.parametrize("name", NAMES)
def test_rows_without_targets_can_be_predicted(name: str) -> None:
    task = task_of(name)
    row = dict.fromkeys(prompt_fields(task.prompt), "some text")
    (example,) = to_examples([row], task, with_target=False)
    assert set(example.fields.values()) == {"some text"}


def first(name: str, split: str, folder: Path) -> tuple[Mapping[str, str], Any]:
    example = examples_of(name, split, publish(name, folder))[0]
    assert example.target is not None
    return example.fields, example.target


def test_sst2_sentences_end_without_a_space(tmp_path: Path) -> None:
    fields, target = first("sst2", "train", tmp_path)
    assert (fields, target.value) == ({"sentence": "a fine `` film 0 ''"}, "positive")
    assert first("sst2", "validation", tmp_path)[1].value == "negative"


def test_boolq_asks_the_bare_question_on_both_sides(tmp_path: Path) -> None:
    train, test = first("boolq", "train", tmp_path), first("boolq", "validation", tmp_path)
    assert train[0] == test[0] == {"question": "is 0 a number"}
    assert (train[1].value, test[1].value) == ("true", "false")


def test_stsb_rows_may_have_seven_or_nine_fields_and_any_quotes(tmp_path: Path) -> None:
    examples = examples_of("stsb", "train", publish("stsb", tmp_path))
    assert len(examples) == 20
    assert examples[0].fields == {"sentence1": 'A "man" 0 runs.', "sentence2": '"A man 0 walks.'}
    assert target_of(examples[0]) == 3.8


def test_sick_quotes_are_ordinary_characters(tmp_path: Path) -> None:
    fields, target = first("sick", "train", tmp_path)
    assert (fields, target.value) == ({"sentence_A": 'A man 0 is "running"', "sentence_B": 'No man 0 runs"'}, 3.5)


def test_wassa_reads_files_with_and_without_header(tmp_path: Path) -> None:
    examples = examples_of("wassa", "train", publish("wassa", tmp_path))
    assert [e.fields["tweettype"] for e in examples] == [emotion for emotion in EMOTIONS for _ in range(5)]
    assert examples[0].fields["tweet"] == 'anger 0 <3\n"so'
    assert {target_of(e) for e in examples} == {0.5}


def test_gsm8k_answer_is_split_at_the_mark(tmp_path: Path) -> None:
    _, target = first("gsm8k", "train", tmp_path)
    assert (target.value, target.rationale) == (1200.0, "It is 2*000=1200.\nTotal.")
    assert target_of(examples_of("gsm8k", "test", tmp_path)[0]) == -9.0


@pytest.mark.parametrize(("answer", "value"), [("72", 72.0), (72, 72.0), ("1,234", 1234.0)])
def test_gsm8k_takes_bare_answers(answer: object, value: float) -> None:
    (example,) = to_examples([{"question": "q", "answer": answer}], task_of("gsm8k"))
    assert example.target is not None
    assert (example.target.value, example.target.rationale) == (value, None)


# The publishers' own files

COUNTS = {
    "sst2": {"train+validation": 67_349, "test": 872},
    "boolq": {"train+validation": 9_427, "test": 1_635},
    "stsb": {"train+validation": 5_749, "test": 1_500},
    "sick": {"train+validation": 4_500, "test": 500},
    "wassa": {"train+validation": 3_613, "test": 347},
    "gsm8k": {"train+validation": 7_473, "test": 660},
}


@needs_real_rows
@pytest.mark.parametrize("name", list(COUNTS))
def test_real_rows_are_all_there_and_readable(name: str) -> None:
    task = task_of(name)
    rows = {split: load_task(task, split, data_dir=REAL) for split in ("train", "validation", "test")}
    found = {"train+validation": len(rows["train"]) + len(rows["validation"]), "test": len(rows["test"])}
    assert found == COUNTS[name]
    assert len(rows["validation"]) == pytest.approx(0.1 * found["train+validation"], abs=2)
    for part in rows.values():
        for example in to_examples(part[:64], task):
            assert example.target is not None
            if task.scale is not None:
                assert task.scale[0] <= float(example.target.value) <= task.scale[1]


@needs_real_rows
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "sst2" else ()) for name in COUNTS]
)
def test_real_splits_share_no_text(name: str) -> None:
    task = task_of(name)
    train, validation = (
        {
            " ".join(row[column].casefold().split())
            for row in load_task(task, split, data_dir=REAL)
            for column in task.group
        }
        for split in ("train", "validation")
    )
    assert not train & validation


@needs_real_rows
def test_real_labels_are_counted_as_published() -> None:
    for name, counts in (("sst2", {"negative": 428, "positive": 444}), ("boolq", {"true": 1_016, "false": 619})):
        assert Counter(target_of(e) for e in examples_of(name, "test", REAL)) == counts


@needs_real_rows
def test_real_answers_of_gsm8k_are_whole_numbers() -> None:
    answers = [float(target_of(e)) for e in examples_of("gsm8k", "test", REAL)]
    assert all(answer.is_integer() for answer in answers)
    assert sum(answer < 0 for answer in answers) == 1


@needs_real_rows
def test_real_tweets_are_unescaped() -> None:
    texts = [e.fields["tweet"] for e in examples_of("wassa", "train", REAL)]
    assert not any("&amp;" in text or "&lt;" in text or "\\n" in text for text in texts)
    assert any("\n" in text for text in texts)

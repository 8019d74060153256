"""The publishers' own files: every row is there and can be read, and splits that are made share no text."""

from collections import Counter
from pathlib import Path

import pytest

from predgen.data.examples import to_examples
from predgen.data.tables import load_task
from predgen.tasks.choices import read_instruction
from task_files import REAL, examples_of, needs_real_rows, target_of, task_of

LARGE = ("sst2", "siqa", "humicroedit")
COUNTS = {
    "sst2": {"train+validation": 67_349, "test": 872},
    "boolq": {"train+validation": 9_427, "test": 1_635},
    "stsb": {"train+validation": 5_749, "test": 1_500},
    "sick": {"train+validation": 4_500, "test": 500},
    "wassa": {"train+validation": 3_613, "test": 347},
    "gsm8k": {"train+validation": 7_473, "test": 660},
    "siqa": {"train+validation": 24_242, "test": 977},
    "winogrande": {"train+validation": 10_234, "test": 634},
    "arc_easy": {"train+validation": 2_251, "test": 570},
    "arc_challenge": {"train+validation": 1_119, "test": 299},
    "obqa": {"train+validation": 4_957, "test": 500},
    "lcp_single": {"train+validation": 7_662, "test": 421},
    "lcp_multi": {"train+validation": 1_517, "test": 99},
    "clear": {"train+validation": 3_307, "test": 472},
    "humicroedit": {"train+validation": 9_652, "test": 2_419},
}
ONE_FILE = {"piqa": 919, "hellaswag": 5_021, "math_10k": 1_739}
TEST_ONLY = {"multiarith": 300, "addsub": 198, "singleeq": 254, "svamp": 500}


@needs_real_rows
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in COUNTS]
)
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
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in [*COUNTS, "piqa", "hellaswag"]],
)
def test_real_splits_share_no_text(name: str) -> None:
    task = task_of(name)
    train, validation = (
        {
            " ".join(row[column].casefold().split())
            for row in load_task(task, split, data_dir=REAL)
            for column in task.group
            if row.get(column)
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


@needs_real_rows
@pytest.mark.parametrize("name", ONE_FILE)
def test_one_real_file_is_split_in_three(name: str) -> None:
    sizes = [len(load_task(task_of(name), split, data_dir=REAL)) for split in ("train", "validation", "test")]
    assert sum(sizes) == ONE_FILE[name]
    assert [size / sum(sizes) for size in sizes] == pytest.approx([0.7, 0.1, 0.2], abs=0.005)


@needs_real_rows
def test_real_word_problems_are_numbers() -> None:
    answers = {name: [float(target_of(e)) for e in examples_of(name, "test", REAL)] for name in TEST_ONLY}
    assert {name: len(values) for name, values in answers.items()} == TEST_ONLY
    fractions = {name: sum(not value.is_integer() for value in values) for name, values in answers.items()}
    assert (fractions["addsub"], fractions["singleeq"]) == (55, 58)


@needs_real_rows
def test_real_choice_letters_of_math_10k_are_left_out_by_name_only(tmp_path: Path) -> None:
    rows = [row for s in ("train", "validation", "test") for row in load_task(task_of("math_10k"), s, data_dir=REAL)]
    kept = to_examples(rows, task_of("math_10k"), bad_rows="skip", side_file=tmp_path / "bad.jsonl")
    assert (len(rows), len(kept)) == (1_739, 1_739 - 203)
    without = [e for e in kept if e.target is not None and e.target.rationale is None]
    assert len(without) == sum(not row["output"].strip() for row in rows if row["answer"] not in tuple("ABCDE"))
    assert len(without) < 10


@needs_real_rows
@pytest.mark.parametrize("name", ["arc_easy", "arc_challenge"])
def test_real_arc_prompts_begin_as_the_training_files_instruction(name: str) -> None:
    """By a second route: what is read out of LLM-Adapters' instruction is put together to the same text again."""
    rows = load_task(task_of(name), "train", data_dir=REAL)
    examples = to_examples(rows, task_of(name))
    for row, example in zip(rows, examples, strict=True):
        prompt = task_of(name).prompt.format(**example.fields)
        assert " ".join(prompt.split()) == " ".join(f"{row['instruction']} The correct answer is".split())
        assert read_instruction(row, "Answer") is not None
    counts = Counter(e.fields["names"].count("/") + 1 for e in examples_of(name, "test", REAL))
    assert counts == ({4: 567, 5: 2, 3: 1} if name == "arc_easy" else {4: 295, 3: 3, 5: 1})


@needs_real_rows
def test_real_labels_of_multiple_choice_are_counted_as_published() -> None:
    siqa = Counter(target_of(e) for e in examples_of("siqa", "test", REAL))
    assert siqa == {"answer1": 322, "answer2": 320, "answer3": 335}
    assert Counter(target_of(e) for e in examples_of("winogrande", "test", REAL)) == {"option1": 320, "option2": 314}
    assert Counter(target_of(e) for e in examples_of("obqa", "test", REAL)) == {
        "answer1": 126,
        "answer2": 138,
        "answer3": 110,
        "answer4": 126,
    }
    piqa = [target_of(e) for split in ("train", "validation", "test") for e in examples_of("piqa", split, REAL)]
    assert Counter(piqa) == {"solution1": 472, "solution2": 447}


@needs_real_rows
def test_real_lcp_words_none_and_null_are_there() -> None:
    tokens = [e.fields["token"] for split in ("train", "validation") for e in examples_of("lcp_single", split, REAL)]
    assert (tokens.count("None"), tokens.count("null")) == (4, 3)


@needs_real_rows
def test_real_grades_keep_their_leading_zeros() -> None:
    task = task_of("humicroedit")
    rows = [row for split in ("train", "validation", "test") for row in load_task(task, split, data_dir=REAL)]
    assert sum(row["grades"].startswith("0") for row in rows) == 523 + 124
    for row in rows:
        digits = [int(digit) for digit in row["grades"]]
        assert sum(digits) / len(digits) == pytest.approx(float(row["meanGrade"]), abs=1e-6)
        assert "<" not in row["headline"] + row["edited"] or "<" in row["edit"]


@needs_real_rows
def test_real_clear_excerpts_keep_their_line_breaks() -> None:
    excerpts = [e.fields["Excerpt"] for split in ("train", "validation") for e in examples_of("clear", split, REAL)]
    assert sum("\n" in excerpt for excerpt in excerpts) == 2_158

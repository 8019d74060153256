"""What each publisher's format hides: quotes, headers, labels apart, letters and digits, line ends, odd words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from predgen import registries
from predgen.core import Example
from predgen.data.examples import to_examples
from predgen.data.tables import available_splits, load_task
from predgen.errors import DataError
from task_files import EMOTIONS, examples_of, publish, target_of, task_of


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


@pytest.mark.parametrize("name", registries.tasks)
def test_line_ends_and_byte_order_marks_change_nothing(name: str, tmp_path: Path) -> None:
    plain, windows = publish(name, tmp_path / "plain"), publish(name, tmp_path / "windows")
    for path in (path for path in windows.rglob("*") if path.is_file()):
        content = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + content)
    for split in available_splits(task_of(name), plain):
        examples = examples_of(name, split, windows)
        assert [without_returns(e) for e in examples] == [without_returns(e) for e in examples_of(name, split, plain)]


def without_returns(example: Example) -> tuple[dict[str, str], Any]:
    """A row without the carriage returns that may stand inside quoted cells."""
    return {name: text.replace("\r", "") for name, text in example.fields.items()}, example.target


# Multiple choice


def prompt(name: str, example: Example) -> str:
    return task_of(name).prompt.format(**example.fields)


def test_piqa_labels_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    examples = examples_of("piqa", "train", publish("piqa", tmp_path))
    assert [target_of(e) for e in examples] == ["solution2", "solution1"] * 10
    assert prompt("piqa", examples[3]) == (
        'Please choose the correct solution to the question: Reach goal 3.\n\nSolution1: Use a "cup".\n\n'
        "Solution2: Use a fork; Solution1: none.\n\nAnswer format: solution1/solution2\nThe correct answer is"
    )
    assert {target_of(e) for e in examples_of("piqa", "validation", tmp_path)} == {"solution1"}
    (fields, target) = first("piqa", "test", tmp_path)
    assert (fields, target.value) == ({"goal": "Reach end 0", "sol1": "Run", "sol2": "Walk"}, "solution2")


def test_siqa_reads_both_formats_alike(tmp_path: Path) -> None:
    fields, target = first("siqa", "train", tmp_path)
    answers = {"answerA": "to talk", "answerB": "to run", "answerC": "to hide"}
    assert (fields, target.value) == ({"asked": "Kim met 0. Why?", **answers}, "answer1")
    fields, target = first("siqa", "test", tmp_path)
    answers = {"answerA": "here", "answerB": "there", "answerC": "not at all"}
    assert (fields, target.value) == ({"asked": "Max met 0. Where?", **answers}, "answer3")


def test_hellaswag_markers_go_and_the_activity_stands_first(tmp_path: Path) -> None:
    fields, target = first("hellaswag", "train", tmp_path)
    assert fields == {
        "ctx": "Tea: How to brew pot 0. Boil. Then you",
        "ending1": "pour.",
        "ending2": "sing. Loudly.",
        "ending3": "leave.",
        "ending4": "sleep.",
    }
    assert target.value == "ending2"
    fields, target = first("hellaswag", "validation", tmp_path)  # the plain copy: activity in `ctx` already
    assert (fields["ctx"], target.value) == ("Swimming: A girl 0", "ending1")
    assert first("hellaswag", "test", tmp_path)[1].value == "ending4"


def test_winogrande_twins_stay_together(tmp_path: Path) -> None:
    rows = load_task(task_of("winogrande"), "train", data_dir=publish("winogrande", tmp_path, without="test"))
    twins = [row["twin"] for row in rows]
    assert all(twins.count(twin) == 2 for twin in twins)
    assert first("winogrande", "train", tmp_path)[1].value == "option1"
    copied = (
        task_of("winogrande"),
        {"instruction": "Please fill: A _ b?\n\nOption1: x Option2: y Answer format: option1/option2"},
    )
    (example,) = to_examples([copied[1]], copied[0], with_target=False)
    assert example.fields == {"sentence": "A _ b?", "option1": "x", "option2": "y"}


@pytest.mark.parametrize("name", ["arc_easy", "arc_challenge"])
def test_arc_keys_are_places_among_the_rows_own_labels(name: str, tmp_path: Path) -> None:
    examples = examples_of(name, "validation", publish(name, tmp_path))
    assert [target_of(e) for e in examples] == ["answer2", "answer3", "answer1", "answer5", "answer1"]
    assert [e.fields["names"].count("/") + 1 for e in examples] == [4, 4, 3, 5, 4]
    assert examples[2].fields["options"] == "Answer1: choice A Answer2: choice B Answer3: choice C"
    fields, target = first(name, "train", tmp_path)
    assert (fields["question"], target.value) == ("Why is 0: so?", "answer4")
    assert fields["options"] == "Answer1: a hat Answer2: a cap Answer3: ink Answer4: tea"


def test_key_that_is_no_label_of_the_row_is_an_error() -> None:
    row = {"question": {"stem": "Why?", "choices": [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]}}
    with pytest.raises(DataError, match=r"row 1: column 'answer' is 'C' \(not among the labels"):
        to_examples([{**row, "answerKey": "C"}], task_of("arc_easy"))


def test_obqa_options_are_cut_at_their_letters(tmp_path: Path) -> None:
    fields, target = first("obqa", "train", tmp_path)
    assert fields["options"] == 'Answer1: hot Answer2: cold (as ice) Answer3: far Answer4: "big"'
    assert (fields["question"], target.value) == ("The sun 0 is", "answer2")
    assert first("obqa", "test", tmp_path)[1].value == "answer3"


# Numbers


def test_lcp_words_none_null_and_na_are_words(tmp_path: Path) -> None:
    examples = examples_of("lcp_single", "train", publish("lcp_single", tmp_path))
    assert [e.fields["token"] for e in examples[-3:]] == ["None", "null", "NA"]
    assert examples[0].fields["sentence"] == 'The "river 0 is deep.'
    assert [target_of(e) for e in examples[-3:]] == [0.0, 0.5, 1.0]
    assert first("lcp_multi", "validation", tmp_path)[1].value == 0.975


def test_clear_cells_hold_line_breaks_and_quotes(tmp_path: Path) -> None:
    examples = examples_of("clear", "train", publish("clear", tmp_path))
    assert len(examples) == 20
    assert examples[3].fields["Excerpt"].splitlines() == ['A "long" day, 3.', "It rained."]
    assert target_of(examples[3]) == -0.33
    assert first("clear", "validation", tmp_path)[1].value == 0.0  # the reference excerpt is a row like others


def test_humicroedit_shows_both_headlines_and_keeps_grades_as_text(tmp_path: Path) -> None:
    fields, target = first("humicroedit", "train", tmp_path)
    assert fields == {
        "headline": 'Mayor 0 opens bridge , "at last" 2,000',
        "edited": 'Mayor 0 opens jar , "at last" 2,000',
    }
    assert target.value == 0.6
    assert load_task(task_of("humicroedit"), "train", data_dir=tmp_path)[0]["grades"] == "00210"
    assert first("humicroedit", "validation", tmp_path)[0]["edited"] == "Town 0 eats park"


# Word problems


def test_math_10k_has_a_rationale(tmp_path: Path) -> None:
    fields, target = first("math_10k", "train", tmp_path)
    number = int(fields["question"].split()[2])
    assert fields["question"] == f"Tom has {number} pens and buys 1,000. How many?"
    assert target.value == number + 1000
    assert target.rationale == f"He has {number} + 1,000. The answer is {number + 1000}."


def test_choice_letters_of_math_10k_are_bad_rows(tmp_path: Path) -> None:
    rows = [
        {"instruction": "q", "input": "", "output": "\nA: so.", "answer": answer} for answer in ("4.0", "C", "5,855.5")
    ]
    examples = to_examples(rows, task_of("math_10k"), bad_rows="skip", side_file=tmp_path / "bad.jsonl")
    assert [target_of(e) for e in examples] == [4.0, 5855.5]
    assert (tmp_path / "bad.jsonl").read_text().count("not a number") == 1


@pytest.mark.parametrize(
    ("name", "question", "answer"),
    [
        ("multiarith", "What is 0 ?", 8.0),
        ("addsub", "What is 0 ?", 0.6666666666666666),
        ("singleeq", "What is 0 ?", 11.5),
        ("svamp", "Ann has 0 cups. How many cups?", 51.0),
    ],
)
def test_word_problem_formats(name: str, question: str, answer: float, tmp_path: Path) -> None:
    fields, target = first(name, "test", tmp_path)
    assert (fields, target.value, target.rationale) == ({"question": question}, answer, None)


@pytest.mark.parametrize("name", ["gsm8k", "multiarith", "addsub", "singleeq", "svamp"])
def test_word_problems_in_four_fields(name: str, tmp_path: Path) -> None:
    row = {"instruction": "What is 9? ", "input": "", "output": "", "answer": "1,009.50"}
    (tmp_path / "test.json").write_text(json.dumps([row]))
    (example,) = examples_of(name, "test", tmp_path)
    assert (example.fields["question"].strip(), target_of(example)) == ("What is 9?", 1009.5)


def test_algebra_set_with_two_solutions_is_a_bad_row() -> None:
    with pytest.raises(DataError, match="column 'answer' is None"):
        to_examples([{"sQuestion": "q", "lSolutions": [1.0, 2.0], "answer": None}], task_of("addsub"))

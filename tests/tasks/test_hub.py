"""The same tasks on the hub: columns and labels as they are there, read from a stubbed hub."""

from typing import Any

import datasets
import pytest

from predgen import registries
from predgen.data.examples import to_examples
from predgen.data.tables import load_hub
from task_files import task_of

ON_HUB = [name for name in registries.tasks if task_of(name).hub is not None]
LETTERED = {"text": ["fog", "rain", "snow", "hail"], "label": ["A", "B", "C", "D"]}
DIGITS = {"text": ["fog", "rain", "snow"], "label": ["1", "2", "3"]}

# One row per task in the hub's own columns and types; {i} becomes its number.
ROWS: dict[str, dict[str, Any]] = {
    "boolq": {"question": "is {i} odd", "answer": True, "passage": "A number."},
    "piqa": {"goal": "Reach {i}.", "sol1": "Run.", "sol2": "Walk.", "label": 1},
    "siqa": {"context": "Kim {i}.", "question": "Why?", "answerA": "a", "answerB": "b", "answerC": "c", "label": "3"},
    "hellaswag": {"activity_label": "Tea", "ctx": "A man {i}", "endings": ["a", "b", "c", "d"], "label": "2"},
    "winogrande": {"sentence": "The _ {i} fell.", "option1": "cup {i}", "option2": "jar", "answer": "2"},
    "arc_easy": {"id": "M{i}", "question": "What falls {i}?", "choices": LETTERED, "answerKey": "B"},
    "arc_challenge": {"id": "M{i}", "question": "What falls {i}?", "choices": DIGITS, "answerKey": "3"},
    "obqa": {"id": "7-{i}", "question_stem": "Clouds {i} give", "choices": LETTERED, "answerKey": "D"},
    "sst2": {"sentence": "a fine film {i} ", "label": 1, "idx": 0},
    "sick": {"sentence_A": "A man {i}.", "sentence_B": "A dog {i}.", "relatedness_score": 3.5},
    "stsb": {"sentence1": "A man {i}.", "sentence2": "A dog {i}.", "label": 3.8, "idx": 0},
    "clear": {"Excerpt": "A day {i}.\nRain.", "BT_easiness": -0.34, "s.e.": 0.4},
    "humicroedit": {"id": "1", "original": "Mayor {i} <buys/> it", "edit": "eats", "grades": "03210", "meanGrade": 1.2},
    "gsm8k": {"question": "What is {i}?", "answer": "So.\n#### 1,200"},
    "multiarith": {"question": "What is {i}? ", "final_ans": "41"},
    "svamp": {"ID": "chal-{i}", "Body": "Ann has {i} cups", "Question": "How many?", "Answer": "145", "Type": "Sum"},
}
EXPECTED: dict[str, tuple[dict[str, str], str | float]] = {
    "boolq": ({"question": "is 0 odd"}, "true"),
    "piqa": ({"goal": "Reach 0.", "sol1": "Run.", "sol2": "Walk."}, "solution2"),
    "siqa": ({"asked": "Kim 0. Why?", "answerA": "a", "answerB": "b", "answerC": "c"}, "answer3"),
    "hellaswag": ({"ctx": "Tea: A man 0", "ending1": "a", "ending2": "b", "ending3": "c", "ending4": "d"}, "ending3"),
    "winogrande": ({"sentence": "The _ 0 fell.", "option1": "cup 0", "option2": "jar"}, "option2"),
    "arc_easy": (
        {
            "question": "What falls 0?",
            "options": "Answer1: fog Answer2: rain Answer3: snow Answer4: hail",
            "names": "answer1/answer2/answer3/answer4",
        },
        "answer2",
    ),
    "arc_challenge": (
        {
            "question": "What falls 0?",
            "options": "Answer1: fog Answer2: rain Answer3: snow",
            "names": "answer1/answer2/answer3",
        },
        "answer3",
    ),
    "obqa": (
        {
            "question": "Clouds 0 give",
            "options": "Answer1: fog Answer2: rain Answer3: snow Answer4: hail",
            "names": "answer1/answer2/answer3/answer4",
        },
        "answer4",
    ),
    "sst2": ({"sentence": "a fine film 0"}, "positive"),
    "sick": ({"sentence_A": "A man 0.", "sentence_B": "A dog 0."}, 3.5),
    "stsb": ({"sentence1": "A man 0.", "sentence2": "A dog 0."}, 3.8),
    "clear": ({"Excerpt": "A day 0.\nRain."}, -0.34),
    "humicroedit": ({"headline": "Mayor 0 buys it", "edited": "Mayor 0 eats it"}, 1.2),
    "gsm8k": ({"question": "What is 0?"}, 1200.0),
    "multiarith": ({"question": "What is 0? "}, 41.0),
    "svamp": ({"question": "Ann has 0 cups. How many?"}, 145.0),
}


def numbered(value: Any, i: int) -> Any:
    return value.replace("{i}", str(i)) if isinstance(value, str) else value


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """Stands in for the hub: repository -> rows, the same 20 for every split that was asked for."""
    served: dict[str, list[dict[str, Any]]] = {}

    def load_dataset(repository: str, config: str | None, split: str) -> datasets.Dataset:
        assert split in ("train", "validation", "test")
        return datasets.Dataset.from_list(served[f"{repository} {config}"])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return served


def test_every_task_with_a_hub_is_covered() -> None:
    assert set(ON_HUB) == set(ROWS) == set(EXPECTED)


@pytest.mark.parametrize("name", ON_HUB)
def test_hub_rows_become_the_same_examples(name: str, hub: dict[str, list[dict[str, Any]]]) -> None:
    task = task_of(name)
    assert task.hub is not None
    hub[f"{task.hub.dataset} {task.hub.config}"] = [
        {column: numbered(value, i) for column, value in ROWS[name].items()} for i in range(20)
    ]
    splits = ("train", "validation", "test") if "train" in task.hub.splits else ("test",)
    examples = [e for split in splits for e in to_examples(load_hub(task, split), task)]
    fields, value = EXPECTED[name]
    found = [e for e in examples if dict(e.fields) == fields]
    assert found
    assert {e.target.value for e in found if e.target is not None} == {value}

"""The same tasks from the hub: folders laid out as its repositories are, read by `datasets` itself, without a network.

Rows are those of `task_files`, in the columns and types of the hub; only the way from a repository's name to its folder
is the test's own.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from predgen import registries
from predgen.core import HubSpec, TaskSpec
from predgen.data.examples import to_examples
from predgen.data.tables import SPLITS, available_splits, load_hub, load_task
from predgen.errors import DataError
from task_files import publish, task_of

ON_HUB = [name for name in registries.tasks if task_of(name).hub is not None]
_Rows = list[dict[str, Any]]


def numbered(n: int, **values: Any) -> _Rows:
    """`n` rows with {i} filled in, in nested values too."""

    def filled(value: Any, i: int) -> Any:
        if isinstance(value, dict):
            return {key: filled(inner, i) for key, inner in value.items()}
        if isinstance(value, list):
            return [filled(inner, i) for inner in value]
        return value.replace("{i}", str(i)) if isinstance(value, str) else value

    return [filled(values, i) for i in range(n)]


def each(rows: _Rows, **columns: list[Any]) -> _Rows:
    """Rows with further columns, whose values take turns."""
    return [
        {**row, **{name: values[i % len(values)] for name, values in columns.items()}} for i, row in enumerate(rows)
    ]


def nested(labels: str, texts: list[str] | None = None) -> dict[str, list[str]]:
    """Options as ARC and OpenBookQA have them on the hub."""
    return {"text": texts or [f"choice {label}" for label in labels], "label": list(labels)}


def arc() -> dict[str, _Rows]:
    keys = [("ABCD", "B"), ("1234", "3"), ("ABC", "A"), ("ABCDE", "E"), ("1234", "1")]
    wear = nested("ABCD", ["a hat", "a cap", "ink", "tea"])
    return {
        "train": numbered(20, id="T{i}", question="Why is {i}: so?", choices=wear, answerKey="D"),
        "validation": [
            {"id": f"D{i}", "question": f"What is {i}?", "choices": nested(labels), "answerKey": key}
            for i, (labels, key) in enumerate(keys)
        ],
        "test": numbered(6, id="T{i}", question="Where is {i}?", choices=nested("ABCD"), answerKey="D"),
    }


def pairs(n: int, x: str = "{i}", score: float = 3.8) -> _Rows:
    return numbered(n, sentence1=f'A "man" {x} runs.', sentence2=f'"A man {x} walks.', label=score, idx=0)


def complexity(n: int, token: str, value: float, sentence: str = 'The "river {i} is deep.') -> _Rows:
    return numbered(n, id="1{i}", corpus="bible", sentence=sentence, token=token, complexity=value, difficulty="easy")


def headlines(n: int, original: str, edit: str, grades: str, mean: float) -> _Rows:
    rows = numbered(n, id="5{i}", original=original, edit=edit, grades=grades, meanGrade=mean)
    start, _, rest = original.partition("<")
    word, _, end = rest.partition("/>")
    both = numbered(n, headline=start + word + end, edited=start + edit + end)  # added by the copy on the hub
    return [{**row, **other} for row, other in zip(rows, both, strict=True)]


TEA = ["pour.", "sing. [substeps] Loudly.", "leave.", "sleep."]
SICK = {"sentence_A": 'A man {i} is "running"', "sentence_B": 'No man {i} runs"', "relatedness_score": 3.5, "label": 1}
SOLUTIONS = {"sol1": 'Use a "cup".', "sol2": "Use a fork; Solution1: none."}
HOW = "[header] How to brew pot {i} [title] Boil. [step] Then you"
SIQA = {"question": "Why?", "answerA": "to talk", "answerB": "to run", "answerC": "to hide"}

ROWS: dict[str, dict[str, _Rows]] = {
    "boolq": {
        "train": numbered(20, question="is {i} a number", answer=True, passage="A number."),
        "validation": numbered(5, question="is {i} a number", answer=False, passage="A number."),
    },
    "piqa": {
        "train": each(numbered(20, goal="Reach goal {i}.", **SOLUTIONS), label=[1, 0]),
        "validation": numbered(5, goal="Reach mark {i}.", sol1="Run.", sol2="Walk.", label=0),
        "unlabelled": numbered(3, goal="Unlabelled {i}.", sol1="Run.", sol2="Walk.", label=-1),
    },
    "siqa": {
        "train": each(numbered(20, context="Kim met {i}. ", **SIQA), label=["1", "2"]),
        "validation": numbered(
            5, context="Lee met {i}.", question="How?", answerA="well", answerB="badly", answerC="?", label="3"
        ),
    },
    "hellaswag": {
        "train": numbered(20, ind=4, activity_label="Tea", ctx=HOW, endings=TEA, label="1"),
        "validation": numbered(
            5,
            ind=4,
            activity_label="Swimming",
            ctx="A girl {i}",
            endings=["dives.", "eats.", "cuts.", "digs."],
            label="0",
        ),
        "unlabelled": numbered(3, ind=4, activity_label="Golf", ctx="A man {i}", endings=list("abcd"), label=""),
    },
    "winogrande": {
        "train": [
            {"sentence": f"Ann {i} helped Bea as _ was {how}.", "option1": f"Ann {i}", "option2": "Bea", "answer": key}
            for i in range(10)
            for how, key in (("kind", "1"), ("ill", "2"))
        ],
        "validation": numbered(5, sentence="The _ {i} fell.", option1="cup", option2="jar", answer="2"),
        "unlabelled": numbered(6, sentence="The _ {i} broke.", option1="cup", option2="jar", answer=""),
    },
    "arc_easy": arc(),
    "arc_challenge": arc(),
    "obqa": {
        "train": numbered(
            20,
            id="1-{i}",
            question_stem="The sun {i} is",
            choices=nested("ABCD", ["hot", "cold (as ice)", "far", '"big"']),
            answerKey="B",
        ),
        "validation": numbered(
            5,
            id="2-{i}",
            question_stem="The moon {i} is",
            choices=nested("ABCD", ["hot", "grey", "near", "new"]),
            answerKey="D",
        ),
        "test": numbered(6, id="3-{i}", question_stem="The sea {i} is", choices=nested("ABCD"), answerKey="C"),
    },
    "sst2": {
        "train": numbered(20, sentence="a fine `` film {i} '' ", label=1, idx=0),
        "validation": numbered(5, sentence='a dull "film {i} . ', label=0, idx=0),
        "unlabelled": numbered(6, sentence="a film {i} .", label=-1, idx=0),
    },
    "sick": {"train": numbered(20, **SICK), "validation": numbered(5, **SICK), "test": numbered(6, **SICK)},
    "stsb": {"train": pairs(19) + pairs(1, "x"), "validation": pairs(5), "unlabelled": pairs(6, score=-1.0)},
    "lcp_single": {
        "train": complexity(17, "river", 0.25)
        + complexity(1, "None", 0.0, 'A "word that None knows.')
        + complexity(1, "null", 0.5, "The null hypothesis.")
        + complexity(1, "NA", 1.0, "An NA cell."),
        "validation": complexity(5, "sea", 0.1),
        "test": complexity(6, "sea", 0.7),
    },
    "lcp_multi": {
        "train": complexity(20, "deep river", 0.02777777777777779),
        "validation": complexity(5, "open sea", 0.975),
        "test": complexity(6, "open sea", 0.7),
    },
    "clear": {
        "train": each(
            numbered(20, Excerpt='A "long" day, {i}.\r\nIt rained.'), BT_easiness=[float(f"-0.3{i}") for i in range(20)]
        ),
        "validation": numbered(5, Excerpt="Short text {i}.", BT_easiness=0.0),
        "test": numbered(6, Excerpt="Other text {i}.", BT_easiness=-0.25),
    },
    "humicroedit": {
        "train": headlines(20, 'Mayor {i} opens <bridge/> , "at last" 2,000', "jar", "00210", 0.6),
        "validation": headlines(5, "Town {i} <sells/> park", "eats", "33333", 3.0),
        "test": headlines(6, "Bus {i} is <late/>", "soup", "00000", 0.0),
    },
    "math_10k": {
        "train": [
            {
                "instruction": f"Tom has {i} pens and buys 1,000. How many?",
                "output": f"\nA: He has {i} + 1,000. The answer is {i + 1000}.",
                "answer": f"{i + 1000}.0",
            }
            for i in range(20)
        ]
    },
    "gsm8k": {
        "train": numbered(
            20, question="What is 2*{i}00?", answer="It is 2*{i}00=<<2*{i}00=1200>>1200.\nTotal.\n#### 1,200"
        ),
        "test": numbered(6, question="What is {i}-9?", answer="Below zero.\n#### -9"),
    },
    "multiarith": {"test": numbered(6, question=" What is {i} ? ", final_ans="8")},
    "addsub": {"test": numbered(6, input="What is {i} ?", target=0.6666666666666666)},
    "singleeq": {"test": numbered(6, input="What is {i} ?", target=11.5)},
    "svamp": {
        "test": numbered(
            6, ID="chal-{i}", Body="Ann has {i} cups", Question="How many cups? ", Answer="51.0", Type="Sum"
        )
    },
}

# Where the files lie in each repository. Named "data/...": a README names them as the only configuration.
PATHS = {
    "piqa": "piqa_{split}.parquet",
    "multiarith": "{split}.json",
    "svamp": "{split}-00000-of-00001.parquet",
    "addsub": "data/mawps/addsub.jsonl",
    "singleeq": "data/mawps/singleeq.jsonl",
    "clear": "data/clear_{split}.parquet",
}
WITHOUT_README = ("piqa", "multiarith", "svamp", "clear")

# Types that the rows alone do not give: class labels, and numbers of single precision.
TYPES: dict[str, dict[str, Any]] = {
    "piqa": {"label": datasets.ClassLabel(names=["0", "1"])},
    "sst2": {"label": datasets.ClassLabel(names=["negative", "positive"])},
    "sick": {
        "label": datasets.ClassLabel(names=["entailment", "neutral", "contradiction"]),
        "relatedness_score": datasets.Value("float32"),
    },
    "stsb": {"label": datasets.Value("float32")},
}


def hub_of(name: str) -> HubSpec:
    hub = task_of(name).hub
    assert hub is not None
    return hub


def parts_of(name: str) -> Iterator[tuple[str, _Rows]]:
    """Split as the hub names it, with its rows."""
    for split, rows in ROWS[name].items():
        named = hub_of(name).splits.get(split, "test").split("+")
        size = -(-len(rows) // len(named))
        yield from ((part, rows[i * size : (i + 1) * size]) for i, part in enumerate(named))


def upload(name: str, root: Path) -> dict[str, Any] | None:
    """Write a task's files into its repository; return the configuration that its README names."""
    hub = hub_of(name)
    pattern = PATHS.get(name, f"{hub.config or 'data'}/{{split}}-00000-of-00001.parquet")
    for split, rows in parts_of(name):
        path = root / hub.dataset / pattern.format(split="val" if name == "clear" and split == "validation" else split)
        path.parent.mkdir(parents=True, exist_ok=True)
        data = datasets.Dataset.from_list(rows)
        data = data.cast(datasets.Features({**data.features, **TYPES.get(name, {})}))
        if path.suffix == ".parquet":
            data.to_parquet(path)
        else:
            texts = [json.dumps(row) for row in rows]
            path.write_text("\n".join(texts) if path.suffix == ".jsonl" else f"[{', '.join(texts)}]")
    if name in WITHOUT_README or hub.files:
        return None
    names = [split for split, _ in parts_of(name)]
    files = [{"split": split, "path": pattern.format(split=split).replace("00000-of-00001", "*")} for split in names]
    return {"config_name": hub.config or "default", "data_files": files}


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder per repository. One with configurations has one more, of other columns, that comes first."""
    import yaml

    root = tmp_path_factory.mktemp("hub")
    configs: dict[str, list[dict[str, Any]]] = {}
    for name in ROWS:
        config = upload(name, root)
        if config is not None:
            configs.setdefault(hub_of(name).dataset, []).append(config)
    configs["HuggingFaceTB/math_tasks"] = []  # what its README names are other sets
    for dataset, named in configs.items():
        if [config["config_name"] for config in named] != ["default"]:
            path = f"another/train.{'parquet' if named else 'jsonl'}"  # a repository's files are of one kind
            (root / dataset / "another").mkdir()
            other = datasets.Dataset.from_list([{"unrelated": 1}])
            (other.to_parquet if named else other.to_json)(root / dataset / path)
            named.insert(0, {"config_name": "another", "data_files": [{"split": "train", "path": path}]})
        (root / dataset / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': named})}---\n# A data set\n")
    return root


@pytest.fixture
def hub(repositories: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Leads from a repository's name to its folder; everything else is what `datasets` does."""
    load_dataset: Callable[..., Any] = datasets.load_dataset

    def from_folder(dataset: str, *args: Any, **options: Any) -> Any:
        return load_dataset(str(repositories / dataset), *args, cache_dir=str(repositories / "cache"), **options)

    monkeypatch.setattr(datasets, "load_dataset", from_folder)
    return repositories


def said(task: TaskSpec, rows: _Rows) -> list[tuple[Any, ...]]:
    """What a model is shown and asked for: prompt, options, answer and rationale of each row."""
    found = []
    for example, row in zip(to_examples(rows, task), rows, strict=True):
        options = tuple(row.get(option) for option in task.options)
        found.append((task.prompt.format(**example.fields), options, example.target))
    return found


def test_every_task_with_a_hub_is_covered() -> None:
    assert set(ON_HUB) == set(ROWS)
    assert set(registries.tasks) - set(ON_HUB) == {"wassa"}


@pytest.mark.parametrize("name", ON_HUB)
def test_hub_and_publisher_give_the_same_rows(name: str, hub: Path, tmp_path: Path) -> None:
    task = task_of(name)
    folder = publish(name, tmp_path, without="" if "test" in hub_of(name).splits else "test")
    splits = available_splits(task, None)
    assert splits == available_splits(task, folder)
    ours = {split: said(task, load_hub(task, split)) for split in splits}
    theirs = {split: said(task, load_task(task, split, data_dir=folder)) for split in splits}
    assert ours == theirs
    assert all(ours.values())


@pytest.mark.parametrize("name", ["hellaswag", "arc_easy", "sst2"])
def test_types_of_the_hub_are_exercised(name: str, hub: Path) -> None:
    row = load_hub(task_of(name), "validation")[0]
    kinds = {"hellaswag": ("endings", list), "arc_easy": ("choices", dict), "sst2": ("label", int)}
    column, kind = kinds[name]
    assert isinstance(row[column], kind)


def test_hub_knows_the_splits_of_every_task(hub: Path) -> None:
    assert {name: available_splits(task_of(name), None) for name in ON_HUB} == {
        name: ("test",) if set(ROWS[name]) == {"test"} else SPLITS for name in ON_HUB
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": "boolk"}, "cannot be loaded: BuilderConfig 'boolk' not found"),
        ({"splits": {"train": "training"}}, 'cannot be loaded: Unknown split "training"'),
        ({"dataset": "google/bolq"}, "'google/bolq' of task 'boolq' cannot be loaded: Couldn't find"),
        (
            {"columns": {"reply": "answer"}},
            "hub data set 'google/boolq' has no column 'reply'; columns: question, answer",
        ),
        ({"files": {"train": "data/missing.parquet"}}, "cannot be loaded: Unable to find .*missing"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_wrong_declaration_is_said(changes: dict[str, Any], message: str, hub: Path) -> None:
    task = task_of("boolq")
    with pytest.raises(DataError, match=message) as error:
        load_hub(replace(task, hub=replace(hub_of("boolq"), **changes)), "train")
    assert "columns" in changes or "Clark et al. (2019)" in str(error.value)


def test_files_that_do_not_fit_together_are_an_error_without_a_traceback(hub: Path) -> None:
    (hub / "a" / "b").mkdir(parents=True, exist_ok=True)
    (hub / "a" / "b" / "train.jsonl").write_text('{"question": "is it so", "answer": true}\n{"question": "is\n')
    task = replace(task_of("boolq"), hub=HubSpec("a/b", splits={"train": "train"}))
    with pytest.raises(DataError, match="hub data set 'a/b' of task 'boolq' cannot be loaded"):
        load_hub(task, "train")


def test_task_without_a_hub_names_the_publisher() -> None:
    with pytest.raises(
        DataError, match=r"'wassa' has no copy on the hub .*get the publisher's files \(.*https://saifmo"
    ):
        load_hub(task_of("wassa"), "train")

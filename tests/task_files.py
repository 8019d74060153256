"""Small files of every task in its publisher's exact format, traps included; all rows are invented."""

import json
from pathlib import Path

import pytest

from predgen import registries
from predgen.core import Example, TaskSpec
from predgen.data.examples import to_examples
from predgen.data.tables import load_task

REAL = Path(__file__).parents[1].parent / "shared" / "data"
needs_real_rows = pytest.mark.skipif(not REAL.is_dir(), reason="the publishers' files are not here")


def lines(n: int, line: str, header: str = "") -> str:
    """`n` lines with {i} filled in, below a header line if there is one."""
    return "\n".join(([header] if header else []) + [line.replace("{i}", str(i)) for i in range(n)]) + "\n"


def json_lines(n: int, **values: object) -> str:
    return lines(n, json.dumps(values))


def four_fields(n: int, noun: str, question: str, options: tuple[str, ...], gap: str = " ") -> str:
    """LLM-Adapters' format; the last option is right."""
    names = [f"{noun}{number}" for number in range(1, len(options) + 1)]
    texts = gap.join(f"{name.capitalize()}: {text}" for name, text in zip(names, options, strict=True))
    text = f"Please choose the correct {noun} to it: {question}\n\n{texts}\n\nAnswer format: {'/'.join(names)}"
    output = f"the correct answer is {names[-1]}"
    return json.dumps(
        [
            {"instruction": text.replace("{i}", str(i)), "input": "", "output": output, "answer": names[-1]}
            for i in range(n)
        ]
    )


def choices(labels: str) -> list[dict[str, str]]:
    return [{"text": f"choice {label}", "label": label} for label in labels]


def arc_files(part: str) -> dict[str, str]:
    """Letters or digits as labels, three to five options."""
    rows = [("ABCD", "B"), ("1234", "3"), ("ABC", "A"), ("ABCDE", "E"), ("1234", "1")]
    dev = [
        {"id": f"D{i}", "question": {"stem": f"What is {i}?", "choices": choices(labels)}, "answerKey": key}
        for i, (labels, key) in enumerate(rows)
    ]
    return {
        "train.llm_adapters.json": four_fields(20, "answer", "Why is {i}: so? ", ("a hat", "a cap", "ink", "tea")),
        f"ARC-{part}-Dev.jsonl": "".join(json.dumps(row) + "\n" for row in dev),
        f"ARC-{part}-Test.jsonl": json_lines(
            6, id="T{i}", question={"stem": "Where is {i}?", "choices": choices("ABCD")}, answerKey="D"
        ),
    }


def algebra(n: int, solutions: list[float] | list[str]) -> str:
    return json.dumps([{"iIndex": i, "lSolutions": solutions, "sQuestion": f" What is {i} ? "} for i in range(n)])


OBQA_HEADER = "ID\tQuestion Stem\tChoices\tComplete Question\tAnswer Key"
LCP_HEADER = "id\tcorpus\tsentence\ttoken\tcomplexity"
LCP_LINE = '1{i}\tbible\tThe "river {i} is deep.'
CLEAR_HEADER = "ID,Excerpt,BT_easiness,s.e.,License"
HUMICRO_HEADER = "id,original,edit,grades,meanGrade"
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
    "piqa": {
        "train.jsonl": json_lines(20, goal="Reach goal {i}.", sol1='Use a "cup".', sol2="Use a fork; Solution1: none."),
        "train-labels.lst": "1\r\n0\r\n" * 10,
        "valid.jsonl": json_lines(5, goal="Reach mark {i}.", sol1="Run.", sol2="Walk."),
        "valid-labels.lst": "0\n" * 5,
        "tests.jsonl": json_lines(3, goal="Unlabelled {i}.", sol1="Run.", sol2="Walk."),
        "test.llm_adapters.json": four_fields(6, "solution", "Reach end {i}", ("Run", "Walk"), "\n\n"),
    },
    "siqa": {
        "train.jsonl": json_lines(
            20, context="Kim met {i}. ", question="Why?", answerA="to talk", answerB="to run", answerC="to hide"
        ),
        "train-labels.lst": "1\n2\n" * 10,
        "dev.jsonl": json_lines(
            5, context="Lee met {i}.", question="How?", answerA="well", answerB="badly", answerC="?"
        ),
        "dev-labels.lst": "3\n" * 5,
        "test.json": four_fields(6, "answer", "Max met {i}. Where?", ("here", "there", "not at all")),
    },
    "hellaswag": {
        "hellaswag_train.jsonl": json_lines(
            20,
            activity_label="Tea",
            ctx="[header] How to brew pot {i} [title] Boil. [step] Then you",
            endings=["pour.", "sing. [substeps] Loudly.", "leave.", "sleep."],
            label=1,
        ),
        "hellaswag_val.jsonl": json_lines(
            5, ctx="Swimming: A girl {i}", endings=["dives.", "eats.", "cuts.", "digs."], label=0
        ),
        "hellaswag_test.jsonl": json_lines(3, ctx="Unlabelled {i}", endings=["a", "b", "c", "d"]),
        "test.json": four_fields(6, "ending", "Golf: A man {i}", ("swings.", "cooks.", "flies.", "reads.")),
    },
    "winogrande": {
        "train_l.jsonl": lines(
            10,
            json.dumps(
                {
                    "qID": "A{i}-1",
                    "sentence": "Ann {i} helped Bea as _ was kind.",
                    "option1": "Ann {i}",
                    "option2": "Bea",
                    "answer": "1",
                }
            )
            + "\n"
            + json.dumps(
                {
                    "qID": "A{i}-2",
                    "sentence": "Ann {i} helped Bea as _ was ill.",
                    "option1": "Ann {i}",
                    "option2": "Bea",
                    "answer": "2",
                }
            ),
        ),
        "train_l-labels.lst": "1\n2\n" * 10,
        "dev.jsonl": json_lines(5, qID="D{i}-1", sentence="The _ {i} fell.", option1="cup", option2="jar", answer="2"),
        "test.jsonl": json_lines(6, qID="T{i}-1", sentence="The _ {i} broke.", option1="cup", option2="jar"),
        "test-labels.lst": "1\n" * 6,
    },
    "arc_easy": arc_files("Easy"),
    "arc_challenge": arc_files("Challenge"),
    "obqa": {
        "train.tsv": lines(
            20, '1-{i}\tThe sun {i} is\t(A) hot (B) cold (as ice) (C) far (D) "big"\tThe sun\tB\r', OBQA_HEADER + "\r"
        ),
        "dev.tsv": lines(5, "2-{i}\tThe moon {i} is\t(A) hot (B) grey (C) near (D) new\tThe moon\tD", OBQA_HEADER),
        "test.jsonl": json_lines(
            6, id="3-{i}", question={"stem": "The sea {i} is", "choices": choices("ABCD")}, answerKey="C"
        ),
    },
    "lcp_single": {
        "train/lcp_single_train.tsv": lines(17, LCP_LINE + "\triver\t0.25", LCP_HEADER)
        + lines(1, '7\tbible\tA "word that None knows.\tNone\t0.0')
        + lines(1, "8\tbiomed\tThe null hypothesis.\tnull\t0.5")
        + lines(1, "9\tbiomed\tAn NA cell.\tNA\t1.0"),
        "trial/lcp_single_trial.tsv": lines(5, LCP_LINE + "\tsea\t0.1", LCP_HEADER.replace("corpus", "subcorpus")),
        "test-labels/lcp_single_test.tsv": lines(6, LCP_LINE + "\tsea\t0.7", LCP_HEADER),
    },
    "lcp_multi": {
        "train/lcp_multi_train.tsv": lines(20, LCP_LINE + "\tdeep river\t0.02777777777777779", LCP_HEADER),
        "trial/lcp_multi_trial.tsv": lines(
            5, LCP_LINE + "\topen sea\t0.975", LCP_HEADER.replace("corpus", "subcorpus")
        ),
        "test-labels/lcp_multi_test.tsv": lines(6, LCP_LINE + "\topen sea\t0.7", LCP_HEADER),
    },
    "clear": {
        "CLEAR_train.csv": lines(20, '{i},"A ""long"" day, {i}.\nIt rained.",-0.3{i},0.46,', CLEAR_HEADER).replace(
            "\n", "\r\n"
        ),
        "CLEAR_validation.csv": lines(5, "{i},Short text {i}.,0,0,", CLEAR_HEADER),
        "CLEAR_test.csv": lines(6, "{i},Other text {i}.,-0.25,0.5,CC BY", CLEAR_HEADER),
    },
    "humicroedit": {
        "train.csv": lines(20, '{i},"Mayor {i} opens <bridge/> , ""at last"" 2,000",jar,00210,0.6', HUMICRO_HEADER),
        "dev.csv": lines(5, "5{i},Town {i} <sells/> park,eats,33333,3.0", HUMICRO_HEADER),
        "test.csv": lines(6, "6{i},Bus {i} is <late/>,soup,00000,0.0", HUMICRO_HEADER),
    },
    "math_10k": {
        "math_10k.json": json.dumps(
            [
                {
                    "instruction": f"Tom has {i} pens and buys 1,000. How many?",
                    "input": "",
                    "output": f"\nA: He has {i} + 1,000. The answer is {i + 1000}.",
                    "answer": f"{i + 1000}.0",
                }
                for i in range(20)
            ]
        ),
    },
    "multiarith": {"sample.json": algebra(6, [8.0])},
    "addsub": {"AddSub.json": algebra(6, ["0.6666666666666666"])},
    "singleeq": {"sample.json": algebra(6, [11.5])},
    "svamp": {
        "SVAMP.json": json.dumps(
            [
                {"ID": f"chal-{i}", "Body": f"Ann has {i} cups", "Question": "How many cups? ", "Answer": 51.0}
                for i in range(6)
            ]
        ),
    },
}


def publish(name: str, folder: Path, without: str = "") -> Path:
    """Write a task's files, leaving out those whose name contains `without`."""
    for path, content in FILES[name].items():
        if not (without and without in path.lower()):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content.encode("utf-8"))
    return folder


def task_of(name: str) -> TaskSpec:
    task: TaskSpec = registries.tasks.get(name)
    return task


def examples_of(name: str, split: str, folder: Path) -> list[Example]:
    return to_examples(load_task(task_of(name), split, data_dir=folder), task_of(name))


def target_of(example: Example) -> str | float:
    assert example.target is not None
    return example.target.value

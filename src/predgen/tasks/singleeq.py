"""SingleEq: word problems that one equation solves; only measured on."""

from predgen.core import HubSpec, TaskSpec
from predgen.tasks.word_problems import PROMPT, test_files

SINGLEEQ = TaskSpec(
    name="singleeq",
    kind="math",
    prompt=PROMPT,
    target="answer",
    metrics=("exact_match",),
    files={"test": test_files("SingleEq.json")},
    hub=HubSpec(
        "HuggingFaceTB/math_tasks",
        splits={"test": "test"},
        columns={"input": "question", "target": "answer"},
        files={"test": "data/mawps/singleeq.jsonl"},
    ),
    group=("question",),
    extract="predgen.tasks.word_problems:question_and_answer",
    licence="not stated",
    source="Koncel-Kedziorski et al. (2015), Parsing Algebraic Word Problems into Equations, TACL",
)

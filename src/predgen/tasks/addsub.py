"""AddSub: word problems of addition and subtraction; only measured on."""

from predgen.core import HubSpec, TaskSpec
from predgen.tasks.word_problems import PROMPT, test_files

ADDSUB = TaskSpec(
    name="addsub",
    kind="math",
    prompt=PROMPT,
    target="answer",
    metrics=("exact_match",),
    files={"test": test_files("AddSub.json")},
    hub=HubSpec(
        "HuggingFaceTB/math_tasks",
        splits={"test": "test"},
        columns={"input": "question", "target": "answer"},
        files={"test": "data/mawps/addsub.jsonl"},
    ),
    group=("question",),
    extract="predgen.tasks.word_problems:question_and_answer",
    licence="not stated",
    source="Hosseini et al. (2014), Learning to Solve Arithmetic Word Problems with Verb Categorization, EMNLP",
)

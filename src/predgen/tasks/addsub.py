"""AddSub: word problems of addition and subtraction; only measured on."""

from predgen.core import TaskSpec
from predgen.tasks.word_problems import PROMPT, test_files

ADDSUB = TaskSpec(
    name="addsub",
    kind="math",
    prompt=PROMPT,
    target="answer",
    metrics=("exact_match",),
    files={"test": test_files("AddSub.json")},
    group=("question",),
    extract="predgen.tasks.word_problems:question_and_answer",
    licence="not stated",
    source="Hosseini et al. (2014), Learning to Solve Arithmetic Word Problems with Verb Categorization, EMNLP",
)

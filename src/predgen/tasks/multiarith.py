"""MultiArith: word problems of several steps; only measured on."""

from predgen.core import HubSpec, TaskSpec
from predgen.tasks.word_problems import PROMPT, test_files

MULTIARITH = TaskSpec(
    name="multiarith",
    kind="math",
    prompt=PROMPT,
    target="answer",
    metrics=("exact_match",),
    files={"test": test_files("MultiArith.json")},
    # This copy has the published problems in two parts.
    hub=HubSpec("ChilleD/MultiArith", splits={"test": "train+test"}, columns={"final_ans": "answer"}),
    group=("question",),
    extract="predgen.tasks.word_problems:question_and_answer",
    licence="not stated",
    source="Roy and Roth (2015), Solving General Arithmetic Word Problems, EMNLP",
)

"""SVAMP: word problems varied so that keywords mislead; only measured on."""

from predgen.core import HubSpec, TaskSpec
from predgen.tasks.word_problems import PROMPT, test_files

SVAMP = TaskSpec(
    name="svamp",
    kind="math",
    prompt=PROMPT,
    target="answer",
    metrics=("exact_match",),
    files={"test": test_files("SVAMP.json")},
    hub=HubSpec("ChilleD/SVAMP", splits={"test": "train+test"}),  # 700 and 300 of the 1,000
    group=("question",),
    extract="predgen.tasks.word_problems:question_and_answer",
    licence="MIT",
    source="Patel et al. (2021), Are NLP Models really able to Solve Simple Math Word Problems?, arXiv:2103.07191",
)

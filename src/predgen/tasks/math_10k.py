"""Training files in LLM-Adapters' math_10k format: word problems with a model-written solution and a number.

Files of this format also hold multiple-choice problems whose answer is a letter; leave these out with `bad_rows="skip"`.
Problems of test sets occur in them: math_10k holds training rows of MAWPS, of which MultiArith, AddSub and SingleEq are parts,
so its authors no longer measure on these. `predgen evaluate` refuses to measure on rows that a run was trained on.
"""

from predgen.core import FileSpec, HubSpec, TaskSpec
from predgen.tasks.word_problems import PROMPT

MATH_10K = TaskSpec(
    name="math_10k",
    kind="math",
    prompt=PROMPT,
    target="answer",
    rationale="rationale",
    metrics=("exact_match",),
    files={"train": (FileSpec(("math_10k.json",), "json"), FileSpec(("math_data.json",), "json"))},
    hub=HubSpec("lmms-lab/Math10K", splits={"train": "train"}),
    folder="math_data",
    group=("question",),
    extract="predgen.tasks.word_problems:question_and_answer",
    licence="ODC-By 1.0",
    source="Hu et al. (2023), LLM-Adapters: An Adapter Family for Parameter-Efficient Fine-Tuning, arXiv:2304.01933",
)

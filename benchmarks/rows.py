"""The rows of the table: what is measured, against what, and which ratio is to be reached."""

from dataclasses import dataclass, replace
from typing import Literal

from benchmarks import attention, commands, inputs, ours, questions
from benchmarks.figures import Figures, Spread
from benchmarks.measures import Commands, Growth, PeakMemory, Timed
from benchmarks.peers import generate, label_likelihood, prompt_each, published, sequence_classifier, sft

Measure = Timed | PeakMemory | Commands | Growth
Verdict = Literal["reached", "missed", "no goal"]
EVERY_SIZE, LARGER_SIZES = ("tiny", "5m", "60m", "smollm2", "0.6b", "1b"), ("60m", "smollm2", "0.6b", "1b")


@dataclass(frozen=True, slots=True)
class Row:
    """A row.

    Attributes:
        key: As given to `--only`.
        what: What is measured.
        against: What it is measured against.
        measure: How.
        goal: Bound of the ratio; None: reported only.
        direction: "at most": ratio = ours / peer, small is good. "at least": ratio = peer / ours, a speed-up.
        goal_sizes: Sizes that the goal is meant for; others are reported only.
        hybrid_goal: The goal of size "hybrid", whose answers take forwards of their own.
    """

    key: str
    what: str
    against: str
    measure: Measure
    goal: float | None = None
    direction: Literal["at most", "at least"] = "at most"
    goal_sizes: tuple[str, ...] = EVERY_SIZE
    hybrid_goal: float | None = None

    def ratio(self, figures: Figures) -> Spread:
        """The ratio that the goal bounds."""
        return figures.cost if self.direction == "at most" else figures.cost.inverted()

    def verdict(self, figures: Figures, size: str) -> Verdict:
        """Whether the median reaches the goal."""
        if self.goal is None or size not in self.goal_sizes:
            return "no goal"
        median = self.ratio(figures).median
        is_reached = median <= self.goal if self.direction == "at most" else median >= self.goal
        return "reached" if is_reached else "missed"

    def goal_text(self) -> str:
        """The goal as printed."""
        if self.goal is None:
            return "-"
        return f"<= {self.goal:g}" if self.direction == "at most" else f">= {self.goal:g}x"

    def at(self, size: str) -> "Row":
        """The row with the goal of a size."""
        return replace(self, goal=self.hybrid_goal, goal_sizes=("hybrid",)) if size == "hybrid" else self


_CLASSIFIER = "sequence-classification forward"
_STEP = "PredGen training step at p = 1"

ROWS = (
    Row("classify-2", "classify, 2 labels of 1 token, exact probabilities", _CLASSIFIER,
        Timed(ours.classify(inputs.LABELS_2), sequence_classifier.forward(2)), 1.15, hybrid_goal=1.6),
    Row("classify-5", "classify, 5 labels of 3-4 tokens, exact probabilities", _CLASSIFIER,
        Timed(ours.classify(inputs.LABELS_5), sequence_classifier.forward(5)), 1.15, hybrid_goal=1.6),
    Row("regress-51", "regress, 0.0-5.0 in steps of 0.1, full distribution", _CLASSIFIER,
        Timed(ours.distribution(1, 0.0), sequence_classifier.forward(1)), 1.25, hybrid_goal=2.0),
    Row("regress-501", "regress, step 0.01, distribution to 99.9 % mass", _CLASSIFIER,
        Timed(ours.distribution(2, 0.001), sequence_classifier.forward(1)), 2.0),
    Row("write-number", "regress, step 0.1, the most probable number", "model.generate",
        Timed(ours.write_number, generate.greedy)),
    Row("labels-20", "label probabilities, 20 labels", "one forward per label",
        Timed(ours.label_log_probs(inputs.LABELS_20), label_likelihood.score(inputs.LABELS_20)), 10.0, "at least", hybrid_goal=8.0),
    Row("targets-10", "10 targets (suffixes such as Urgency:, 2 or 5 labels)", "one of them",
        Timed(questions.targets(10), questions.targets(1)), 1.5),
    Row("ask-10", "10 zero-shot yes/no questions", "one of them",
        Timed(questions.ask(questions.TEN), questions.ask(questions.ONE)), 1.5),
    Row("ask-128", "128 labels, a yes/no question each", "one of them",
        Timed(questions.ask(questions.MANY_LABELS), questions.ask(questions.ONE_LABEL))),
    Row("choice-128", "a choice of 128 options, listed in the question", "one yes/no question",
        Timed(questions.ask(questions.ONE_CHOICE), questions.ask(questions.ONE))),
    Row("prompts-128", "128 labels, a yes/no question each", "one prompt each, batches of 16",
        Timed(questions.ask(questions.MANY_LABELS), prompt_each.ask(questions.MANY_LABELS)), 10.0, "at least"),
    Row("instruction", "predict rows with a 60-token constant instruction", "without prefix sharing",
        Timed(ours.predict_with_instruction(10_000, share_prefix=True),
              ours.predict_with_instruction(10_000, share_prefix=False), 10_000), 1.5, "at least"),
    Row("step-lean", _STEP, "lean SFT step",
        Timed(ours.training_step_at_p1, sft.lean_step), 1.3, goal_sizes=LARGER_SIZES),
    Row("step-trainer", _STEP, "HF Trainer SFT step",
        Timed(ours.training_step_at_p1, sft.trainer_step), 1.0, goal_sizes=LARGER_SIZES),
    Row("step-published", _STEP, "published sequential algorithm",
        Timed(ours.training_step_at_p1, published.step(reuse_cache=False)), 3.0, "at least", LARGER_SIZES),
    Row("step-published-cached", _STEP, "the same, but writing on a key-value cache",
        Timed(ours.training_step_at_p1, published.step(reuse_cache=True)), None, "at least"),
    Row("memory", "peak memory of a training step", "HF Trainer SFT step",
        PeakMemory(ours.training_step_at_p1, sft.trainer_step), 0.7, goal_sizes=LARGER_SIZES),
    Row("tree-flex", "attention of a layer over the tree of 51 numbers: flex attention", "the engine's dense mask",
        Timed(attention.flex, attention.dense)),
    Row("prefill-flash", "classify, 5 labels, flash attention in the prefill", "torch's attention",
        Timed(ours.classify(inputs.LABELS_5, "flash_attention_2"), ours.classify(inputs.LABELS_5))),
    Row("predict-file", "predgen predict on a CSV of mixed lengths, end to end", "transformers.pipeline, batch 16",
        Commands(commands.predict_mixed, commands.pipeline_mixed, 10_000), 2.0, "at least"),
    Row("train-file", "predgen train, an epoch of mixed lengths, end to end", "HF Trainer SFT, LoRA",
        Commands(commands.train_mixed, commands.sft_mixed, 5_000), 0.7),
    Row("memory-growth", "resident memory of predgen predict, many short rows", "itself, 1,000 rows",
        Growth(commands.predict_short, 1_000, 20_000, least_many=4_500), 1.1),
)  # fmt: skip

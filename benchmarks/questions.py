"""Ours in the rows of many questions: zero-shot questions as `predgen.ask` puts them, and suffixes as several targets have them."""

import itertools
from collections.abc import Callable, Mapping

import torch

from benchmarks import inputs, ours
from benchmarks.models import base_folder
from benchmarks.settings import Setting
from benchmarks.timing import WARM_UPS
from predgen.asking.asker import Asker
from predgen.codecs.spelling import continuation_ids
from predgen.data.collate import collate
from predgen.engine.answer_tree import AnswerTree
from predgen.engine.base_model import load_base
from predgen.engine.forest import Answers, Asked, forest_log_probs, run_forest
from predgen.questions.kinds import Choice, TypedQuestion, YesNo
from predgen.questions.wording import label_questions

LABELS_128 = tuple(f"{one} {two}" for one in inputs.LABELS_20[:8] for two in inputs.LABELS_20[4:])
TARGETS = ("Urgency", "Mood", "Topic", "Team", "Product", "Country", "Quality", "Price", "Style", "Length")

ONE: Mapping[str, TypedQuestion] = {"urgent": YesNo("Is it urgent?")}
TEN: Mapping[str, TypedQuestion] = {name: YesNo(f"Is it about {name.lower()}?") for name in TARGETS}
ONE_LABEL = label_questions(LABELS_128[:1])
MANY_LABELS = label_questions(LABELS_128)
ONE_CHOICE: Mapping[str, TypedQuestion] = {"topic": Choice("Which topic?", LABELS_128)}

Call = Callable[[], object]


def asker_of(setting: Setting) -> Asker:
    """The size's base, to be asked."""
    return Asker(load_base(str(base_folder(setting)), dtype=setting.spec.dtype))


def ask(questions: Mapping[str, TypedQuestion]) -> Callable[[Setting], Call]:
    """All questions about each state of a batch; each call has states of its own, for what calls have in common is kept."""

    def make(setting: Setting) -> Call:
        asker = asker_of(setting)

        def count(text: str) -> int:
            return len(asker.tokenizer.encode(text))

        batches = itertools.cycle(
            [inputs.states(setting, count, seed) for seed in range(setting.repeats + WARM_UPS + 1)]
        )
        return lambda: asker.ask(next(batches), questions)

    return make


def targets(n: int) -> Callable[[Setting], Call]:
    r"""The first targets' questions, such as "\nUrgency:", two or five labels in turn, behind random prompts."""

    def make(setting: Setting) -> Call:
        base = load_base(str(base_folder(setting)), dtype=setting.spec.dtype)
        runner = ours.runner_of(base)
        spaces = [ours.label_codec(base.tokenizer, labels).space for labels in (inputs.LABELS_2, inputs.LABELS_5)]
        answers = [Answers(space, AnswerTree(space)) for space in spaces]
        suffixes = [continuation_ids(base.tokenizer, f"\n{name}:") for name in TARGETS[:n]]
        asked = [Asked(suffix, answers[i % 2]) for i, suffix in enumerate(suffixes)]
        batch = collate(ours.plain_rows(inputs.prompts(setting)), 0, setting.spec.device)
        rows = [asked] * len(batch)

        @torch.no_grad()
        def call() -> object:
            ids, mask = batch.prompt_ids, batch.prompt_mask
            groves = run_forest(runner.backbone, ids, mask, rows, obstacle=runner.obstacle)
            return forest_log_probs(groves, [n] * len(batch))

        return call

    return make

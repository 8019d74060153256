import functools
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

import predgen
from other_models import other_model
from predgen import Asker, Choice, NumberQuestion, Score, YesNo
from predgen.asking.asker import Case
from predgen.codecs.spelling import text_ids
from predgen.engine.base_model import BaseModel
from predgen.errors import ConfigError, QuestionError
from predgen.questions.answered import ChoiceAnswer, NumberAnswer, ScoreAnswer, YesNoAnswer
from predgen.questions.kinds import TypedQuestion
from predgen.questions.wording import question_text, written_answers
from tiny_models import FAMILIES, tiny_model
from tokenizers_for_tests import char_level, every_tokenizer, word_level

QUESTIONS: dict[str, TypedQuestion] = {
    "urgent": YesNo("Is it urgent?"),
    "true": YesNo("Is it?", true="so", false="not so"),
    "team": Choice("Which team?", {"sales": "prices", "tech support": None, "tech": None}),
    "anger": Score("How angry?", ["calm", "annoyed", "very angry"]),
    "days": NumberQuestion("How many days?", 0.0, 12.0, 1.5),
}
STATES = ["The film is a positive surprise", "", {"plot": "negative", "minutes": 100}]
CASES = [
    Case(STATES[0], QUESTIONS),
    Case(STATES[1], {name: QUESTIONS[name] for name in ("anger", "urgent")}),
    Case(STATES[2], {"only": QUESTIONS["team"]}),
    Case(STATES[0], {}),
]


@functools.cache
def base_of(family: str, tokenizer: str) -> BaseModel:
    made = every_tokenizer()[tokenizer]
    return BaseModel(tiny_model(family, len(made)), made, family, Path())


def prompt_ids(asker: Asker, state: str, question: TypedQuestion) -> list[int]:
    """The whole prompt of one question as one text, tokenised as users of transformers would."""
    text = f"{state}\n\nQuestion: {question_text(question)}\nAnswer:"
    tokenizer = asker.tokenizer
    bos = [tokenizer.bos_token_id] if tokenizer.encode("a")[0] == tokenizer.bos_token_id else []
    return bos + tokenizer.encode(text, add_special_tokens=False)


@torch.no_grad()
def alone(asker: Asker, prompt: Sequence[int], question: TypedQuestion) -> Tensor:
    """P(answer) of each, by one forward over the prompt and each answer, without cache and mask."""
    spelled = [text_ids(asker.tokenizer, text, asker.turn) for text in written_answers(question)]
    stop = asker.turn.stop if asker.turn.stop is not None else asker.tokenizer.eos_token_id
    scores = []
    for answer in spelled:
        logits = asker.runner.lm(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].double()
        total = torch.zeros((), dtype=torch.float64)
        for t, token in enumerate((*answer, stop)):
            legal = sorted({(*other, stop)[t] for other in spelled if other[:t] == answer[:t]})
            after = logits[len(prompt) - 1 + t]
            total = total + after[token] - after[legal].logsumexp(0)
        scores.append(total.exp())
    return torch.stack(scores)


@pytest.mark.parametrize(
    ("family", "tokenizer"),
    [*((family, "gpt2_like") for family in FAMILIES), *(("llama", name) for name in every_tokenizer())],
)
def test_every_answer_is_that_of_its_question_alone(family: str, tokenizer: str) -> None:
    asker = Asker(base_of(family, tokenizer), max_tree_nodes=60)
    told = asker.answer(CASES)
    assert [[*one.answers] for one in told] == [[*case.questions] for case in CASES]
    for case, one in zip(CASES, told, strict=True):
        state = case.state if isinstance(case.state, str) else '{"plot": "negative", "minutes": 100}'
        assert not one.is_truncated
        for name, question in case.questions.items():
            expected = alone(asker, prompt_ids(asker, state, question), question)
            torch.testing.assert_close(torch.tensor(one.probabilities[name]).double(), expected, atol=1e-5, rtol=0)


def test_each_kind_has_its_own_answer() -> None:
    found = predgen.ask(base_of("llama", "char_level"), STATES, QUESTIONS)
    assert len(found) == len(STATES)
    kinds = [YesNoAnswer, YesNoAnswer, ChoiceAnswer, ScoreAnswer, NumberAnswer]
    assert [[type(answer) for answer in of_state.values()] for of_state in found] == [kinds] * 3
    days = found[0]["days"]
    assert isinstance(days, NumberAnswer)
    assert days.distribution.support.tolist() == [0.0, 1.5, 3.0, 4.5, 6.0, 7.5, 9.0, 10.5, 12.0]
    assert days.value in days.distribution.support


def test_order_of_questions_options_and_states_changes_no_figure() -> None:
    asker = Asker(base_of("qwen3", "gpt2_like"), max_tree_nodes=60)
    turned = {name: QUESTIONS[name] for name in reversed(QUESTIONS)}
    turned["team"] = Choice("Which team?", {"tech": None, "tech support": None, "sales": "prices"})
    first, again = asker.ask(STATES, QUESTIONS), asker.ask(STATES[::-1], turned)[::-1]
    for one, other in zip(first, again, strict=True):
        for name, answer in one.items():
            if name != "team":
                assert _flat(other[name].to_dict()) == pytest.approx(_flat(answer.to_dict()), abs=1e-6)
        ours, theirs = one["team"], other["team"]
        assert isinstance(ours, ChoiceAnswer)
        assert isinstance(theirs, ChoiceAnswer)
        assert theirs.choice == ours.choice
        assert theirs.probabilities == pytest.approx(ours.probabilities, abs=1e-6)


def _flat(data: dict[str, object]) -> dict[str, object]:
    """Nested figures in one mapping."""
    parts = {key: value for key, value in data.items() if not isinstance(value, dict)}
    inner = [value for value in data.values() if isinstance(value, dict)]
    return {**parts, **{f"{i}.{k}": v for i, one in enumerate(inner) for k, v in one.items()}}


def test_bases_without_trees_answer_the_same_questions() -> None:
    tokenizer = char_level()
    asker = Asker(BaseModel(other_model("mamba"), tokenizer, "mamba", Path()))
    assert asker.runner.obstacle is not None
    assert asker.engine.endswith(asker.runner.obstacle)
    told = asker.answer(CASES[1:3])
    for case, one in zip(CASES[1:3], told, strict=True):
        state = case.state if isinstance(case.state, str) else '{"plot": "negative", "minutes": 100}'
        for name, question in case.questions.items():
            expected = alone(asker, prompt_ids(asker, state, question), question)
            torch.testing.assert_close(torch.tensor(one.probabilities[name]).double(), expected, atol=1e-5, rtol=0)


def test_special_tokens_in_a_state_or_a_question_are_text() -> None:
    asker = Asker(base_of("llama", "llama2_like"))
    case = Case("</s> yes", {"x": YesNo("Is </s> it?")})
    ids = asker.prompted(0, case).row.prompt_ids
    assert asker.tokenizer.eos_token_id not in ids
    assert "</s> yes" in asker.tokenizer.decode(ids)


def test_a_state_that_is_too_long_is_shortened_and_counted_and_a_question_never() -> None:
    asker = Asker(base_of("llama", "char_level"), max_length=120)
    (told,) = asker.answer([Case("x" * 500, {"a": YesNo("Is it urgent?"), "b": YesNo("Is it very urgent?")})])
    assert told.is_truncated
    for name, question in (("a", YesNo("Is it urgent?")), ("b", YesNo("Is it very urgent?"))):
        room = 120 - len(" yes") - 1 - len(f"\n\nQuestion: {question_text(question)}\nAnswer:")
        expected = alone(asker, prompt_ids(asker, "x" * room, question), question)
        torch.testing.assert_close(torch.tensor(told.probabilities[name]).double(), expected, atol=1e-5, rtol=0)
    with pytest.raises(QuestionError, match=r"`b.instructions`.* 120 tokens"):
        asker.ask(["x"], {"a": YesNo("Is it?"), "b": YesNo("Is it " + "very " * 30 + "urgent?")})


def test_answers_that_a_tokenizer_cannot_tell_apart_are_named_with_their_question() -> None:
    tokenizer = word_level()
    asker = Asker(BaseModel(tiny_model("llama", len(tokenizer)), tokenizer, "words", Path()))
    questions = {"fine": YesNo("Is it?"), "team": Choice("Which?", ["the film", "The Film"])}
    with pytest.raises(QuestionError) as caught:
        asker.check(questions)
    assert [fault.where for fault in caught.value.faults] == ["team"]
    assert "'The Film'" in caught.value.faults[0].what


def test_a_chat_frame_stands_around_state_and_question() -> None:
    tokenizer = every_tokenizer()["gpt2_like"]
    lm = tiny_model("llama", len(tokenizer))
    tokenizer.chat_template = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}<|endoftext|>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    try:
        asker = Asker(BaseModel(lm, tokenizer, "chat", Path()), format="chat")
    finally:
        tokenizer.chat_template = None
    (told,) = asker.answer([CASES[0]])
    for name, question in QUESTIONS.items():
        text = f"[user]{STATES[0]}\n\n{question_text(question)}<|endoftext|>[assistant]"
        ids = tokenizer.encode(text, add_special_tokens=False)
        expected = alone(asker, ids, question)
        torch.testing.assert_close(torch.tensor(told.probabilities[name]).double(), expected, atol=1e-5, rtol=0)


def test_what_cannot_be_asked_is_refused() -> None:
    base = base_of("llama", "char_level")
    with pytest.raises(ConfigError, match="'chatty'"):
        Asker(base, format="chatty")
    with pytest.raises(ConfigError, match="chat template"):
        Asker(base, format="chat")
    with pytest.raises(QuestionError, match="str"):
        predgen.ask(base, "one state", QUESTIONS)
    with pytest.raises(QuestionError, match="questions"):
        predgen.ask(base, ["x"], {})

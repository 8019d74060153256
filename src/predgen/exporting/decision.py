"""A classifier as a decision model of transformers: `pipeline("decision")` gives the probabilities that it has here.

That pipeline renders a template with a request's state and question, runs the language model once, and reads the next token's
logits at one token per option. A writer whose labels are told apart by one token does the same: what all labels begin with (a
blank) is certain, and stands at the template's end; what follows the token that differs is certain, too.

    merged weights, tokenizer    as `merge` writes them
    decision_template.jinja      the run's prompt; it refuses questions that the run was not trained to answer
    decision.json                the labels' tokens, the temperature
"""

import copy
import json
from collections import Counter
from itertools import takewhile
from pathlib import Path
from typing import Any

from predgen.codecs.label import LabelCodec
from predgen.core import Example, Target
from predgen.data.encode import Encoder, uses_bos
from predgen.data.prompts import prompt_fields
from predgen.decodings import rule_of
from predgen.errors import ConfigError, some_of
from predgen.inference.trained import TrainedModel
from predgen.models.writer import WritingModel
from predgen.questions.kinds import yes_and_no

_SAMPLES = ("...", "A word, and 12.5 more!\nThen: another line", "Zwölf Boxkämpfer")  # texts whose tokens are compared
_WHY = "`--to decision` writes what transformers' pipeline can read: the next token's probabilities, one token for each label."
_ELSE = "Train with labels whose first words differ, or use `--to mlflow`."


def write_decision(trained: TrainedModel, folder: Path, *, decode: str | None = None) -> None:
    """Write a model that `pipeline("decision", model=FOLDER)` loads; its probabilities are those of `predict`.

    Args:
        trained: The model.
        folder: An empty folder.
        decode: Where a director predicts: "greedy" for what its writer says (`predict --decode greedy`), since heads stay behind.

    Raises:
        ConfigError: If the model predicts no labels, does not write them, or does not tell them apart by one token, or its tokenizer does
            not give the pipeline the same tokens.
    """
    from transformers.decision import DecisionConfig

    model, temperature = _writer(trained, decode)
    codec = model.codec
    assert isinstance(codec, LabelCodec), "checked by `_writer`"
    head, words = _label_words(trained, codec)
    kinds: dict[str, list[str]] = {"choice": words, "score": words}
    if places := yes_and_no(trained.labels):
        kinds["noul"] = [words[place] for place in places]
    config = DecisionConfig(
        labels=kinds,
        temperature=dict.fromkeys(kinds, temperature),
        chat_template=decision_template(
            trained.encoder, trained.labels, trained.base.tokenizer.decode(head), has_yes_and_no="noul" in kinds
        ),
    )
    _check_tokens(trained, config, head)
    trained.merge(folder)
    config.save_pretrained(folder)


def _writer(trained: TrainedModel, decode: str | None) -> tuple[WritingModel, float]:
    """The model whose probabilities are exported, and the temperature at which they stand.

    Raises:
        ConfigError: If there are none that a pipeline can read.
    """
    model = trained.model
    if not trained.labels:
        raise ConfigError(f"this model predicts {model.setup.kind} answers, but no labels. {_WHY} Use `--to mlflow`.")
    if not isinstance(model, WritingModel) or not isinstance(model.codec, LabelCodec):
        raise ConfigError(
            f"this model's method is {model.setup.method!r}, which writes no labels of its own. {_WHY} Train a Generator, or use"
            " `--to mlflow`."
        )
    if decode is not None and rule_of(decode).reads != "writing":
        raise ConfigError(
            f"`decode` is {decode!r}, but what a model without its head says is `greedy`; or leave it out."
        )
    if decode is None and model.is_directed:
        raise ConfigError(
            f"this model's labels are predicted by a director's head, which a pipeline cannot read. {_WHY} Give `--decode greedy`"
            " to export what its writer says (the same as `predgen predict --decode greedy --proba`), or use `--to mlflow`."
        )
    return model, 1.0 if model.is_directed else model.temperature


def _label_words(trained: TrainedModel, codec: LabelCodec) -> tuple[list[int], list[str]]:
    """The tokens that all labels begin with, and for each a text that the tokenizer turns into the one that follows.

    The pipeline looks labels up by these texts.

    Raises:
        ConfigError: If labels are not told apart by one token, or no text gives the token alone.
    """
    written = {label: codec.encode(Target(label))[:-1] for label in codec.labels}
    shared = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*written.values(), strict=False))
    head = [tokens[0] for tokens in shared]
    following = {label: ids[len(head) : len(head) + 1] for label, ids in written.items()}
    often = Counter(following.values())
    if alike := [repr(label) for label, ids in following.items() if not ids or often[ids] > 1]:
        raise ConfigError(f"one token does not tell the labels {some_of(alike, 5)} from the others. {_WHY} {_ELSE}")
    return head, [_word(trained, label, token) for label, (token,) in following.items()]


def _word(trained: TrainedModel, label: str, token: int) -> str:
    """A text that the tokenizer turns into a label's token.

    Raises:
        ConfigError: If there is none.
    """
    tokenizer = trained.base.tokenizer
    piece = tokenizer.convert_ids_to_tokens(token)
    for text in (label, f" {label}", tokenizer.decode([token]), piece):
        if tokenizer([text], add_special_tokens=False)["input_ids"] == [[token]]:
            return str(text)
    raise ConfigError(
        f"the first token of the label {label!r}, {piece!r}, stands inside words only, and the pipeline looks tokens up alone."
        f" {_ELSE}"
    )


def decision_template(encoder: Encoder, labels: tuple[str, ...], head: str = "", *, has_yes_and_no: bool) -> str:
    """Return the run's prompt as a template of transformers, which renders `state` and refuses questions that are not the run's.

    Args:
        encoder: Makes the run's prompts.
        labels: The labels, in the order in which probabilities are read.
        head: What all of them begin with.
        has_yes_and_no: Whether a yes/no question can be answered.
    """
    fields = prompt_fields(encoder.template)
    own = f"an object with the texts {', '.join(fields)}" + (", or a text" if len(fields) == 1 else "")
    asked = f"a choice of {json.dumps(labels, ensure_ascii=False)}, in this order" + (
        ", or noul" if has_yes_and_no else ""
    )
    lines = [
        f"{{%- set labels = {_constant(list(labels))} -%}}",
        '{%- set given = question.descriptions if question.type == "score" else question.options -%}',
        f'{{%- if given != labels and not (question.type == "noul" and {_constant(has_yes_and_no)}) -%}}',
        f"{{{{- raise_exception({_constant(f'the question is none that this model was trained to answer: ask for {asked}.')}) -}}}}",
        "{%- endif -%}",
        f"{{%- set row = {{{_constant(fields[0])}: state}} if state is string and {_constant(len(fields) == 1)} else state -%}}",
        f"{{%- for name in {_constant(list(fields))} -%}}",
        "{%- if row is not mapping or row[name] is not string -%}",
        f"{{{{- raise_exception({_constant(f'`state` has to be {own}.')}) -}}}}",
        "{%- endif -%}",
        "{%- endfor -%}",
    ]
    # Literals as constants: what a template's own text may not hold ("{%", a line break at its end) can stand in one.
    parts = [
        part for literal, name in encoder.pieces for part in (literal and _constant(literal), name and _cell(name))
    ]
    before, after = ("", "") if encoder.frame is None else (encoder.frame.before, encoder.frame.after)
    bos = encoder.tokenizer.bos_token if uses_bos(encoder.tokenizer) else ""
    before = before if before.startswith(bos) and bos else bos + before
    prompt = f"({' ~ '.join(part for part in parts if part)}).rstrip()"
    lines.append(f"{{{{- {_constant(before)} ~ {prompt} ~ {_constant(after + head)} -}}}}")
    return "\n".join(lines) + "\n"


def _constant(value: Any) -> str:  # noqa: ANN401
    """A value as jinja reads it; letters beyond ASCII as they are, for its escapes know no surrogate pairs."""
    return json.dumps(value, ensure_ascii=False)


def _cell(name: str) -> str:
    """A prompt field's text."""
    return f"row[{_constant(name)}]"


def _check_tokens(trained: TrainedModel, config: Any, head: list[int]) -> None:  # noqa: ANN401
    """Compare the tokens of a few prompts with those that the pipeline makes of them.

    Raises:
        ConfigError: If they differ, as where a tokenizer writes a text's first word otherwise behind its start token.
    """
    tokenizer = copy.deepcopy(trained.base.tokenizer)  # the pipeline adds marks of its own
    question = {"type": "choice", "criteria": dict.fromkeys(trained.labels)}
    for text in _SAMPLES:
        row = dict.fromkeys(prompt_fields(trained.task.prompt), text)
        own = trained.encoder.encode(Example(0, row, None), with_answer=False).prompt_ids
        (inputs, _), *_rest = config.prepare_inputs({"state": row, "questions": {"own": question}}, tokenizer)
        if inputs["input_ids"][0].tolist() != [*own, *head]:
            raise ConfigError(
                "transformers' chat templates give other tokens for this model's prompts than it was trained on (a tokenizer that"
                " writes a text's first word otherwise does so), so that its probabilities would be others. Use `--to mlflow`."
            )

"""The model card of a saved model."""

import json
from collections.abc import Mapping

from predgen.codecs.number import NumberCodec
from predgen.escaping import fenced, for_markdown, markdown_row
from predgen.figures import number
from predgen.models.base import ModelSetup
from predgen.saved.card_data import front_matter
from predgen.saved.contents import Contents, TargetContents


def model_card(trained: Contents) -> str:
    """Return the card: what the model is, what it was measured on, how to use it, and what it was made from.

    Labels, columns, the prompt and the base model's name are users' words, which the hub shows to everybody; they are
    escaped (see `predgen.escaping`).
    """
    task, setup = trained.task, trained.model.setup
    base = for_markdown(trained.base.name)
    labels = ", ".join(map(for_markdown, setup.labels))
    rows = trained.report.get("validation_rows", 0)
    matter = front_matter(
        task.name, trained.base.name, trained.config, [setup.kind], trained.report.get("validation", {}), task
    )
    return f"""{matter}# {for_markdown(task.name)}: {setup.method} on {base}

Predicts {for_markdown(task.target)} ({f"one of: {labels}" if labels else "a number"}) from the prompt

{fenced(task.prompt)}

Use it with `predgen`:

{fenced(_usage(trained), "python")}

## Measured on validation rows ({rows}), which also selected the checkpoint{_choice(trained)}

| metric | value |
| --- | ---: |
{_measured(trained.report.get("validation", {}))}

## Made from

| | |
| --- | --- |
{_origin(trained)}

The full configuration is in `predgen.json`.
"""


def card_of_targets(trained: TargetContents) -> str:
    """Return the card of a model with several targets."""
    method, rows = trained.config.method, trained.report.get("validation_rows", 0)
    base = for_markdown(trained.base.name)
    asked = [(name, part.task.prompt, _answers(part)) for name, part in trained.parts.items()]
    fields = {name: "..." for part in trained.parts.values() for _, name in part.encoder.pieces if name}
    usage = (
        f'import predgen\n\nmodel = predgen.load_targets("FOLDER")\n'
        f"model.predict([{json.dumps(fields)}])[0][{json.dumps(next(iter(trained.parts)))}].value"
    )
    name, kinds = ", ".join(spec.name for spec in trained.specs), [spec.kind for spec in trained.specs]
    measured = trained.report.get("validation", {})
    matter = front_matter(name, trained.base.name, trained.config, [*kinds, "several targets"], measured)
    return f"""{matter}# {", ".join(for_markdown(spec.name) for spec in trained.specs)}: {method} on {base}

Predicts several columns of a row, by one question each:

{"".join(f"- {for_markdown(name)} ({answers}){chr(10)}{chr(10)}{fenced(prompt)}{chr(10)}{chr(10)}" for name, prompt, answers in asked)}
Use it with `predgen`:

{fenced(usage, "python")}

## Measured on validation rows ({rows}), which also selected the checkpoint

| metric | value |
| --- | ---: |
{_measured(trained.report.get("validation", {}))}

The full configuration is in `predgen.json`.
"""


def _answers(part: Contents) -> str:
    """What may be answered to a question."""
    labels = ", ".join(map(for_markdown, part.model.setup.labels))
    return f"one of: {labels}" if labels else "a number"


def _usage(trained: Contents) -> str:
    """An example in Python."""
    fields = {name: "..." for _, name in trained.encoder.pieces if name}
    return f'import predgen\n\nmodel = predgen.load("FOLDER")\nmodel.predict([{json.dumps(fields)}])[0].value'


def _measured(metrics: Mapping[str, float]) -> str:
    """Rows of the table of metrics."""
    rows = [(name, number(value, 4)) for name, value in metrics.items()] or [("none measured", "")]
    return "\n".join(map(markdown_row, rows))


def _origin(trained: Contents) -> str:
    """Rows of the table of what the model was made from."""
    task, config = trained.task, trained.config
    rows = {
        "base model": trained.base.name,
        "method": _method(trained.model.setup),
        "fine-tuning": config.peft,
        **_range(trained),
        "training rows": str(trained.report.get("train_rows", "not recorded")),
        "data": f"{_data(trained)}, licence: {task.licence}",
        "data source": task.source or "not stated",
    }
    return "\n".join(map(markdown_row, rows.items()))


def _data(trained: Contents) -> str:
    """Where the training rows came from; models of the first version name a task or a file, or had rows in memory."""
    config = trained.config
    named = config.task or ("a file of the user's" if config.data is not None else "rows in memory, read from no file")
    return str(trained.report.get("rows_from", named))


def _choice(trained: Contents) -> str:
    """How the checkpoint was chosen, in brackets; nothing for older models, which do not say."""
    selection = trained.report.get("selection")
    choice = selection.get("choice") if isinstance(selection, dict) else None
    return f" ({for_markdown(choice)})" if isinstance(choice, str) else ""


def _range(trained: Contents) -> dict[str, str]:
    """The numbers that can be predicted; nothing for labels and math."""
    codec, scale = trained.encoder.codec, trained.model.scale
    if trained.model.setup.kind != "regression":
        return {}
    ends: tuple[float | None, float | None] = scale.low, scale.high
    if isinstance(codec, NumberCodec):
        ends = scale.raw(codec.low), scale.raw(codec.high)
    low, high = ("no bound" if end is None else str(end) for end in ends)
    transform = "" if scale.transform == "none" else f", transform {scale.transform}"
    return {"numbers": f"{low} to {high}{transform}"}


def _method(setup: ModelSetup) -> str:
    """The method with all settings of it and of what it chooses."""
    shown = [f"{name} {value}" for component in setup.components.values() for name, value in component.shown().items()]
    return ", ".join([setup.method, *shown[1:]])

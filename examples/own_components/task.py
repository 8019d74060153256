"""Task `colours`: the colour of a thing, with few or many colours."""

from dataclasses import dataclass

from predgen.core import FileSpec, TaskSpec
from predgen.registries import tasks
from predgen.settings import Settings, setting


@dataclass(frozen=True)
class ColoursSettings(Settings):
    """Settings of task `colours`."""

    colour_prompt: str = setting("plain", "Task 'colours': how things are asked for.", choices=("plain", "polite"))


def colours(settings: ColoursSettings) -> TaskSpec:
    """Return the task with the prompt that is asked for."""
    start = "Thing: " if settings.colour_prompt == "plain" else "Please name its colour. Thing: "
    return TaskSpec(
        name="colours",
        kind="classification",
        prompt=start + "{text}\nColour:",
        target="colour",
        labels={"red": "red", "blue": "blue"},
        metrics=("accuracy", "log_loss"),
        files={"train": (FileSpec(("train.jsonl",), "jsonl"),)},
        group=("text",),
    )


tasks.register("colours", f"{__name__}:colours", "colours of things, 2 classes", settings=ColoursSettings)

"""What `/v1/systemone` and `/v1/decisions` take besides questions: models, states, messages; unknown keys are refused."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from predgen.errors import QuestionError, QuestionFault
from predgen.questions.wording import State
from predgen.serving.schema import Strict

QuestionData = dict[str, Any]


class SystemOneRequest(Strict):
    """Questions about a state."""

    model: Annotated[str | None, Field(description="Name of a model; may be left out where only one is served.")] = None
    state: Annotated[
        str | dict[str, Any] | list[Any],
        Field(description="What the questions are about; a trained model takes an object with its prompt's columns."),
    ]
    questions: Annotated[
        dict[str, QuestionData],
        Field(
            min_length=1,
            max_length=64,
            description="Name -> question; a trained target's name alone may stand with `{}`.",
        ),
    ]
    assets: Annotated[dict[str, Any], Field(max_length=0, default_factory=dict, description="Images; none are read.")]


class TextPart(Strict):
    """A text in a message."""

    type: Literal["input_text", "output_text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = None


class JsonPart(Strict):
    """Data in a message."""

    type: Literal["input_json"]
    data: dict[str, Any] | list[dict[str, Any]]


class RefusalPart(Strict):
    """What an assistant did not answer."""

    type: Literal["refusal"]
    refusal: str


MessagePart = Annotated[TextPart | JsonPart | RefusalPart, Field(discriminator="type")]


class DecisionMessage(Strict):
    """A message."""

    role: Literal["user", "developer", "system", "assistant"]
    content: str | list[MessagePart]
    type: Literal["message"] = "message"
    phase: Literal["commentary", "final_answer"] | None = None


class ToolCall(Strict):
    """A call of a tool."""

    type: Literal["function_call", "custom_tool_call"]
    name: str
    call_id: str
    arguments: str = ""
    input: str = ""
    id: str | None = None
    namespace: str | None = None
    status: str | None = None


class ToolOutput(Strict):
    """What a tool gave."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: str
    output: str | list[MessagePart]
    id: str | None = None
    status: str | None = None


def _kind_of_item(value: Any) -> str:  # noqa: ANN401
    """Which of the three an item of the input is."""
    kind = value.get("type", "message") if isinstance(value, Mapping) else "message"
    return "output" if str(kind).endswith("_output") else "call" if str(kind).endswith("_call") else "message"


InputItem = Annotated[
    Annotated[DecisionMessage, Tag("message")]
    | Annotated[ToolCall, Tag("call")]
    | Annotated[ToolOutput, Tag("output")],
    Discriminator(_kind_of_item),
]


class CacheOptions(Strict):
    """Is read and does nothing: what prompts have in common is always run once."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m"] | None = None


class DecisionsRequest(Strict):
    """Questions about an input."""

    model: Annotated[str | None, Field(description="Name of a model; may be left out where only one is served.")] = None
    input: Annotated[str | list[InputItem], Field(description="Text, or messages and calls of tools.")]
    questions: Annotated[list[QuestionData], Field(min_length=1, max_length=400)]
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: CacheOptions | None = None


def state_of_input(given: str | Sequence[DecisionMessage | ToolCall | ToolOutput]) -> State:
    """Return the state that an input stands for.

    A single message is its content: the text, or the object where it is one. Several items are one line each.

    Raises:
        QuestionError: If an output of a tool has no call.
    """
    if isinstance(given, str):
        return given
    if len(given) == 1 and isinstance(given[0], DecisionMessage):
        content = given[0].content
        if not isinstance(content, str) and len(content) == 1 and isinstance(content[0], JsonPart):
            return content[0].data
        return text_of(content)
    calls = {item.call_id for item in given if isinstance(item, ToolCall)}
    faults = [
        QuestionFault(f"{i}.call_id", f"is {item.call_id!r}, but no call has this id")
        for i, item in enumerate(given)
        if isinstance(item, ToolOutput) and item.call_id not in calls
    ]
    if faults:
        raise QuestionError(faults)
    return "\n".join(_lines(given))


def text_of(content: str | Sequence[TextPart | JsonPart | RefusalPart]) -> str:
    """Return parts as one text."""
    if isinstance(content, str):
        return content
    return "\n".join(_part_text(part) for part in content)


def _part_text(part: TextPart | JsonPart | RefusalPart) -> str:
    """A part as text."""
    if isinstance(part, JsonPart):
        return json.dumps(part.data, ensure_ascii=False)
    return part.text if isinstance(part, TextPart) else part.refusal


def _lines(given: Sequence[DecisionMessage | ToolCall | ToolOutput]) -> Iterator[str]:
    """Items of an input, each with who it comes from."""
    for item in given:
        if isinstance(item, DecisionMessage):
            yield f"{item.role}: {text_of(item.content)}"
        elif isinstance(item, ToolCall):
            yield f"call: {item.name}({item.arguments or item.input})"
        else:
            yield f"result: {text_of(item.output)}"

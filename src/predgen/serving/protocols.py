"""`POST /v1/systemone` and `POST /v1/decisions`: typed questions in the shapes of two protocols, answered by the same models.

body -> envelope and questions, each with all its faults -> typed questions -> work -> answers in the protocol's shape
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import TypeAdapter, ValidationError

from predgen.errors import QuestionError, QuestionFault
from predgen.questions.answered import ChoiceAnswer, ScoreAnswer, YesNoAnswer
from predgen.questions.kinds import TypedQuestion
from predgen.questions.wording import State
from predgen.serving.envelopes import (
    DecisionsRequest,
    MessagePart,
    QuestionData,
    SystemOneRequest,
    state_of_input,
    text_of,
)
from predgen.serving.schema import REFUSALS, FaultsError, places_and_faults
from predgen.serving.server import Server
from predgen.serving.told import AskedQuestions, Told

_PARTS: TypeAdapter[Any] = TypeAdapter(list[MessagePart])
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Protocol:
    """What one of the protocols has of its own.

    Attributes:
        envelope: What stands around the questions.
        state: Key of what they are about.
        types: Types of questions.
        keys: Keys of questions besides `type` and `instructions`.
        answer: Shape of an answer: what was told, and the question's name.
    """

    envelope: type[SystemOneRequest] | type[DecisionsRequest]
    state: str
    types: tuple[str, ...]
    keys: tuple[str, ...]
    answer: Callable[[Told, str | None], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Given:
    """A question as it came: its key among the answers, its place in the request, and its name, if it has one."""

    key: str
    place: Place
    name: str | None
    data: QuestionData


@dataclass(frozen=True, slots=True)
class _Read:
    """A request that was found to be good."""

    model: str
    names: dict[str, str | None]
    asked: AskedQuestions


def add_protocols(app: FastAPI, server: Server) -> None:
    """Add both paths."""
    keyed = [Depends(HTTPBearer(auto_error=False))] if server.settings.api_key is not None else []
    common: dict[str, Any] = {"responses": REFUSALS, "dependencies": keyed}

    @app.post("/v1/systemone", openapi_extra=_described(SystemOneRequest), **common)
    async def systemone(request: Request, body: Annotated[dict[str, Any], Body()]) -> Response:
        """Answer named questions about a state, each with the probability of everything that may be answered."""
        read, told, tokens = await _answers(server, request, body, SYSTEM_ONE)
        answers = {key: SYSTEM_ONE.answer(one, None) for key, one in told.items()}
        usage = {"input_tokens": tokens, "output_tokens": 0}
        return JSONResponse({"model": read.model, "answers": answers, "usage": usage})

    @app.post("/v1/decisions", openapi_extra=_described(DecisionsRequest), **common)
    async def decisions(request: Request, body: Annotated[dict[str, Any], Body()]) -> Response:
        """Answer questions about an input, in their order."""
        read, told, tokens = await _answers(server, request, body, DECISIONS)
        answers = [DECISIONS.answer(one, read.names[key]) for key, one in told.items()]
        usage = {
            "input_tokens": tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens,
        }
        return JSONResponse({"model": read.model, "answers": answers, "usage": usage})


async def _answers(
    server: Server, request: Request, body: dict[str, Any], protocol: Protocol
) -> tuple[_Read, dict[str, Told], int]:
    """Answers to a request, by the questions' keys, and the tokens that were read for them."""
    read = await asyncio.to_thread(_read, server, body, protocol)
    request.state.facts.update(model=read.model, questions=len(read.names))
    found = await server.told(request, read.asked.work)
    told, tokens = read.asked.read(found)
    request.state.facts.update(tokens=tokens)
    return read, told, tokens


def _read(server: Server, body: dict[str, Any], protocol: Protocol) -> _Read:
    """Read a request.

    Raises:
        FaultsError: With everything that is wrong with envelope, state and questions.
        HTTPException: 404 if there is no such model.
    """
    faults: list[tuple[Place, str]] = []
    envelope = None
    try:
        envelope = protocol.envelope.model_validate(body)
    except ValidationError as error:
        faults += places_and_faults(error.errors(include_url=False), body)
    model = server.known(body.get("model"))
    questions: dict[str, TypedQuestion] = {}
    names: dict[str, str | None] = {}
    for given in _given(body):
        names[given.key] = given.name
        try:
            data = _plain(given.data, protocol)
            if model is not None:
                questions[given.key] = model.question(given.name, data)
        except QuestionError as error:
            faults += [((*given.place, *_place(fault.where)), fault.what) for fault in error.faults]
    state: State | None = None
    try:
        state = None if envelope is None else _state(envelope)
        if model is not None and state is not None:
            model.check_state(state)
    except QuestionError as error:
        faults += [((protocol.state, *_place(fault.where)), fault.what) for fault in error.faults]
    except FaultsError as error:
        faults += [((protocol.state,), str(fault["msg"])) for fault in error.faults]
    if faults:
        raise FaultsError(faults)
    assert envelope is not None, "what is wrong with it is told above"
    assert state is not None, "it was made of the envelope"
    found = server.model(envelope.model)
    return _Read(found.name, names, found.ask(state, questions))


def _given(body: Mapping[str, Any]) -> Iterator[_Given]:
    """Questions that can be looked at; what cannot is told by the envelope."""
    questions = body.get("questions")
    if isinstance(questions, Mapping):
        pairs: list[tuple[str | int, str | None, Any]] = [
            (str(name), str(name), one) for name, one in questions.items()
        ]
    else:
        listed = questions if isinstance(questions, list) else []
        pairs = [(i, one.get("name") if isinstance(one, Mapping) else None, one) for i, one in enumerate(listed)]
    for place, name, data in pairs:
        if isinstance(data, dict):
            yield _Given(str(place), ("questions", place), name if isinstance(name, str) else None, data)


def _plain(data: QuestionData, protocol: Protocol) -> QuestionData:
    """A question as the reader of questions takes it, after what only the other protocol has is refused.

    Raises:
        QuestionError: If something is.
    """
    faults = [
        QuestionFault(key, f"is no key of a question here; allowed: type, instructions, {', '.join(protocol.keys)}")
        for key in data
        if key not in ("type", "instructions", *protocol.keys)
    ]
    kind = data.get("type")
    if kind is not None and kind not in protocol.types:
        faults.append(QuestionFault("type", f"is {kind!r}; allowed: {', '.join(protocol.types)}"))
    if not isinstance(data.get("name", ""), str):
        faults.append(QuestionFault("name", f"is {data['name']!r}, but must be a text"))
    plain = {key: value for key, value in data.items() if key != "name"}
    if isinstance(plain.get("instructions"), list) and "name" in protocol.keys:
        try:
            plain["instructions"] = text_of(_PARTS.validate_python(plain["instructions"]))
        except ValidationError as error:
            faults += [
                QuestionFault(".".join(map(str, ("instructions", *place))), what)
                for place, what in places_and_faults(error.errors(), plain["instructions"])
            ]
    if faults:
        raise QuestionError(faults)
    return plain


def _state(envelope: SystemOneRequest | DecisionsRequest) -> State:
    """What the questions are about."""
    return envelope.state if isinstance(envelope, SystemOneRequest) else state_of_input(envelope.input)


def _place(where: str) -> Sequence[str | int]:
    """A fault's place inside a question as JSON has it."""
    return [int(part) if part.isdecimal() else part for part in where.split(".") if part]


def _decision(told: Told, name: str | None) -> dict[str, Any]:
    """An answer as `/v1/decisions` has it."""
    one = told.answer
    if isinstance(one, YesNoAnswer):
        return {"type": "predicate", "name": name, "probability": one.probability}
    if isinstance(one, ChoiceAnswer):
        listed: list[dict[str, Any]] = [{"value": v, "probability": p} for v, p in one.probabilities.items()]
        return {
            "type": "choice",
            "name": name,
            "choice": one.choice,
            "confidence": one.confidence,
            "probabilities": listed,
        }
    if isinstance(one, ScoreAnswer):
        levels = zip(one.legend, one.probabilities, strict=True)
        listed = [{"value": i, "label": label, "probability": p} for i, (label, p) in enumerate(levels)]
        return {
            "type": "score",
            "name": name,
            "score": one.score,
            "confidence": one.confidence,
            "probabilities": listed,
        }
    return {"name": name, **told.to_dict()}


def _described(envelope: type[SystemOneRequest] | type[DecisionsRequest]) -> dict[str, Any]:
    """What OpenAPI says of a body that is read by hand, so that all of its faults can be told."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _inlined(envelope)}}}}


def _inlined(envelope: type[SystemOneRequest] | type[DecisionsRequest]) -> dict[str, Any]:
    """A schema whose parts stand where they are named: parts of their own would need a place in the whole document."""
    schema = envelope.model_json_schema()
    parts = schema.pop("$defs", {})

    def without_names(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, dict):
            if "$ref" in value:
                return without_names(parts[value["$ref"].rpartition("/")[2]])
            return {key: without_names(one) for key, one in value.items() if key != "discriminator"}
        return [without_names(one) for one in value] if isinstance(value, list) else value

    found: dict[str, Any] = without_names(schema)
    return found


SYSTEM_ONE = Protocol(
    SystemOneRequest,
    "state",
    ("noul", "choice", "score", "number"),
    ("criteria", "minimum", "maximum", "step"),
    lambda told, _: told.to_dict(),
)
DECISIONS = Protocol(
    DecisionsRequest,
    "input",
    ("predicate", "choice", "score", "number"),
    ("name", "choices", "levels", "minimum", "maximum", "step"),
    _decision,
)

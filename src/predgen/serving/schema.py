"""What `/predict` and `/explain` take and give, as JSON. Unknown keys are refused, and all faults of a request are told at once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _text_or_object(value: Any) -> Any:  # noqa: ANN401
    """Refuse what is no row, in one message instead of one per form."""
    if not isinstance(value, str | dict):
        raise ValueError("a row is a text, or an object with the prompt's columns")
    return value


RowData = Annotated[str | dict[str, Any], BeforeValidator(_text_or_object)]
Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """A request without keys that nobody reads."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PredictRequest(Strict):
    """Rows to predict, and what is asked for besides the prediction."""

    model: Annotated[str | None, Field(description="Name of a model; may be left out where only one is served.")] = None
    rows: Annotated[
        list[RowData],
        Field(min_length=1, description="Rows with the prompt's columns; a text fills a prompt's only field."),
    ]
    distribution: Annotated[
        bool | None,
        Field(description="Give numbers with all their probabilities; default: where the model has them."),
    ] = None
    quantiles: Annotated[list[Share], Field(max_length=100, description="Levels of quantiles of numbers.")] = []
    decode: Annotated[str | None, Field(description="Another way to read the prediction, as `--decode` has it.")] = None
    coverage: Annotated[
        float | None,
        Field(
            description="Give a set of labels, or an interval of numbers, that holds the truth in this share of rows."
        ),
    ] = None
    conformal: Annotated[str | None, Field(description="How sets and intervals are made.")] = None
    by: Annotated[str | None, Field(description="Column whose groups are each to be covered so.")] = None
    max_error: Annotated[
        float | None, Field(description="Mark rows as abstained, so that at most this share of the others is wrong.")
    ] = None
    min_confidence: Annotated[
        float | None, Field(description="Mark rows as abstained whose label is less probable than this.")
    ] = None


class NumberDistribution(BaseModel):
    """Numbers with their probabilities."""

    support: list[float]
    probabilities: list[float]
    unexpanded: float
    mean: float
    median: float
    mode: float
    temperature: float = 1.0


class Interval(BaseModel):
    """Ends between which a number is; null: it is open on that side."""

    lower: float | None
    upper: float | None


class PredictionAnswer(BaseModel):
    """What is predicted of a row; keys that were not asked for, or that the model cannot give, are left out."""

    value: str | bool | int | float | None
    probabilities: dict[str, float] = Field(default_factory=dict, description="Label -> probability.")
    distribution: NumberDistribution | None = None
    quantiles: dict[str, float] = Field(default_factory=dict, description="Level -> number.")
    set: list[str | bool | int | float] = Field(
        default_factory=list, description="Labels that hold the truth so often."
    )
    interval: Interval | None = None
    abstained: bool = False
    flags: list[str] = Field(default_factory=list, description='What is remarkable, such as "truncated".')


class Usage(BaseModel):
    """What was read."""

    input_tokens: int


class PredictResponse(BaseModel):
    """Predictions, in the order of the rows."""

    model: str
    predictions: list[PredictionAnswer]
    usage: Usage


class ExplainRequest(Strict):
    """A row to explain."""

    model: Annotated[str | None, Field(description="Name of a model; may be left out where only one is served.")] = None
    row: RowData
    label: Annotated[str | None, Field(description="Label to explain; default: the predicted one.")] = None


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    loc: list[str | int]
    msg: str
    type: str


class Faults(BaseModel):
    """Everything that is wrong with a request, one by one and in a line."""

    detail: list[Fault]
    message: str


class Refusal(BaseModel):
    """Why a request is not answered; clients of either protocol look under one of the names."""

    detail: str
    message: str


class FaultsError(Exception):
    """A request cannot be answered as it is.

    Args:
        faults: Places in the request, and what is wrong there.
    """

    def __init__(self, faults: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, place)) or 'body'}: {text}" for place, text in faults))
        self.faults = [{"loc": ["body", *place], "msg": text, "type": "value_error"} for place, text in faults]


def places_and_faults(errors: Iterable[Mapping[str, Any]], body: object) -> list[tuple[tuple[str | int, ...], str]]:
    """Return pydantic's errors with places as the client wrote them: each once, without names of types, and only the deepest.

    Where something may have one of several forms, pydantic tells of each form why it is none.

    Args:
        errors: `loc` and `msg` of each.
        body: What was checked.

    Example:
        >>> errors = [{"loc": ("state", "str"), "msg": "no text"}, {"loc": ("state", "list[any]"), "msg": "no list"}]
        >>> places_and_faults(errors, {"state": 3})
        [(('state',), 'no text; no list')]
    """
    found: dict[tuple[str | int, ...], list[str]] = {}
    for error in errors:
        found.setdefault(_place_in(body, error["loc"]), []).append(error["msg"])
    deepest = [place for place in found if not any(other[: len(place)] == place and other != place for other in found)]
    return [(place, "; ".join(dict.fromkeys(found[place]))) for place in deepest]


def _place_in(body: Any, loc: Sequence[str | int]) -> tuple[str | int, ...]:  # noqa: ANN401
    """The parts of a place that stand in the data, and the key that is missing there."""
    place: list[str | int] = []
    for i, part in enumerate(loc):
        is_key = isinstance(body, Mapping) and (part in body or i == len(loc) - 1)
        if is_key or (isinstance(body, list) and isinstance(part, int)):
            place.append(part)
            body = body[part] if not is_key or part in body else None
    return tuple(place)


REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Refusal, "description": "The key is missing or wrong."},
    404: {"model": Refusal, "description": "No such model."},
    413: {"model": Refusal, "description": "The body is too large."},
    422: {"model": Faults, "description": "All that is wrong with the request."},
    503: {"model": Refusal, "description": "The queue is full; `Retry-After` says when to come back."},
    504: {"model": Refusal, "description": "No answer within the time."},
}
"""What every question may be answered with instead."""

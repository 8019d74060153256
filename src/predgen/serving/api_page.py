"""The page at `/docs`: the server's OpenAPI description for people, in one file that loads nothing.

FastAPI's own page loads megabytes of script from elsewhere, which servers in closed networks cannot have. This one reads the same
description and is plain HTML: paths, what they take and answer, and the shapes that are named there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

import predgen
from predgen.report.templates import policy, style, templates

_Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ApiField:
    """A key of a request or an answer."""

    name: str
    kind: Markup
    is_required: bool
    about: str


@dataclass(frozen=True, slots=True)
class ApiPath:
    """What is asked of a path, and what it answers: (status, meaning, shape)."""

    method: str
    path: str
    about: str
    fields: tuple[ApiField, ...]
    answers: tuple[tuple[str, str, Markup], ...]

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        return "-".join(part for part in (self.method, *self.path.split("/")) if part)


def api_page(described: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the page and its headers.

    Args:
        described: The server's OpenAPI description.
    """
    shapes = described.get("components", {}).get("schemas", {})
    text = (
        templates()
        .get_template("api.html")
        .render(
            version=predgen.__version__,
            name="predgen",
            style=style(),
            policy=policy(),
            about=described["info"].get("description", ""),
            paths=list(_paths(described["paths"], shapes)),
            shapes={name: (shape.get("description", ""), _fields(shape)) for name, shape in shapes.items()},
        )
    )
    headers = {
        "Content-Security-Policy": f"{policy()}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return text, headers


def _paths(paths: Mapping[str, Any], shapes: Mapping[str, _Schema]) -> Iterator[ApiPath]:
    """Every method of every path."""
    for path, methods in paths.items():
        for method, said in methods.items():
            asked = _body(said.get("requestBody", {}))
            named = shapes.get(str(asked.get("$ref", "")).rpartition("/")[2], asked)
            answers = [(status, one["description"], kind_of(_body(one))) for status, one in said["responses"].items()]
            yield ApiPath(method, path, said.get("description", ""), _fields(named), tuple(answers))


def _body(said: Mapping[str, Any]) -> _Schema:
    """The shape of a body of JSON; empty where it may be anything."""
    shape: _Schema = said.get("content", {}).get("application/json", {}).get("schema", {})
    return shape


def _fields(shape: _Schema) -> tuple[ApiField, ...]:
    """An object's keys."""
    required = shape.get("required", ())
    return tuple(
        ApiField(name, kind_of(one), name in required, one.get("description", ""))
        for name, one in shape.get("properties", {}).items()
    )


def kind_of(shape: _Schema) -> Markup:
    """Return what a value may be, in words; a shape of the page is a link to it.

    Example:
        >>> str(kind_of({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}}))
        'list of (string or null)'
    """
    if "$ref" in shape:
        name = str(shape["$ref"]).rpartition("/")[2]
        return Markup('<a href="#{0}">{0}</a>').format(name)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in shape:
            return Markup(" or ").join(dict.fromkeys(kind_of(one) for one in shape[key]))
    if "const" in shape or "enum" in shape:
        return Markup(" or ").join(
            Markup("<code>{}</code>").format(repr(one)) for one in shape.get("enum", [shape.get("const")])
        )
    if shape.get("type") == "array":
        return Markup("list of ") + _inner(shape.get("items", {}))
    if shape.get("type") == "object":
        values = shape.get("additionalProperties")
        if isinstance(values, dict) and values:
            return Markup("object of ") + _inner(values)
        keys = ", ".join(shape.get("properties", {}))
        return Markup("object with {}").format(keys) if keys else Markup("object")
    return escape(shape.get("type", "anything")) + escape(_range(shape))


def _inner(shape: _Schema) -> Markup:
    """What is in a list or an object."""
    inner = kind_of(shape)
    return Markup("({})").format(inner) if " or " in inner else inner


def _range(shape: _Schema) -> str:
    """Bounds of a number."""
    low, high = shape.get("minimum"), shape.get("maximum")
    return (
        ""
        if low is None and high is None
        else f" from {'' if low is None else f'{low:g}'} to {'' if high is None else f'{high:g}'}"
    )

"""What all pages have in common: templates in which everything is escaped, the style, and what a page may load."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import predgen
from predgen.figures import p_value
from predgen.report import words

ASSETS = Path(predgen.__file__).parent / "assets" / "report"
"""Folder of templates, style and script."""


def templates() -> Environment:
    """Return templates with everything escaped, and the words for numbers."""
    found = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(number=words.as_figure, exact=words.exact, p_value=p_value)
    found.globals.update(count=words.count)
    return found


def style() -> Markup:
    """Return the style sheet of all pages."""
    return Markup((ASSETS / "style.css").read_text(encoding="utf-8"))


def policy(script: str = "", *, asks: bool = False) -> str:
    """Forbid a page the network, and every script but its own, whatever a row's text says.

    Args:
        script: Its script; empty: none.
        asks: Whether its script asks the server that it came from.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    allowed = f" script-src 'sha256-{digest}';" if script else ""
    server = " connect-src 'self';" if asks else ""
    return f"default-src 'none';{allowed}{server} style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

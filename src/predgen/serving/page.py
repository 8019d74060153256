"""The page at `/`: a row to type, and what a model says about it."""

from markupsafe import Markup

import predgen
from predgen.report.templates import ASSETS, policy, style, templates


def serve_page() -> tuple[str, dict[str, str]]:
    """Return the page and its headers: it asks its own server alone, and no other page may frame it."""
    script = (ASSETS / "serve.js").read_text(encoding="utf-8")
    allowed = policy(script, asks=True)
    text = (
        templates()
        .get_template("serve.html")
        .render(version=predgen.__version__, name="predgen", style=style(), policy=allowed, script=Markup(script))
    )
    headers = {
        "Content-Security-Policy": f"{allowed}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return text, headers

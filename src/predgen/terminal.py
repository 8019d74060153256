"""The terminal: rich's console for texts that come from strangers."""

from typing import Any

from rich.console import Console
from rich.progress import Task, TextColumn
from rich.text import Text

from predgen.escaping import for_terminal, in_line


class PlainConsole(Console):
    """A console that prints every string as it stands, tables' cells and titles included.

    Nothing in it is markup ("[red]"), an emoji's name (":bug:") or a sequence that steers the terminal. Styles are given
    as `rich.text.Text`.

    Args:
        settings: Those of `rich.console.Console`.
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **settings})

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401
        return super().render_str(for_terminal(text), **{**options, "markup": False, "emoji": False})


class PlainColumn(TextColumn):
    """A progress display's text, which is no markup either."""

    def render(self, task: Task) -> Text:
        return Text(in_line(self.text_format.format(task=task)), style=self.style, justify=self.justify)

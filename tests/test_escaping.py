"""Users' text in every medium: nothing in it acts, and what is harmless stays as it is."""

import html.parser
import io
import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress
from rich.table import Table

from predgen.escaping import fenced, for_markdown, for_sheet, for_terminal, in_line, markdown_row
from predgen.inference.formats import Delimited
from predgen.terminal import PlainColumn, PlainConsole

BIDI_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # PropList.txt, Bidi_Control
HOSTILE = "[/label] [red]x :bug: \x1b[31m\x9b2J \u202ecod.exe \x00\x07\x7f\ud800 <script>alert(1)</script> |`*_=cmd()"

# Terminals


@given(st.text())
def test_a_terminal_gets_nothing_that_it_obeys(text: str) -> None:
    shown = for_terminal(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown if c not in "\t\n")
    assert not set(shown) & set(BIDI_CONTROLS)
    assert not any(unicodedata.category(c) == "Cc" for c in in_line(text))


@pytest.mark.parametrize(
    "text",
    ["naïve café", "中文 \U0001f469\u200d\U0001f52c", "\u0646\u06cc\u200c\u062a", "a\tb\nc", "[0.1, 0.2]", "c:\\x"],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert for_terminal(text) == text


@given(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False)))
def test_json_for_a_terminal_is_the_same_data(data: dict[str, str | float]) -> None:
    assert json.loads(for_terminal(json.dumps(data, ensure_ascii=False))) == data


def test_rich_prints_strings_as_they_stand() -> None:
    table = Table(HOSTILE, title=HOSTILE, caption=HOSTILE)
    table.add_row(HOSTILE)
    console = PlainConsole(file=io.StringIO(), width=500, force_terminal=True, color_system=None)
    console.print(table)
    console.print(HOSTILE, soft_wrap=True)
    with Progress(PlainColumn("{task.description}"), PlainColumn("{task.fields[now]}"), console=console) as progress:
        progress.add_task(HOSTILE, now=HOSTILE)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    shown = re.sub(
        r"\x1b\[\??[0-9;]*[a-zA-Z]", "", shown
    )  # what rich itself says: clear the line, move the cursor, styles
    assert shown.count(for_terminal(HOSTILE)) >= 7, shown
    assert for_terminal(shown.replace("\r", "")) == shown.replace("\r", "")


# Markdown


class _Tags(html.parser.HTMLParser):
    """Collects what a page that let HTML through would take for tags."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)

    def handle_decl(self, decl: str) -> None:
        self.found.append(decl)


@given(st.text(alphabet=st.sampled_from("<>/!?ascript&#;lt`|*_[]():\\ ~x\n")) | st.text())
def test_markdown_holds_no_html_links_or_code(text: str) -> None:
    shown = for_markdown(text)
    tags = _Tags()
    tags.feed(shown)
    assert tags.found == []
    bare = re.sub(r"\\[^\w\s]", "x", shown)  # a backslash takes a mark's meaning away
    assert not re.search(r"[`*|~\n]|\]\(|\]\[|\]:", bare)
    assert re.search(r"(?<!\\)(\\\\)*\|", markdown_row([text]).removeprefix("|").removesuffix("|")) is None


@pytest.mark.parametrize(
    "text", ["p_max=0.5", "0.857 [0.801, 0.912] (2 of 3 seeds)", "< 0.001", "a & b", "https://x.org/a_b?c=1"]
)
def test_markdown_leaves_alone_what_is_no_mark(text: str) -> None:
    assert for_markdown(text) == text


@given(st.text(alphabet="`~\nab "))
def test_a_fenced_block_ends_where_it_should(text: str) -> None:
    first, *lines, last = fenced(text).split("\n")
    fence = first.removesuffix("text")
    assert set(fence) == {"`"}
    assert last == fence
    assert not any(line.lstrip(" ").startswith(fence) for line in lines)
    assert "\n".join(lines) == text


# Sheets


def test_safe_rows_of_a_sheet_hold_no_formula() -> None:
    rows = [{"=a": "=1+1", "b": -1.5}]
    assert Delimited("csv", ("=a", "b"), is_safe=True).encoded(rows, 0) == b"'=a,b\n'=1+1,-1.5\n"
    assert Delimited("csv", ("=a", "b")).encoded(rows, 0) == b"=a,b\n=1+1,-1.5\n"


@pytest.mark.parametrize("cell", ["=cmd()", "+1+1", "-1+1", "@SUM(1)", "\t=1", " =1", "\r=1", "\uff1d1", "-", "=-1.5"])
def test_what_a_spreadsheet_computes_gets_an_apostrophe(cell: str) -> None:
    assert for_sheet(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["", "-1.5", "+3e-7", "a=b", "'=1", "good", "1", "2024-01-01"])
def test_what_a_spreadsheet_reads_as_it_is_stays(cell: str) -> None:
    assert for_sheet(cell) == cell

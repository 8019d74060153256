r"""Text that users wrote, made harmless where it is shown: one function per medium.

Labels, columns, file names, tasks and errors come from data, and data comes from strangers.

| medium | function | what it stops |
|---|---|---|
| terminal, logs | `for_terminal` | control and escape sequences, marks that turn the order of letters round |
| one line of it | `in_line` | the same, and line breaks that would begin a line of their own |
| Markdown | `for_markdown`, `markdown_row`, `fenced` | HTML, links, code and table cells that end early |
| sheets (.csv, .tsv) | `for_sheet` | cells that a spreadsheet takes for formulas |
| HTML | jinja2's autoescape and `markupsafe` | tags and attributes; `report.words.clean` shows control characters |

`terminal.PlainConsole` takes no text for rich's markup. Pictures draw with matplotlib's mathtext switched off.
"""

import re
from collections.abc import Iterable

# Control characters (Cc) without tab and line feed, halves of surrogate pairs, U+2028 and U+2029, and the characters with
# Unicode's property Bidi_Control. Joiners (U+200C, U+200D), which Persian and emoji are written with, stay.
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNSEEN = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{_BIDI}]")
_BREAKS = re.compile(r"[\t\n]")

# What begins something in Markdown (GitHub's, https://github.github.com/gfm): code, emphasis, strike-through, a table cell;
# the "](", "][" and "]:" of a link; "<" before a tag's name and "&" before an entity's. All else is as it reads.
_MARKS = re.compile(r"[\\`*~|]|(?<!\w)_|_(?!\w)|\](?=[(\[:])")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_ENTITY = re.compile(r"&(?=[A-Za-z#])")
_FENCE = re.compile(r"`+")

# First characters that Excel, LibreOffice or Google Sheets read a formula from, full-width ones included; they skip blanks
# (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def _written_out(found: re.Match[str]) -> str:
    """A character as its escape, which JSON and Python read alike."""
    return f"\\u{ord(found[0]):04x}"


def for_terminal(text: str) -> str:
    r"""Return text whose unseen characters a reader sees; blanks, tabs and line breaks stay.

    JSON stays the same data.

    Example:
        >>> print(for_terminal("\x1b[31mred"))
        \u001b[31mred
    """
    return _UNSEEN.sub(_written_out, text)


def in_line(text: str) -> str:
    r"""Return text for one line of a terminal or log: as `for_terminal`, tabs and line breaks written out, too.

    Example:
        >>> print(in_line("a\nerror: b"))
        a\u000aerror: b
    """
    return _BREAKS.sub(_written_out, for_terminal(text))


def for_markdown(text: str) -> str:
    r"""Return text that reads in Markdown as it stands here, in one line; runs of blanks are one blank.

    Example:
        >>> print(for_markdown("<b>|[x](y) < 0.05"))
        &lt;b>\|[x\](y) < 0.05
    """
    plain = for_terminal(" ".join(text.split()))
    return _TAG.sub("&lt;", _ENTITY.sub("&amp;", _MARKS.sub(r"\\\g<0>", plain)))


def markdown_row(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(map(for_markdown, cells))} |"


def fenced(text: str, language: str = "text") -> str:
    r"""Return a fenced block of Markdown whose fence is longer than every run of backticks inside."""
    fence = "`" * max(3, 1 + max(map(len, _FENCE.findall(text)), default=0))
    return f"{fence}{language}\n{for_terminal(text)}\n{fence}"


def for_sheet(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: such cells get an apostrophe in front; numbers stay.

    Example:
        >>> for_sheet("=1+1"), for_sheet("-1.5"), for_sheet("good")
        ("'=1+1", '-1.5', 'good')
    """
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell

"""Reading pages back in tests: a strict tree of elements, and the text and attributes in it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "img", "input", "link", "hr", "path", "circle", "rect"}
"""Elements without an end; those of SVG are written as <path/>."""


@dataclass
class Element:
    """An element with its attributes, and what is in it, elements and texts, in order."""

    name: str
    attributes: dict[str, str]
    content: "list[Element | str]" = field(default_factory=list)

    def all(self, name: str = "", **attributes: str) -> "Iterator[Element]":
        """Yield elements below this one; `class_` is one of the classes."""
        for part in self.content:
            if isinstance(part, Element):
                if (not name or part.name == name) and part._has(attributes):
                    yield part
                yield from part.all(name, **attributes)

    def one(self, name: str = "", **attributes: str) -> "Element":
        """Return the only such element."""
        found = list(self.all(name, **attributes))
        assert len(found) == 1, (name, attributes, len(found))
        return found[0]

    @property
    def text(self) -> str:
        """All text below, blanks run together."""
        return " ".join("".join(self._texts()).split())

    def _texts(self) -> Iterator[str]:
        for part in self.content:
            if isinstance(part, str):
                yield part
            else:
                yield from part._texts()

    def _has(self, attributes: dict[str, str]) -> bool:
        return all(
            value in self.attributes.get("class", "").split()
            if name == "class_"
            else self.attributes.get(name) == value
            for name, value in attributes.items()
        )


class _Reader(HTMLParser):
    """Builds the tree; an end tag that does not close the last open element is an error."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].content.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID, f"<{tag}/> is no end in HTML"
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> inside <{self.open[-1].name}>, line {self.getpos()[0]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].content.append(data)


def read_page(text: str) -> Element:
    """Return the tree of a page; every element has to be closed where it was opened."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert [element.name for element in reader.open] == [""], "elements are left open"
    return reader.root


def figures(element: Element) -> list[float]:
    """Values of the <data> elements below an element."""
    return [float(found.attributes["value"]) for found in element.all("data")]

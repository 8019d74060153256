"""Small SVG drawings that take their colours from the page: an axis, lines, dots, marks.

All lengths are in units of the view box, which the page shows at about one pixel each, on a telephone, too: text in a
drawing is as large as it says. Colours are classes of the page's style sheet, so that light, dark and print differ there
only; variants differ by dash and shape as well as by colour.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.ticker import LogLocator, MaxNLocator

WIDTH, HEIGHT = 280, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 10, 38
_COLOURS, _DASHES, _SHAPES = 8, 4, 5
_EDGE = 1e-3  # how far rounding may put a tick beyond an end

Point = tuple[float, float]

_CORNERS: dict[int, tuple[Point, ...]] = {  # of marks that are not round, in units of their size
    1: ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    2: ((0, -1.2), (1.2, 1), (-1.2, 1)),
    3: ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
    4: tuple(
        (a * x, a * y)
        for a in (1, -1)
        for x, y in ((-1, -0.4), (-0.4, -0.4), (-0.4, -1), (0.4, -1), (0.4, -0.4), (1, -0.4))
    ),
}


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight or logarithmic map of values to places.

    Attributes:
        low: Value at `start`.
        high: Value at `end`; above `low`.
        start: Place of `low`.
        end: Place of `high`.
        is_log: Whether equal ratios are equally far; then `low` is above 0.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value; beyond the ends it lies outside."""
        low, high = (math.log(self.low), math.log(self.high)) if self.is_log else (self.low, self.high)
        place = math.log(value) if self.is_log else value
        return self.start + (place - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Return round values between the ends; on a logarithmic scale of less than two decades, evenly spaced ones."""
        wide = self.is_log and self.high / self.low >= 100
        locator = LogLocator(numticks=most) if wide else MaxNLocator(most, steps=[1, 2, 2.5, 5, 10])
        found = [float(tick) for tick in locator.tick_values(self.low, self.high)]
        first, last = sorted((self.start, self.end))
        usable = [tick for tick in found if tick > 0 or not self.is_log]
        return [tick for tick in usable if first - _EDGE <= self(tick) <= last + _EDGE]


def scale_for(
    values: Iterable[float], start: float, end: float, *, is_log: bool = False, margin: float = 0.04
) -> Scale:
    """Return a scale on which all values lie, with a margin; a single value lies in the middle.

    Args:
        values: What to show; not finite ones are left out, and on a logarithmic scale those not above 0.
        start: Place of the lower end.
        end: Place of the upper end.
        is_log: Whether the scale is logarithmic.
        margin: Room at both ends, as a share of the span.
    """
    kept = [v for v in values if math.isfinite(v) and (v > 0 or not is_log)] or [1.0]
    low, high = min(kept), max(kept)
    if is_log:
        factor = (high / low) ** margin if high > low else 2.0
        return Scale(low / factor, high * factor, start, end, True)
    room = (high - low) * margin if high > low else abs(low) * 0.1 or 1.0
    return Scale(low - room, high + room, start, end)


def short_number(value: float) -> str:
    """A tick's text: 0.25, 1500, 2e+06."""
    shown = f"{value:.6g}" if 1e-4 <= abs(value) < 1e6 or value == 0 else f"{value:.2g}"
    return "0" if value == 0 else shown.replace("-", "\u2212")


def look(index: int) -> str:
    """Classes for the variant at `index`: a colour and a dash, unique for the first 32."""
    return f"c{index % _COLOURS} d{(index + index // _COLOURS) % _DASHES}"


class Panel:
    """A drawing with a horizontal and a vertical axis.

    Args:
        label: What the drawing shows, for those who do not see it.
        x: Scale of the horizontal axis.
        y: Scale of the vertical axis.
        x_title: Name and unit.
        y_title: Name and unit.
        size: Width and height.
    """

    def __init__(
        self, label: str, x: Scale, y: Scale, x_title: str, y_title: str, size: tuple[int, int] = (WIDTH, HEIGHT)
    ) -> None:
        self.label, self.x, self.y, self.size = label, x, y, size
        self._parts: list[Markup] = []
        self._draw_axes(x_title, y_title)

    def line(self, points: Sequence[Point], classes: str) -> None:
        """Draw a line through points; one that is not finite interrupts it."""
        commands, is_down = [], False
        for x, y in points:
            if not (math.isfinite(x) and math.isfinite(y)):
                is_down = False
                continue
            commands.append(f"{'L' if is_down else 'M'}{_at(self.x(x))} {_at(self.y(y))}")
            is_down = True
        self._parts.append(Markup('<path class="line {}" d="{}"/>').format(classes, "".join(commands)))

    def dots(self, points: Iterable[Point], classes: str) -> None:
        """Draw small round dots, all as one path: on whole units, each place once, a step from dot to dot."""
        path, last = "", (0, 0)
        for place in sorted({(round(self.x(x)), round(self.y(y))) for x, y in points}):
            path += f"m{place[0] - last[0]} {place[1] - last[1]}h0"
            last = place
        self._parts.append(Markup('<path class="dots {}" d="{}"/>').format(classes, path))

    def mark(self, point: Point, index: int) -> None:
        """Draw the mark of the variant at `index`."""
        path = _shape(index, self.x(point[0]), self.y(point[1]), 5.0)
        self._parts.append(Markup('<path class="mark {}" d="{}"/>').format(look(index), path))

    def box(self, low: Point, high: Point, classes: str) -> None:
        """Draw a rectangle between two corners."""
        left, right = sorted((self.x(low[0]), self.x(high[0])))
        top, bottom = sorted((self.y(low[1]), self.y(high[1])))
        self._parts.append(
            Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                classes, _at(left), _at(top), _at(right - left), _at(bottom - top)
            )
        )

    def markup(self) -> Markup:
        """Return the drawing."""
        return svg(self.label, self.size, self._parts)

    def _draw_axes(self, x_title: str, y_title: str) -> None:
        """Grid lines, their numbers, and the titles."""
        left, right, bottom, top = (_at(end) for end in (self.x.start, self.x.end, self.y.start, self.y.end))
        across = [(_at(self.x(tick)), short_number(tick)) for tick in self.x.ticks()]
        up = [(self.y(tick), short_number(tick)) for tick in self.y.ticks()]
        rules = "".join(f"M{place} {bottom}V{top}" for place, _ in across)
        rules += "".join(f"M{left} {_at(place)}H{right}" for place, _ in up)
        self._parts.append(Markup('<path class="rule" d="{}"/>').format(rules))
        below = _at(self.y.start + 14)
        self._parts.append(_numbers("middle", [(place, below, shown) for place, shown in across]))
        before = _at(self.x.start - 5)
        self._parts.append(_numbers("end", [(before, _at(place + 4), shown) for place, shown in up]))
        middle = (self.x.start + self.x.end) / 2, (self.y.start + self.y.end) / 2
        self._parts.append(text(middle[0], self.size[1] - 6, x_title, "middle", "title"))
        turned = Markup('<text class="title" text-anchor="middle" transform="translate(11 {})rotate(-90)">{}</text>')
        self._parts.append(turned.format(_at(middle[1]), y_title))


def frame(size: tuple[int, int] = (WIDTH, HEIGHT)) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return start and end of the horizontal and of the vertical axis in a drawing of a size."""
    return (_LEFT, size[0] - _RIGHT), (size[1] - _BOTTOM, _TOP)


def svg(label: str, size: tuple[int, int], parts: Iterable[Markup]) -> Markup:
    """Return a drawing with its name for those who do not see it."""
    opening = Markup('<svg role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">')
    return opening.format(label, *size, *size) + Markup("").join(parts) + Markup("</svg>")


def text(x: float | str, y: float | str, content: str, anchor: str = "start", classes: str = "") -> Markup:
    """Return a text; `anchor` is "start", "middle" or "end"."""
    place = (value if isinstance(value, str) else _at(value) for value in (x, y))
    attribute = Markup(' class="{}"').format(classes) if classes else ""
    return Markup('<text{} x="{}" y="{}" text-anchor="{}">{}</text>').format(attribute, *place, anchor, content)


def key(index: int) -> Markup:
    """Return the line and mark of the variant at `index`, for a legend; its name stands beside it."""
    mark = Markup('<path class="mark {}" d="{}"/>').format(look(index), _shape(index, 14, 7, 4.0))
    line = Markup('<path class="line {}" d="M0 7H28"/>').format(look(index))
    return Markup('<svg class="key" aria-hidden="true" viewBox="0 0 28 14" width="28" height="14">{}{}</svg>').format(
        line, mark
    )


def _numbers(anchor: str, found: Iterable[tuple[str, str, str]]) -> Markup:
    """Texts at places, all with one anchor."""
    texts = (Markup('<text x="{}" y="{}">{}</text>').format(*one) for one in found)
    return Markup('<g text-anchor="{}">{}</g>').format(anchor, Markup("").join(texts))


def _at(value: float) -> str:
    """A place with one decimal, without needless digits."""
    return f"{value:.1f}".removesuffix(".0")


def _shape(index: int, x: float, y: float, r: float) -> str:
    """Path of a circle, square, triangle, diamond or cross about a point."""
    shape = (index + index // _COLOURS) % _SHAPES
    if shape == 0:
        return f"M{_at(x - r)} {_at(y)}a{r} {r} 0 1 0 {2 * r:g} 0a{r} {r} 0 1 0 {-2 * r:g} 0z"
    return "M" + "L".join(f"{_at(x + r * dx)} {_at(y + r * dy)}" for dx, dy in _CORNERS[shape]) + "z"

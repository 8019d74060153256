"""A figure of the paper, drawn again: the primary metric at every value of the setting that a study varies."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from predgen.findings.base import Entry, Findings
from predgen.paper.published import study
from predgen.report.drawing import WIDTH, Scale, scale_for, short_number, svg, text
from predgen.report.words import listed

_ROW, _TOP, _AXIS, _EDGE = 24, 6, 38, 12
_LETTER = 7.5  # what a letter of the page's 12 px text takes at most
_PLOT = 180  # least width of the part beside the names
_METHOD = "method"  # what tables of the paper vary: the page's headline table shows it


@dataclass(frozen=True, slots=True)
class StudyFigure:
    """The figure of one task.

    Attributes:
        task: Measured task.
        metric: Its primary metric.
        direction: "higher is better" or "lower is better".
        drawing: A line per value of the setting, with its interval; dashed: the constant baseline.
    """

    task: str
    metric: str
    direction: str
    drawing: Markup


def study_figures(found: Findings) -> list[StudyFigure]:
    """Draw the setting that a study of the paper varies, task by task; nothing for its tables, or without a study."""
    if found.study is None or (setting := study(found.study).setting) == _METHOD:
        return []
    names = _names(found, setting)
    return [
        _figure(task, setting, lines, found.entry(task, "constant"))
        for task in found.tasks
        if (lines := [(name, e) for variant, name in names.items() if (e := found.entry(task, variant))])
    ]


def _names(found: Findings, setting: str) -> dict[str, str]:
    """Variant -> the value of its setting, or its name where others have the same value; in the order of the plan."""
    values = {v.name: str(v.settings[setting]) for v in found.variants if v.baseline is None and setting in v.settings}
    shared = Counter(values.values())
    return {name: value if shared[value] == 1 else name for name, value in values.items()}


def _figure(task: str, setting: str, lines: Sequence[tuple[str, Entry]], constant: Entry | None) -> StudyFigure:
    """The drawing of one task."""
    sample = lines[0][1]
    shown = [e.primary for _, e in lines]
    floor = constant.primary.value if constant is not None else None
    ends = [v for e in shown for v in (e.value, e.low, e.high) if v is not None]
    names = max(len(name) for name, _ in lines) * _LETTER
    width = max(WIDTH, round(names) + _PLOT)
    x = scale_for([*ends, *([] if floor is None else [floor])], names + 8 + _EDGE, width - _EDGE)
    bottom = _TOP + _ROW * len(lines)
    parts = _axis(x, bottom, sample.metric)
    if floor is not None:
        parts.append(Markup('<path class="line ideal" d="M{:.1f} {}V{}"/>').format(x(floor), _TOP, bottom))
    for i, (name, entry) in enumerate(lines):
        parts += _line(x, _TOP + _ROW * (i + 0.5), name, entry, names)
    told = [f"{name} {_told(entry.primary.value)}" for name, entry in lines]
    label = f"{sample.metric} on {task} by {setting}: {listed(told)}"
    label += "" if floor is None else f"; constant baseline {_told(floor)}"
    direction = "higher is better" if sample.greater_is_better else "lower is better"
    return StudyFigure(task, sample.metric, direction, svg(label, (width, bottom + _AXIS), parts))


def _axis(x: Scale, bottom: float, title: str) -> list[Markup]:
    """Rules with their numbers below, and what they are."""
    ticks = x.ticks(4)
    rules = "".join(f"M{x(tick):.1f} {_TOP}V{bottom}" for tick in ticks)
    numbers = [text(x(tick), bottom + 14, short_number(tick), "middle") for tick in ticks]
    middle = (x.start + x.end) / 2
    return [
        Markup('<path class="rule" d="{}"/>').format(rules),
        *numbers,
        text(middle, bottom + _AXIS - 6, title, "middle", "title"),
    ]


def _line(x: Scale, y: float, name: str, entry: Entry, width: float) -> list[Markup]:
    """A value of the setting: its name, its interval and its figure."""
    parts = [text(width, y + 4, name, "end", "title")]
    figure = entry.primary
    if figure.low is not None and figure.high is not None:
        parts.append(Markup('<path class="span" d="M{:.1f} {}H{:.1f}"/>').format(x(figure.low), y, x(figure.high)))
    if figure.value is not None:
        parts.append(Markup('<circle class="point" cx="{:.1f}" cy="{}" r="5"/>').format(x(figure.value), y))
    return parts


def _told(value: float | None) -> str:
    """A figure for those who do not see the drawing."""
    return "not defined" if value is None else f"{value:.3g}"

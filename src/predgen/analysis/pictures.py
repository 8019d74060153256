"""The analysis as pictures, each written as PNG and SVG (drawn without a display)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from predgen.analysis.comparison import MeanInformation, ordered_methods
from predgen.analysis.heatmaps import AnswerMap, HeatMap
from predgen.analysis.runs import RANDOM, SHUFFLED, TRAINED

COLOURS = ("tab:orange", "tab:green", "tab:blue", "tab:purple", "tab:brown", "tab:pink", "tab:olive", "tab:cyan")
"""Of methods, in the order of `ordered_methods`."""
MARKS = {TRAINED: "o", RANDOM: "s", SHUFFLED: "x"}
LINES = {TRAINED: "-", RANDOM: "--", SHUFFLED: ":"}
STRIP = 22
"""Input tokens side by side; longer prompts go on in the next strip."""
ALL_TOKENS = 66
"""Prompts of more tokens are shown without those of the template."""


@contextmanager
def _canvas(path: Path, width: float, height: float) -> Iterator[Any]:
    """A figure that is written as `path`.png and `path`.svg."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"text.parse_math": False, "svg.hashsalt": "predgen"}):  # a $ in a text is a $
        canvas = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(canvas)
        yield canvas
        canvas.savefig(path.with_name(path.name + ".png"), dpi=130)
        canvas.savefig(path.with_name(path.name + ".svg"), metadata={"Date": None})


def draw_comparison(
    cells: Sequence[MeanInformation], entropies: Mapping[str, float], components: int, path: Path
) -> None:
    """Draw I(Y; Z) of every method and control, tasks side by side, a panel per estimator (Figure 2).

    Args:
        cells: All cells; those of `components` are drawn.
        entropies: Task -> H(Y) in nats, drawn as a limit (classes).
        components: k.
        path: Where to write, without ending.
    """
    chosen = [cell for cell in cells if cell.components == components]
    tasks = list(dict.fromkeys(cell.task for cell in chosen))
    estimators = list(dict.fromkeys(cell.estimator for cell in chosen))
    columns = min(2, len(estimators))
    rows = -(-len(estimators) // columns)
    with _canvas(path, max(5.6, columns * (1.1 + 1.5 * len(tasks))), 1.2 + 2.6 * rows) as canvas:
        panels = canvas.subplots(rows, columns, squeeze=False).flatten()
        for axis, estimator in zip(panels, estimators, strict=False):
            for cell in (cell for cell in chosen if cell.estimator == estimator):
                _point(axis, cell, tasks.index(cell.task), ordered_methods(c.method for c in chosen))
            for x, task in enumerate(tasks):
                if task in entropies:
                    axis.plot([x - 0.42, x + 0.42], [entropies[task]] * 2, color="0.4", linewidth=0.8)
                    axis.annotate("H(Y)", (x + 0.42, entropies[task]), fontsize=7, ha="right", va="bottom")
            _axes(axis, estimator)
            axis.set_xticks(range(len(tasks)), tasks)
            axis.set_xlim(-0.55, len(tasks) - 0.45)
        for axis in panels[len(estimators) :]:
            axis.set_visible(False)
        _legend(canvas, chosen)
        canvas.suptitle(f"I(Y; Z) of answer and representation, {components} principal components", fontsize=10)


def _colours(methods: Sequence[str]) -> dict[str, str]:
    """A colour for each method."""
    return {method: COLOURS[i % len(COLOURS)] for i, method in enumerate(methods)}


def _point(axis: Any, cell: MeanInformation, x: int, methods: Sequence[str]) -> None:  # noqa: ANN401
    """One estimate with its interval; the methods stand side by side."""
    aside = methods.index(cell.method) - (len(methods) - 1) / 2
    place = x + 0.78 / len(methods) * aside + 0.07 * (list(MARKS).index(cell.what) - 1)
    style = {
        "color": _colours(methods)[cell.method],
        "markersize": 5,
        "markerfacecolor": "none" if cell.what != TRAINED else None,
    }
    if cell.error is None:
        axis.plot([place], [cell.nats], MARKS[cell.what], **style)
    else:
        axis.errorbar([place], [cell.nats], yerr=cell.error, fmt=MARKS[cell.what], elinewidth=1.2, **style)


def _axes(axis: Any, title: str) -> None:  # noqa: ANN401
    """What all panels share."""
    axis.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    axis.set_title(title, fontsize=10)
    axis.set_ylabel("I(Y; Z), nats", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _legend(canvas: Any, cells: Sequence[MeanInformation], *, lines: bool = False) -> None:  # noqa: ANN401
    """Methods by colour, model and controls by mark or line."""
    from matplotlib.lines import Line2D

    colours, there = _colours(ordered_methods(cell.method for cell in cells)), {cell.method for cell in cells}
    shown = {method: colour for method, colour in colours.items() if method in there}
    handles = [Line2D([], [], color=c, marker="o", linestyle="none", label=method) for method, c in shown.items()]
    for what in MARKS:
        line, mark = (LINES[what], "") if lines else ("none", MARKS[what])
        face = "none" if what != TRAINED else "0.3"
        handles.append(Line2D([], [], color="0.3", marker=mark, markerfacecolor=face, label=what))
        handles[-1].set(linestyle=line)
    canvas.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def draw_sweep(cells: Sequence[MeanInformation], path: Path) -> None:
    """Draw I(Y; Z) over the number of components, a row of panels per task, a column per estimator (Figure 7)."""
    from matplotlib.ticker import NullLocator

    tasks = list(dict.fromkeys(cell.task for cell in cells))
    estimators = list(dict.fromkeys(cell.estimator for cell in cells))
    ticks = sorted({cell.components for cell in cells})
    colours = _colours(ordered_methods(cell.method for cell in cells))
    with _canvas(path, max(5.4, 3.2 * len(estimators)), 1.0 + 2.5 * len(tasks)) as canvas:
        panels = canvas.subplots(len(tasks), len(estimators), squeeze=False)
        for row, task in zip(panels, tasks, strict=True):
            for axis, estimator in zip(row, estimators, strict=True):
                for method, colour in colours.items():
                    for what in MARKS:
                        _line(axis, [c for c in cells if _of(c) == (task, estimator, method, what)], colour)
                _axes(axis, f"{task}, {estimator}")
                axis.set_xscale("log", base=2)
                axis.set_xticks(ticks, [str(k) for k in ticks])
                axis.xaxis.set_minor_locator(NullLocator())
                axis.set_xlabel("principal components k", fontsize=9)
        _legend(canvas, cells, lines=True)


def _of(cell: MeanInformation) -> tuple[str, str, str, str]:
    """The line a cell belongs to."""
    return cell.task, cell.estimator, cell.method, cell.what


def _line(axis: Any, cells: Sequence[MeanInformation], colour: str) -> None:  # noqa: ANN401
    """One method or control over k, with its interval as a band."""
    if not cells:
        return
    ordered = sorted(cells, key=lambda cell: cell.components)
    ks, what = [cell.components for cell in ordered], ordered[0].what
    axis.plot(ks, [c.nats for c in ordered], LINES[what], color=colour, marker="." if what == TRAINED else None)
    ends = [cell.ends for cell in ordered]
    if what == TRAINED and None not in ends:
        axis.fill_between(
            ks, *zip(*(e for e in ends if e is not None), strict=True), color=colour, alpha=0.12, linewidth=0
        )


def draw_heat_map(found: HeatMap, title: str, path: Path) -> None:
    """Draw both kinds of a row: input tokens from left to right, going on in the next strip, answer tokens below each other.

    Args:
        found: The row.
        title: Task and run.
        path: Where to write, without ending.
    """
    shown = np.arange(len(found.tokens))
    if len(shown) > ALL_TOKENS and any(found.is_field):
        shown = np.flatnonzero(found.is_field)
    strips = np.array_split(shown, -(-len(shown) // STRIP))
    kinds = _kinds(found, shown)
    n_answer = sum(len(answer.tokens) for answer in found.answers)
    height = len(kinds) * (0.6 + len(strips) * (0.85 + 0.27 * n_answer)) + 0.9
    with _canvas(path, 2.2 + 0.5 * max(10, *map(len, strips)), height) as canvas:
        parts = canvas.subfigures(len(kinds), 1, squeeze=False)[:, 0]
        for part, kind in zip(parts, kinds, strict=True):
            _draw_kind(part, kind, found, strips)
        notes = [title, f"row {found.row}"]
        if found.gold is not None:
            notes.append(f"answer in the data: {found.gold}")
        if len(shown) < len(found.tokens):
            notes.append(f"{len(found.tokens) - len(shown)} template tokens not shown")
        if found.obstacle is not None:
            notes.append(f"no occlusion: {found.obstacle}")
        canvas.suptitle(_drawable(", ".join(notes)), fontsize=10, wrap=True)


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of a heatmap: what it is called, its values, how they are coloured, and below which value chance rules."""

    name: str
    values: Float[np.ndarray, "P C"]
    colours: str
    low: float
    high: float
    chance: float

    def text_colour(self, value: float) -> str:
        """Grey for what chance gives, else what can be read on a value's colour."""
        if value < self.chance:
            return "0.6"
        share = float((value - self.low) / (self.high - self.low))
        is_dark = (
            abs(share - 0.5) > 0.33 if self.low < 0 else share > 0.6
        )  # colours that part at 0 are dark on both sides
        return "white" if is_dark else "black"


def _kinds(found: HeatMap, shown: Int[np.ndarray, " S"]) -> list[_Kind]:
    """The kinds that there are, coloured by what is shown."""
    hidden = np.hstack([answer.hidden for answer in found.answers])
    name = f"hidden: KSG over the {found.hidden_size} dimensions of two tokens' states, nats (grey: as by chance)"
    most = max(float(hidden[shown].max()), 2 * found.noise)
    kinds = [_Kind(name, hidden, "Blues", 0.0, most, found.noise)]
    drops = [answer.occlusion for answer in found.answers if answer.occlusion is not None]
    if drops:
        values = np.hstack(drops)
        most = max(float(np.abs(values[shown]).max()), np.finfo(float).tiny)
        name = "occlusion: drop of log p(answer token | prefix) with the input token hidden, nats"
        kinds.append(_Kind(name, values, "RdBu_r", -most, most, -most))
    return kinds


def _draw_kind(part: Any, kind: _Kind, found: HeatMap, strips: Sequence[Any]) -> None:  # noqa: ANN401
    """All strips of one kind, with one colour bar."""
    part.suptitle(kind.name, fontsize=9)
    axes = part.subplots(len(strips), 1, squeeze=False)[:, 0]
    labels = [_drawable(label) for answer in found.answers for label in _answer_labels(answer)]
    for axis, strip in zip(axes, strips, strict=True):
        values = kind.values[strip].T
        image = axis.imshow(values, cmap=kind.colours, vmin=kind.low, vmax=kind.high, aspect="auto")
        axis.set_xlim(-0.5, max(map(len, strips)) - 0.5)  # a shorter strip's cells are as wide as the others'
        words = [_drawable(found.tokens[i]) for i in strip]
        axis.set_xticks(range(len(strip)), words, rotation=40, ha="right", fontsize=8)
        axis.set_yticks(range(len(labels)), labels, fontsize=8)
        axis.tick_params(length=2)
        axis.spines[:].set_visible(False)
        for (y, x), value in np.ndenumerate(values):
            text, colour = f"{round(value, 2) + 0.0:.2f}", kind.text_colour(value)
            axis.text(x, y, text, ha="center", va="center", fontsize=6, color=colour)
        edges = np.cumsum([len(answer.tokens) for answer in found.answers[:-1]]) - 0.5
        axis.hlines(edges, -0.5, len(strip) - 0.5, color="black", linewidth=1.2)
    part.colorbar(image, ax=list(axes), label="nats", shrink=0.8, pad=0.01).ax.tick_params(labelsize=7)


def _answer_labels(answer: AnswerMap) -> list[str]:
    """Labels of an answer's tokens; the written answer's are marked."""
    return [f"{'* ' if answer.is_written else ''}{token}" for token in answer.tokens]


def _drawable(text: str) -> str:
    """Replace characters that the font has no glyph for."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    return "".join(c if font.get_char_index(ord(c)) and c.isprintable() else "\N{WHITE SQUARE}" for c in text)

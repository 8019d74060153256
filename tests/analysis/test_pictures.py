"""Pictures are written in both forms, with estimator and unit on them, whatever stands in the texts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis_cases import discrete, measured_run
from predgen.analysis.comparison import MeanInformation, cells_of, measure_information
from predgen.analysis.heatmaps import AnswerMap, HeatMap
from predgen.analysis.pictures import draw_comparison, draw_heat_map, draw_sweep
from predgen.analysis.runs import MiSettings
from predgen.analysis.store import Store

PNG = b"\x89PNG\r\n\x1a\n"


def texts_of(path: Path) -> str:
    """Texts of a picture that was written in both forms: the SVG names each beside its outline."""
    assert path.with_name(path.name + ".png").read_bytes().startswith(PNG)
    lines = path.with_name(path.name + ".svg").read_text(encoding="utf-8").splitlines()
    return " ".join(line.strip().removeprefix("<!-- ").removesuffix(" -->") for line in lines if "<!-- " in line)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[MeanInformation]:
    runs = [
        measured_run(f"{task} {method}", method, rho, n=60, task=task)
        for task, rho in (("words", 0.5), ("more_words", 0.9))
        for method in ("predictor", "generator", "predgen")
    ]
    runs = [discrete(run) if run.task == "words" else run for run in runs]
    settings = MiSettings(("ksg",), components=2, sweep=(1, 2, 4))
    return cells_of(runs, settings, measure_information(runs, settings, Store(tmp_path_factory.mktemp("out"))))


@pytest.mark.parametrize("extra", [0, 2])
def test_comparison_names_tasks_estimators_and_unit(cells: list[MeanInformation], extra: int, tmp_path: Path) -> None:
    more = [replace(c, estimator=f"other{i}", error=None) for i in range(extra) for c in cells]
    draw_comparison([*cells, *more], {"words": 0.69}, 2, tmp_path / "figure2")
    texts = texts_of(tmp_path / "figure2")
    for text in (
        "ksg",
        "words",
        "more_words",
        "H(Y)",
        "I(Y; Z), nats",
        "2 principal components",
        "predgen",
        "shuffled",
    ):
        assert text in texts
    assert texts.count("I(Y; Z), nats") == 1 + extra


def test_methods_from_outside_are_measured_and_drawn_too(tmp_path: Path) -> None:
    runs = [measured_run(f"run {method}", method, 0.5, n=60) for method in ("predgen", "of_my_own")]
    settings = MiSettings(("ksg",), components=2, sweep=(1,))
    found = cells_of(runs, settings, measure_information(runs, settings, Store(tmp_path / "out")))
    assert {cell.method for cell in found} == {"predgen", "of_my_own"}
    draw_comparison(found, {}, 2, tmp_path / "figure2")
    draw_sweep(found, tmp_path / "figure7")
    assert all("of_my_own" in texts_of(tmp_path / name) for name in ("figure2", "figure7"))


def test_sweep_names_every_k(cells: list[MeanInformation], tmp_path: Path) -> None:
    draw_sweep(cells, tmp_path / "figure7")
    texts = texts_of(tmp_path / "figure7")
    for text in ("words, ksg", "more_words, ksg", "principal components k", "I(Y; Z), nats", "random weights"):
        assert text in texts


def test_the_same_figures_give_the_same_file(cells: list[MeanInformation], tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw_sweep(cells, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def heat(tokens: list[str], *, with_drops: bool = True, n_answers: int = 2) -> HeatMap:
    """A row with made-up values."""
    rng = np.random.default_rng(0)
    answers = [
        AnswerMap(
            f"answer{i}",
            i == 0,
            [f"a{i}", "##b"],
            rng.uniform(0, 1, (len(tokens), 2)),
            rng.normal(size=(len(tokens), 2)) if with_drops else None,
            rng.uniform(0, 0.1, (len(tokens), 2)),
        )
        for i in range(n_answers)
    ]
    fields = [i % 3 == 0 for i in range(len(tokens))]
    return HeatMap(7, "gold_1", tokens, fields, answers, 32, None)


def test_heat_map_names_kinds_units_and_answers(tmp_path: Path) -> None:
    draw_heat_map(heat(["fun", "##ny", "↵", "␣", "…"]), "sst2, predgen", tmp_path / "heat")
    texts = texts_of(tmp_path / "heat")
    for text in (
        "hidden: KSG over the 32 dimensions of two tokens' states, nats (grey: as by chance)",
        "occlusion: drop of log p(answer token | prefix) with the input token hidden, nats",
        "sst2, predgen, row 7, answer in the data: gold_1",
        "* a0",
        "a1",
        "##ny",
        "↵",
    ):
        assert text in texts
    assert "* a1" not in texts
    assert "not shown" not in texts


def test_any_text_can_be_drawn(tmp_path: Path) -> None:
    tokens = ["$x_1$", "$", "\\frac", "中文", "🙂", "\x07", "<svg>", "-->", "ﷺ"]
    draw_heat_map(heat([*tokens, "b"]), " ".join(tokens), tmp_path / "heat")
    assert "$x_1$" in texts_of(tmp_path / "heat")


def test_any_title_can_be_drawn(tmp_path: Path) -> None:
    title = "$"  # half a formula, alone; whole ones and commands are among the texts above
    draw_heat_map(heat(["a"], n_answers=1), title, tmp_path / "heat")
    assert title in texts_of(tmp_path / "heat")


@pytest.mark.parametrize("n", [22, 60])
def test_short_prompts_are_shown_whole(n: int, tmp_path: Path) -> None:
    draw_heat_map(heat([f"t{i}" for i in range(n)], n_answers=1), "task", tmp_path / "heat")
    texts = texts_of(tmp_path / "heat").split()
    assert all(texts.count(f"t{i}") == 2 for i in range(n))  # once for each kind


def test_long_prompts_are_shown_without_the_template(tmp_path: Path) -> None:
    draw_heat_map(heat([f"t{i}" for i in range(90)], n_answers=1), "task", tmp_path / "heat")
    texts = texts_of(tmp_path / "heat")
    assert "60 template tokens not shown" in texts
    assert "t0" in texts.split()
    assert "t3" in texts.split()
    assert "t1" not in texts.split()


def test_without_drops_there_is_one_kind(tmp_path: Path) -> None:
    draw_heat_map(heat(["a", "b"], with_drops=False), "task", tmp_path / "heat")
    assert "occlusion" not in texts_of(tmp_path / "heat")

"""Ratios, verdicts, the table and the picture say what was measured."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib import pyplot as plt

from benchmarks.__main__ import main, measure, parse, settings_of
from benchmarks.figures import Figures, Spread
from benchmarks.picture import cost_relative_to_goal, plot
from benchmarks.report import Result, table, write_json
from benchmarks.rows import ROWS, Row
from benchmarks.settings import SIZES, Setting
from benchmarks.timing import alternate

SIZE = SIZES["60m"]
COST = replace(ROWS[0], goal=1.15, direction="at most", goal_sizes=("60m",))
SPEED_UP = replace(ROWS[0], goal=10.0, direction="at least", goal_sizes=("60m",))


def figures(ours: float, peer: float) -> Figures:
    return Figures.of([ours], [peer], "s")


def test_spread_is_median_and_quartiles() -> None:
    assert Spread.of([10.0, 1.0, 3.0, 2.0, 4.0]) == Spread(2.0, 3.0, 4.0)
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)
    assert Spread(2.0, 4.0, 5.0).inverted() == Spread(0.2, 0.25, 0.5)


def test_cost_is_the_median_of_each_rounds_ratio() -> None:
    # Rounds 1/2, 4/1, 9/3: ratios 0.5, 4, 3. The ratio of the medians would be 4 / 2 = 2.
    made = Figures.of([1.0, 4.0, 9.0], [2.0, 1.0, 3.0], "s")
    assert made.cost == Spread(1.75, 3.0, 3.5)
    assert made.rounds == 3


@pytest.mark.parametrize(
    ("row", "ours", "peer", "verdict"),
    [
        (COST, 1.15, 1.0, "reached"),
        (COST, 1.16, 1.0, "missed"),
        (SPEED_UP, 1.0, 10.0, "reached"),
        (SPEED_UP, 1.0, 9.9, "missed"),
        (replace(COST, goal=None), 9.0, 1.0, "no goal"),
        (replace(COST, goal_sizes=("5m",)), 9.0, 1.0, "no goal"),
    ],
)
def test_verdict_follows_from_the_median(row: Row, ours: float, peer: float, verdict: str) -> None:
    made = figures(ours, peer)
    assert row.verdict(made, "60m") == verdict
    assert f"| {verdict} |" in table([Result(row, SIZE, made)])


def test_table_shows_a_missed_goal_as_missed() -> None:
    line = table([Result(SPEED_UP, SIZE, figures(0.5, 2.0))]).splitlines()[-1]
    assert "| >= 10x | 4.00x (4.00-4.00) | missed | 500.0 ms | 2.00 s | 1 | 1 batch |" in line


def test_hybrids_have_goals_of_their_own() -> None:
    made, hybrid = figures(1.5, 1.0), SIZES["hybrid"]
    assert Result(COST.at("hybrid"), hybrid, made).verdict == "reached"  # 1.6; elsewhere 1.15
    assert Result(COST.at("60m"), SIZE, made).verdict == "missed"
    without = replace(COST, hybrid_goal=None).at("hybrid")
    assert (Result(without, hybrid, made).verdict, without.goal_text()) == ("no goal", "-")


def test_table_shows_what_could_not_be_measured() -> None:
    line = table([Result(COST, SIZE, None, "ValueError: a|b\nmore")]).splitlines()[-1]
    assert "| ValueError: a\\|b | failed |" in line


def test_table_shows_rows_and_memory() -> None:
    made = Figures.of([70.0], [100.0], "MiB", ratio_above_loaded=0.5, rows=4500, few_rows=1000, ours_rows_per_s=12.4)
    line = table([Result(COST, SIZE, made)]).splitlines()[-1]
    assert (
        "0.70 (0.70-0.70); above what is loaded 0.50 | reached | 70 MiB, 12 rows/s | 100 MiB | 1 | 1,000 and 4,500"
        in line
    )


def test_goal_lies_at_one_and_left_is_good() -> None:
    assert cost_relative_to_goal(COST, Spread(1.15, 2.3, 4.6)).median == pytest.approx(2.0)
    assert cost_relative_to_goal(SPEED_UP, Spread(5.0, 10.0, 20.0)) == Spread(0.5, 1.0, 2.0)


def test_json_holds_everything_but_paths(tmp_path: Path, setting: Setting) -> None:
    write_json(tmp_path / "r.json", [Result(COST, SIZE, figures(1.0, 2.0)), Result(COST, SIZE, None, "e")], [setting])
    text = (tmp_path / "r.json").read_text(encoding="utf-8")
    data = json.loads(text)
    assert data["results"][0]["ratio"] == {"low": 0.5, "median": 0.5, "high": 0.5}
    assert data["results"][1]["verdict"] == "failed"
    assert setting.work not in text


def test_picture_has_no_text_over_text() -> None:
    results = [Result(row, SIZES[size], figures(1.0, 1.3)) for row in ROWS for size in ("5m", "60m") if row.goal]
    figure = plot([*results, Result(COST, SIZE, None, "failed rows are left out")])
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [label.get_window_extent() for label in (*axes.get_yticklabels(), *axes.texts)]
    plt.close(figure)
    assert len(axes.texts) == len(results)
    assert [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)] == []
    assert all(figure.bbox.containsx(x) for box in boxes for x in (box.x0, box.x1))


def test_calls_alternate() -> None:
    calls: list[str] = []
    made = alternate(lambda: calls.append("A"), lambda: calls.append("B"), repeats=3, budget_s=9.0, warm_ups=1)
    assert "".join(calls) == "AB" * 4
    assert made.rounds == 3


def test_time_ends_a_row_after_its_fewest_rounds() -> None:
    calls: list[str] = []
    made = alternate(lambda: calls.append("A"), lambda: calls.append("B"), repeats=50, budget_s=0.0, least_rounds=5)
    assert made.rounds == 5
    assert len(calls) == 2 * (5 + 1), "one warm-up, as it took longer than a tenth of the budget"


def test_rows_scale_within_bounds(setting: Setting) -> None:
    assert replace(setting, size="5m", scale=0.2).rows(10_000) == 2_000
    assert replace(setting, size="60m", scale=0.2).rows(10_000) == 200
    assert replace(setting, scale=0.0).rows(10_000) == 64
    assert replace(setting, scale=5.0).rows(10_000) == 10_000


def test_settings_travel_between_processes(setting: Setting) -> None:
    assert Setting.from_json(setting.to_json()) == setting


def test_every_row_has_a_key_of_its_own_and_some_are_reported_without_a_goal() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)
    without = {row.key for row in ROWS if row.goal is None}
    assert without == {"write-number", "ask-128", "choice-128", "step-published-cached", "tree-flex", "prefill-flash"}


def test_failed_row_does_not_end_the_suite(setting: Setting) -> None:
    result = measure(replace(ROWS[0], measure=replace(ROWS[0].measure, ours=lambda setting: 1 / 0)), setting)
    assert result.verdict == "failed"
    assert result.error == "ZeroDivisionError: division by zero"


def test_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--only", "clasify-2"])
    assert "classify-2" in capsys.readouterr().err


def test_suite_writes_json_table_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--sizes", "tiny", "--repeats", "1", "--batch-size", "2", "--prompt-tokens", "20", "--threads", "1"]
    assert main(["--out", str(tmp_path), "--only", "classify-2", "write-number", *small]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "results.md", "results.png"]
    assert (tmp_path / "results.md").read_text(encoding="utf-8") in capsys.readouterr().out


def test_sizes_share_all_options(tmp_path: Path) -> None:
    made = settings_of(parse(["--out", str(tmp_path), "--sizes", "5m", "60m", "--scale", "1"]))
    assert [(s.size, s.scale) for s in made] == [("5m", 1.0), ("60m", 1.0)]


def test_sizes_for_a_gpu_are_refused_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        parse(["--sizes", "tiny", "0.6b"])
    assert "--sizes 0.6b" in capsys.readouterr().err
    assert not {"tree-flex", "0.6b"} & {*parse([]).only, *parse([]).sizes}


def test_the_rows_of_the_gpu_run_on_a_cpu_at_a_tiny_size(tmp_path: Path) -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    keys = re.search(r"--only (classify-2 .*tree-flex prefill-flash)", makefile)
    assert keys is not None
    rows = [key for key in keys[1].split() if key not in ("memory", "prefill-flash")]  # a process each; another package
    short = ["--prompt-tokens", "20", "--batch-size", "2", "--repeats", "1", "--budget-s", "0", "--threads", "1"]
    assert main(["--out", str(tmp_path), "--sizes", "tiny", "--only", *rows, *short]) == 0
    told = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [result["row"] for result in told["results"]] == rows

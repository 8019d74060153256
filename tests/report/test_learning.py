"""Learning curves: thinned without moving, drawn by variant and seed."""

from dataclasses import replace

import pytest

from compare.factory import VARIANTS, records
from html_pages import read_page
from predgen.report.experiment import LoadedExperiment
from predgen.report.learning import learning_curves, selecting_metric, thinned, without_straight_middles
from report.conftest import Made


def test_few_points_stay_as_they_are() -> None:
    points = [(float(i), float(i * i)) for i in range(50)]
    assert thinned(points) == points


def test_many_points_become_means_of_neighbours() -> None:
    points = [(float(i), float(i % 2)) for i in range(404)]
    found = thinned(points, most=52)
    assert len(found) == 51
    # 8 to a group: the first holds the steps 0 to 7, half of them odd, the last one the steps 400 to 403.
    assert (found[0], found[-1]) == ((3.5, 0.5), (401.5, 0.5))
    assert [x for x, _ in found] == sorted(x for x, _ in found)
    assert thinned([]) == []


def test_straight_stretches_need_two_points() -> None:
    ramp = [(float(i), min(1.0, i / 30)) for i in range(61)]
    assert without_straight_middles(ramp) == [(0.0, 0.0), (30.0, 1.0), (60.0, 1.0)]
    bent = [(0.0, 0.0), (1.0, 2.0), (2.0, 0.0)]
    assert without_straight_middles(bent) == bent
    assert without_straight_middles([]) == []


def test_each_seed_is_a_line_and_methods_without_a_loss_have_none(sample: Made) -> None:
    curves = {one.task: one for one in learning_curves(sample.experiment)}
    assert set(curves) == {"gsm8k", "sick", "sst2"}
    sick = curves["sick"]
    assert [title for title, _ in sick.panels] == ["L_W", "L_D", "p", "validation mse"]
    lines = [len(list(read_page(str(image)).all("path", class_="line"))) for _, image in sick.panels]
    trained = [run for run in sample.experiment.done if run.task == "sick" and run.curves]
    with_director = [run for run in trained if "director_loss" in run.curves]
    assert lines == [len(trained), len(with_director), len(with_director), len(trained)]
    assert [name for _, name in sick.legend] == [
        n for n in sample.experiment.names if n in {r.variant for r in trained}
    ]


def test_more_variants_than_colours_are_drawn_apart(single: Made) -> None:
    run = next(r for r in single.experiment.done if r.curves and r.task == "sick")
    names = [f"predgen {i}" for i in range(10)]
    facts = [replace(single.experiment.found.variants[0], name=name) for name in names]
    experiment = LoadedExperiment(
        single.folder,
        {},
        tuple(replace(run, variant=n) for n in names),
        replace(single.experiment.found, variants=facts),
    )
    parts = learning_curves(experiment)
    assert [(one.part, len(one.legend)) for one in parts] == [("part 1 of 2", 8), ("part 2 of 2", 2)]


@pytest.mark.parametrize(("method", "sampling"), [("predictor", "token"), ("predgen", "off"), ("predgen", "marginal")])
def test_p_is_not_drawn_where_it_means_nothing(single: Made, method: str, sampling: str) -> None:
    [run] = [r for r in single.experiment.done if r.task == "sick" and r.variant == "predictor"]
    curves = {**run.curves, "p": [0.5] * len(run.curves["step"])}
    run = replace(run, curves=curves, config={**run.config, "method": method, "sampling": sampling})
    [one] = learning_curves(replace(single.experiment, runs=(run,)))
    assert [title for title, _ in one.panels] == ["L_W", "validation mse"]


def test_missing_values_and_steep_losses_are_drawn(single: Made) -> None:
    [run] = [r for r in single.experiment.done if r.task == "sick" and r.variant == "predictor"]
    curves = {
        "step": [1, 2, 3, 4],
        "writer_loss": [900.0, None, 1.0, 0.01],
        "validation_step": [4],
        "validation_value": [None],
    }
    experiment = replace(single.experiment, runs=(replace(run, curves=curves),))
    [one] = learning_curves(experiment)
    [(title, image)] = one.panels
    assert title == "L_W"
    assert "L_W, nats per token (log)" in image
    assert "predictor from 900 to 0.01" in image


@pytest.mark.parametrize(
    ("config", "task", "metric"), [({"metric": "mae"}, "sick", "mae"), ({}, "sick", "mse"), ({}, "data", "accuracy")]
)
def test_selecting_metric_is_that_of_the_run(config: dict[str, str], task: str, metric: str) -> None:
    run = replace(records(("sst2",), VARIANTS[3:4], (0,), n_rows=4)[0], config=config, task=task)
    assert selecting_metric(run) == metric

"""The page: whole, closed to the network, readable for all, true to the findings, safe from what rows say."""

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compare.factory import ERROR, VARIANTS, broken, measurement, records, trials
from html_pages import Element, figures, read_page
from predgen.errors import DataError, StorageError
from predgen.findings.base import MetricEstimate
from predgen.findings.study_tables import study_tables
from predgen.records import FOLDERS, PLAN_FILE, Record
from predgen.report.experiment import load_experiment
from predgen.report.page import make_page, write_report
from report.conftest import Made, made, write

HOSTILE = (
    "</script><script>alert(1)</script>\"'&<b>\u2028 \u202eright to left\u202c \U0001f600 \x00\x1b[31m\ud800 "
    + "w" * 3000
)


def known(estimate: MetricEstimate) -> list[float]:
    """The numbers of an estimate that are defined."""
    return written([estimate.value, estimate.low, estimate.high])


def written(values: Iterable[float | None]) -> list[float]:
    """Numbers as the page holds them, to six digits; without those that are not defined."""
    return [float(f"{v:.6g}") if isinstance(v, float) else v for v in values if v is not None]


def section(page: Element, name: str) -> Element:
    return page.one("section", id=name)


def test_headings_and_links_lead_through_the_page(sample: Made) -> None:
    ids = [e.attributes["id"] for e in sample.page.all() if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    links = [e.attributes["href"].removeprefix("#") for e in sample.page.all("a")]
    assert set(links) <= set(ids)
    assert links[0] == "main", "the skip link comes first"
    for found in sample.page.all("section"):
        title = found.one("h2")
        assert found.attributes["aria-labelledby"] == title.attributes["id"]
        assert found.attributes["id"] in links
    levels = [int(e.name[1]) for e in sample.page.all() if re.fullmatch(r"h\d", e.name)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_drawing_has_a_name_or_says_nothing(sample: Made) -> None:
    drawings = list(sample.page.all("svg"))
    assert len(drawings) > 50
    for drawing in drawings:
        is_named = drawing.attributes.get("role") == "img" and len(drawing.attributes.get("aria-label", "")) > 10
        assert is_named or drawing.attributes.get("aria-hidden") == "true"
    assert not list(sample.page.all("title"))[1:], "no text that only a mouse can reach"


def test_tables_name_their_rows_and_columns(sample: Made) -> None:
    tables = list(sample.page.all("table"))
    assert len(tables) > 10
    for table in tables:
        assert table.one("caption").text
        assert all(cell.attributes.get("scope") in ("row", "col") for cell in table.all("th"))
        widths = {len([c for c in row.content if isinstance(c, Element)]) for row in table.all("tr")}
        assert len(widths) == 1, table.one("caption").text
    for box in sample.page.all("div", class_="scroll"):
        assert (box.attributes["role"], box.attributes["tabindex"]) == ("region", "0")
        assert box.attributes["aria-label"]


def test_page_needs_nothing_from_elsewhere(sample: Made) -> None:
    for element in sample.page.all():
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            assert element.attributes.get(name, "#").startswith(("#", "data:")), element
        assert not [name for name in element.attributes if name.startswith("on")], "no code in attributes"
    style = sample.page.one("style").text
    assert "url(" not in style
    assert "@import" not in style
    assert not list(sample.page.all("link"))
    policy = next(e for e in sample.page.all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy")
    script = list(sample.page.all("script"))[1].content[0]
    assert isinstance(script, str)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.attributes["content"].startswith(f"default-src 'none'; script-src 'sha256-{digest}';")


def test_same_records_give_the_same_page(single: Made) -> None:
    assert make_page(load_experiment(single.folder)) == single.text


def headline(made: Made) -> dict[tuple[str, str], Element]:
    """Cells by task and variant; where there are many variants, they are the lines."""
    head, *lines = section(made.page, "headline").one("table").all("tr")
    names, tasks = [v.name for v in made.experiment.found.variants], made.experiment.found.tasks
    columns = [cell.text for cell in head.all("th")]
    cells = {}
    for line in lines:
        for column, cell in zip(columns[1:], line.all("td"), strict=True):
            pair = (line.one("th").text, column) if columns[0] == "task" else (column, line.one("th").text)
            cells[pair[0].split()[0], pair[1]] = cell
    assert set(cells) == {(task, name) for task in tasks for name in names}
    return cells


def test_headline_table_holds_the_findings(sample: Made, single: Made) -> None:
    assert next(section(sample.page, "headline").all("th")).text == "method"
    assert next(section(single.page, "headline").all("th")).text == "task"
    for one in (sample, single):
        for (task, name), cell in headline(one).items():
            entry = one.experiment.found.entry(task, name)
            assert figures(cell) == (known(entry.primary) if entry else [])
            for shown in cell.all("data"):
                decimals = len(shown.text.partition(".")[2])
                assert float(shown.text) == pytest.approx(float(shown.attributes["value"]), abs=0.51 * 10**-decimals)


def test_empty_cells_say_why(sample: Made) -> None:
    text = section(sample.page, "headline").text
    assert "refused" in text  # the Predictor on word problems
    assert "without seed 1" in text  # one run is missing, another one failed


def test_best_is_marked_where_verdicts_say_so_and_nowhere_else(sample: Made) -> None:
    found = sample.experiment.found
    marked = {pair for pair, cell in headline(sample).items() if list(cell.all("strong", class_="badge"))}
    won = set()
    for task in found.tasks:
        own = [d for d in found.differences if d.task == task]
        for name in found.headline:
            mine = [d for d in own if name in (d.first, d.second)]
            wins = [d for d in mine if (d.first if d.verdict == "first better" else d.second) == name]
            if mine and len([d for d in wins if d.verdict != "no difference shown"]) == len(mine):
                won.add((task, name))
    assert marked == won


def test_forest_plots_hold_the_differences(sample: Made) -> None:
    found = sample.experiment.found
    tables = list(section(sample.page, "differences").all("table"))
    assert list(section(sample.page, "differences").all("h3")) == []
    shown = [row for table in tables[1:] for row in list(table.all("tr"))[1:]]
    expected = [d for t in found.tasks for d in found.differences if d.task == t]
    expected += [d for t in found.tasks for d in found.proper_differences if d.task == t]
    expected += [d for t in found.tasks for d in found.baseline_differences if d.task == t]
    assert len(shown) == len(expected) > 20
    for row, difference in zip(shown, expected, strict=True):
        assert row.one("th").text == f"{difference.first} \u2212 {difference.second}"
        assert figures(row) == [*known(difference.estimate), *written([difference.p_corrected])]
        is_shown = difference.verdict != "no difference shown"
        says_little = "; neither is above constant" if is_shown and found.is_among_losers(difference) else ""
        ending = "better" if is_shown else "no difference shown"
        assert list(row.all("td"))[-1].text.endswith(ending + says_little)
    for row, ordering in zip(
        list(tables[0].all("tr"))[1:], [o for o in found.ordering if len(o.tasks) > 1], strict=True
    ):
        assert figures(row) == written([ordering.standardised, ordering.low, ordering.high])


def test_other_metrics_hold_the_entries(sample: Made) -> None:
    found = sample.experiment.found
    for task, table in zip(found.tasks, section(sample.page, "metrics").all("table"), strict=True):
        entries = [entry for entry in found.entries if entry.task == task]
        for entry, row in zip(entries, list(table.all("tr"))[1:], strict=True):
            assert row.one("th").text == entry.variant
            assert sorted(figures(row)) == sorted(v for e in entry.metrics.values() for v in known(e))


def test_costs_calibration_and_tuning_are_those_of_the_findings(sample: Made) -> None:
    found = sample.experiment.found
    rows = list(section(sample.page, "cost").one("table").all("tr"))[1:]
    assert len(rows) == len(found.costs)
    for row in rows:
        cells = [cell.text for cell in row.content if isinstance(cell, Element)]
        cost = next(c for c in found.costs if [c.source, c.variant, str(c.runs)] == cells[:3])
        known_values = [cost.train_s, cost.optimizer_steps, cost.predict_rows_per_s, cost.trainable_parameters]
        assert figures(row)[: 4 - known_values.count(None)] == written(known_values)
    table = next(t for t in section(sample.page, "calibration").all("table"))
    ece = [e.calibration.ece for e in found.entries if e.calibration and e.variant != "constant"]
    assert figures(table) == written(ece)
    assert "the same number of trials" in section(sample.page, "tuning").text


def test_failed_runs_stand_with_their_messages(sample: Made) -> None:
    text = section(sample.page, "shortfalls").text
    assert f"failed sick--predgen_loss=wdal--seed1: {ERROR['type']}: {ERROR['message']}" in text
    assert "refused gsm8k--predictor--seed0 and gsm8k--predictor--seed1" in text
    assert "missing sst2 / generator / seed 1" in text
    assert ERROR["traceback"].splitlines()[1].strip() in text


def test_one_seed_is_said_to_be_one(single: Made) -> None:
    text = section(single.page, "finding").text
    assert "rests on one seed, so that nothing is known about other seeds" in text
    assert "means over" not in section(single.page, "headline").text
    assert "None: every run that was asked for is in the figures." in section(single.page, "shortfalls").text
    assert "Nothing was tuned" in section(single.page, "tuning").text


def test_rows_are_shown_without_scripts_and_with_them(single: Made) -> None:
    browser = section(single.page, "errors")
    cards = list(browser.all("article"))
    assert len(cards) == 10
    data = json.loads(single.page.one("script", id="error-data").text)
    first = data["sets"][0]
    for card, row in zip(cards, first["rows"], strict=False):
        assert card.one("h3").text == f"{first['task']}, row {row[0]} {first['variant']}"
        assert [c.text for c in card.all("bdi", class_="chip")] == row[1:3]
        assert [c.text for c in card.one("ul").all("span", class_="n")] == [f"{p:.2f}" for _, p in row[6]]
        assert data["texts"]["sst2"][str(row[0])][0][1] in card.text
    assert next(browser.all("form")).attributes.get("hidden") == ""


def test_texts_that_were_not_passed_on_are_said_to_be_missing(single: Made, tmp_path: Path) -> None:
    folder = write(tmp_path / "exp", list(single.experiment.runs))
    for path in (folder / "rows").iterdir():
        path.unlink()
    page = read_page(make_page(load_experiment(folder)))
    assert "The text of this row was not passed on." in section(page, "errors").text
    assert json.loads(page.one("script", id="error-data").text)["texts"] == {}


def hostile_records() -> list[Record]:
    """Runs whose names, messages, settings, labels and curves are hostile."""
    found = []
    for one in records(("sst2", "sick"), VARIANTS[:5], (0,), n_rows=30):
        variant = f"{one.variant} {HOSTILE[:50]}" if one.variant == "generator" else one.variant
        [m] = one.measurements
        labels = {"positive": HOSTILE[:80]}
        columns = replace(
            m.predictions,
            target=[labels.get(t, t) for t in m.predictions.target],
            value=[labels.get(v, v) for v in m.predictions.value],
            labels=[labels.get(label, label) for label in m.predictions.labels],
            top=None,
        )
        one = replace(one, variant=variant, measurements=[replace(m, predictions=columns)])
        one = replace(
            one, environment={**one.environment, "processor": HOSTILE}, config={**one.config, "prompt": HOSTILE}
        )
        found.append(replace(one, cell={**one.cell, "variant": variant}))
    broken_run = broken(found[-1], {"type": "Error", "message": HOSTILE, "traceback": HOSTILE})
    return [
        *found,
        replace(broken_run, id="sst2--x", variant="x", task="sst2", cell={**broken_run.cell, "variant": "x"}),
    ]


def test_hostile_text_stays_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import predgen.records as module

    real = module.json.dumps
    monkeypatch.setattr(module.json, "dumps", lambda *a, **k: real(*a, **{**k, "ensure_ascii": True}))
    folder = write(tmp_path / "<img src=x>", hostile_records())
    for task in ("sst2", "sick"):
        path = folder / "rows" / f"{task}.jsonl"
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        path.write_text("".join(real({**line, "fields": {HOSTILE[:40]: HOSTILE}}) + "\n" for line in lines))
    text = make_page(load_experiment(folder))
    text.encode("utf-8")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    page = read_page(text)
    assert [s.attributes.get("type") for s in page.all("script")] == ["application/json", None]
    assert not list(page.all("b", onerror=""))
    assert [e for e in page.all("img")] == []
    data = json.loads(page.one("script", id="error-data").text)
    [(name, shown)] = next(iter(data["texts"]["sst2"].values()))
    assert name.startswith("</script><script>")
    assert shown.startswith("</script><script>alert(1)</script>\"'&<b>")
    assert "\u2400\u241b[31m\ufffd" in shown
    assert shown.endswith("more characters]")
    for card in section(page, "errors").all("article"):
        assert all(part.name == "bdi" or "\u202e" not in str(part.content) for part in card.all("bdi"))
        assert "<script>alert(1)</script>" in card.text


def test_undefined_metrics_and_missing_classes_are_shown_as_such(tmp_path: Path) -> None:
    found = []
    for one in records(("sst2", "sick"), VARIANTS[:5], (0, 1), n_rows=30):
        columns = one.measurements[0].predictions
        target = ["positive"] * 30 if one.task == "sst2" else [3.0] * 30  # no class but one, no correlation
        m = measurement(one.task, replace(columns, target=target, value=[None, *columns.value[1:]]))
        cost: dict[str, Any] = {"train_s": None, "peak_memory_bytes": None}
        found.append(replace(one, measurements=[m], curves={}, cost=cost, training={}, environment={}, data={}))
    page = made(tmp_path / "exp", found).page
    assert "not readable" in section(page, "confusion").text
    sets = json.loads(page.one("script", id="error-data").text)["sets"]
    assert all(None in [row[2] for row in found["rows"]] for found in sets)
    assert not list(page.all("section", id="curves"))
    assert "not recorded" in section(page, "cost").text
    assert "not defined" in section(page, "metrics").text


def test_a_task_whose_runs_all_failed_is_missing_with_a_reason(tmp_path: Path) -> None:
    found = [
        broken(one) if one.task == "sick" else one for one in records(("sst2", "sick"), VARIANTS[:5], (0,), n_rows=30)
    ]
    page = made(tmp_path / "exp", found).page
    assert "sick" not in section(page, "headline").text
    assert "sick--predictor--seed0" in section(page, "shortfalls").text


def test_different_environments_and_unequal_tuning_are_warned_of(single: Made, tmp_path: Path) -> None:
    runs = list(single.experiment.runs)
    runs[0] = replace(runs[0], environment={**runs[0].environment, "torch": "9.9"})
    folder = write(
        tmp_path / "exp", [*runs, *trials(("sst2",), VARIANTS[:4]), *trials(("sst2",), VARIANTS[4:5], rates=(1e-3,))]
    )
    page = read_page(make_page(load_experiment(folder)))
    text = section(page, "environment").text
    assert "Warning: runs were made in 2 different environments." in text
    assert "torch differs" in text
    assert "python differs" not in text
    assert "Warning: methods of a task did not have the same number of trials" in section(page, "tuning").text


def test_pictures_of_mutual_information_are_in_the_page(single: Made, tmp_path: Path) -> None:
    folder = write(tmp_path / "exp", list(single.experiment.runs))
    (folder / "mi").mkdir()
    (folder / "mi" / "heatmap-sst2--predgen--seed0-12.svg").write_text("<svg><script>alert(1)</script></svg>")
    (folder / "mi" / "heatmap-sst2--predgen--seed0-12.png").write_bytes(b"\x89PNG" + bytes(5000))
    (folder / "mi" / "big.png").write_bytes(bytes(2_000_001))
    (folder / "mi" / "figures.json").write_text("{}")
    page = read_page(make_page(load_experiment(folder)))
    picture = section(page, "pictures").one("img")
    caption = "Input tokens against answer tokens (the paper's Figures 3 and 8 to 13): sst2--predgen--seed0, row 12"
    assert picture.attributes["alt"] == caption
    assert section(page, "pictures").one("figcaption").text == caption
    code = picture.attributes["src"].removeprefix("data:image/svg+xml;base64,")
    assert base64.b64decode(code).startswith(b"<svg>"), "the smaller of both forms"
    assert "mi/big.png" in section(page, "pictures").text
    assert len(list(page.all("script"))) == 2


def test_study_of_the_paper_stands_beside_its_numbers(single: Made, tmp_path: Path) -> None:
    folder = write(tmp_path / "exp", list(single.experiment.runs))
    plan = folder / PLAN_FILE
    plan.write_text(plan.read_text(encoding="utf-8").replace("study: null", "study: table2"), encoding="utf-8")
    experiment = load_experiment(folder)
    ours, theirs = study_tables(experiment.found)
    study = section(read_page(make_page(experiment)), "study")
    shown = [
        [[cell.text for cell in row.content if isinstance(cell, Element)] for row in table.all("tr")]
        for table in study.all("table")
    ]
    assert shown == [[table.columns, *table.rows] for table in (ours, theirs)]
    assert [note for note in (*ours.notes, *theirs.notes) if note not in study.text] == []
    assert "embedded is not one of the paper's" in study.text


def test_page_is_written_whole_or_not_at_all(single: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "page.html"
    assert write_report(single.folder, target) == target
    assert target.read_text(encoding="utf-8") == single.text
    target.write_text("before")

    def full(*paths: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("predgen.files.os.replace", full)
    with pytest.raises(StorageError, match=r"page\.html' cannot be written: disk full \(No space left on device\)"):
        write_report(single.folder, target)
    assert target.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_places_that_cannot_hold_a_page_are_refused_before_reading(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        write_report(tmp_path, tmp_path)
    with pytest.raises(DataError, match="lies in a folder that does not exist; make it first"):
        write_report(tmp_path, tmp_path / "none" / "page.html")


def test_folders_without_finished_runs_are_refused(single: Made, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no experiment"):
        write_report(tmp_path)
    (tmp_path / PLAN_FILE).write_text("tasks: [sst2]\n")
    with pytest.raises(DataError, match=r"has no finished run to report\. Let `predgen compare` make its runs first"):
        write_report(tmp_path)
    failed = broken(next(r for r in single.experiment.runs if r.variant == "predictor"))
    folder = write(tmp_path / "exp", [failed])
    with pytest.raises(
        DataError, match=r"1 were tried; the first, '.*', ended with TrainingError: the loss is not finite"
    ):
        write_report(folder)
    (single_copy := write(tmp_path / "copy", list(single.experiment.runs)))
    (single_copy / PLAN_FILE).write_text("a: [")
    with pytest.raises(DataError, match=r"experiment\.yaml' is damaged"):
        write_report(single_copy)
    (single_copy / PLAN_FILE).write_text("- a\n")
    with pytest.raises(DataError, match="holds no settings"):
        write_report(single_copy)


def test_an_unfinished_experiment_claims_nothing(tmp_path: Path) -> None:
    every = records(("sst2", "sick"), VARIANTS[:5], (0,), n_rows=40)
    page = made(tmp_path / "begun", every)
    folder = page.folder
    for run in every:
        if run.cell["baseline"] != "constant":
            (folder / FOLDERS["final"] / f"{run.id}.json").unlink()
    begun = load_experiment(folder)
    text = read_page(make_page(begun))
    assert set(begun.found.not_judged) == {"sst2", "sick"}
    assert "at least one method is shown to beat" not in section(text, "headline").text
    missing = len(every) - 2
    assert f"Of {len(every)} runs {missing} are missing." in section(text, "finding").text
    facts = dict(zip([dt.text for dt in text.all("dt")], [dd.text for dd in text.all("dd")], strict=True))
    assert facts["Base model"].startswith("smollm2; no run of a method is finished")

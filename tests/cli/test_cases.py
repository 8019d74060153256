"""Ordinary files that are easily got wrong: each gives the right result, or a message with exit status 2."""

import copy
import csv
import json
import statistics
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import predgen as predgen_package
from cli_runs import Runs, flat, predgen, refused, write_csv
from predgen.data.examples import to_examples
from predgen.evaluation import evaluate
from predgen.figures import number
from tiny_models import save_tiny
from tokenizers_for_tests import char_level

SHARED = Path(__file__).parents[3] / "shared" / "cases"


def own(data: Path, target: str, kind: str, prompt: str = r"{text}\nAnswer:") -> tuple[str | Path, ...]:
    """Flags that name a file and what to learn from it."""
    return ("--data", data, "--prompt", prompt, "--target", target, "--kind", kind)


def trained(*arguments: str | Path, out: Path) -> dict[str, Any]:
    """Train two steps; returns the manifest."""
    result = predgen("train", *arguments, "--max-steps", "2", "--out", out)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads((out / "predgen.json").read_text(encoding="utf-8"))
    return found


def validated(*arguments: str | Path) -> dict[str, Any]:
    """What `predgen validate --json` says."""
    result = predgen("validate", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def shared(name: str) -> Path:
    """A file beside the repository; the test is skipped where it is not there."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{name} is not there")
    return path


def classes_file(path: Path, counts: Mapping[str, int]) -> Path:
    """Rows of some classes, in turns."""
    rows = [{"text": f"about {label}, case {i}", "intent": label} for label, n in counts.items() for i in range(n)]
    return write_csv(path, sorted(rows, key=lambda row: row["text"][::-1]))


# Rare classes


def test_classes_with_few_rows_are_trained_on_and_named(runs: Runs, tmp_path: Path) -> None:
    data = classes_file(tmp_path / "a.csv", {"refund": 20, "bill": 14, "parcel": 3, "login": 1, "noise": 1})
    given = (*own(data, "intent", "classification"), "--model", runs.base)
    for seed in ("2", "1", "0"):
        unmeasured = validated(*given, "--seed", seed)["unmeasured_classes"]
        assert {"login", "noise"} <= set(unmeasured) <= {"login", "noise", "parcel"}
    result = predgen("train", *given, "--max-steps", "2", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert all(repr(label) in result.output for label in unmeasured)
    manifest = json.loads((tmp_path / "run" / "predgen.json").read_text(encoding="utf-8"))
    assert manifest["setup"]["labels"] == ["bill", "login", "noise", "parcel", "refund"]
    assert manifest["report"]["unmeasured_classes"] == unmeasured


def test_shared_rare_classes(runs: Runs, tmp_path: Path) -> None:
    data = shared("rare_classes.csv")
    given = (*own(data, "intent", "classification", r"Message: {text}\nIntent:"), "--model", runs.base)
    rows = Counter(line.rsplit(",", 1)[1] for line in data.read_text(encoding="utf-8").splitlines()[1:])
    rare = {label for label, n in rows.items() if n == 1}
    for seed in ("1", "2", "3", "4"):
        assert rare <= set(validated(*given, "--seed", seed)["unmeasured_classes"])
    manifest = trained(*given, out=tmp_path / "run")
    assert len(manifest["setup"]["labels"]) == 24
    assert rare <= set(manifest["report"]["unmeasured_classes"])


# Learning curves


def test_labels_do_not_depend_on_the_limit(runs: Runs, tmp_path: Path) -> None:
    data = classes_file(tmp_path / "a.csv", {f"class {k}": 10 for k in range(6)})
    given = (*own(data, "intent", "classification"), "--model", runs.base)
    labels = [trained(*given, "--limit", n, out=tmp_path / n)["setup"]["labels"] for n in ("5", "12", "54")]
    assert labels[0] == labels[1] == labels[2] == [f"class {k}" for k in range(6)]


def test_shared_intents_with_a_limit(tmp_path: Path) -> None:
    given = own(shared("intents_12x40.csv"), "intent", "classification")
    assert len(trained(*given, "--limit", "24", out=tmp_path / "run")["setup"]["labels"]) == 12


# Labels that only measured rows have


def test_an_unknown_label_is_named_with_its_file_and_the_remedy(runs: Runs, tmp_path: Path) -> None:
    data = classes_file(tmp_path / "a.csv", {f"class {k:02}": 3 for k in range(30)})
    other = write_csv(tmp_path / "b.csv", [{"text": "x", "intent": "class 00"}, {"text": "y", "intent": "strange"}])
    given = (*own(data, "intent", "classification"), "--model", runs.base, "--validation-data", other)
    for command, more in (("train", ("--max-steps", "1", "--out", tmp_path / "run")), ("validate", ())):
        message = refused(predgen(command, *given, *more))
        assert "row 2" in message
        assert "'strange'" in message
        assert str(other) in message
        assert "--bad-rows skip" in message
        assert sum(f"class {k:02}" in message for k in range(30)) == 10
    assert trained(*given, "--bad-rows", "skip", out=tmp_path / "run")["report"]["skipped_rows"] == 1


# Long texts


def long_pairs(path: Path) -> Path:
    """Rows of a question and a document, the first of which has two long ones."""
    rows = [{"question": f"is case {i} closed", "document": f"file {i}", "label": "no yes".split()[i % 2]} for i in range(20)]  # fmt: skip
    rows[0] |= {"question": "why " * 300, "document": "because " * 300}
    return write_csv(path, rows)


PAIR = r"Q: {question}\nD: {document}\nLabel:"


def check_long_pairs(data: Path, out: Path, *more: str | Path) -> None:
    """A row with two long texts is shortened and counted, in training, checks and prediction."""
    given = (*own(data, "label", "classification", PAIR), "--max-length", "128", *more)
    facts = validated(*given)
    report = trained(*given, "--validation-data", data, out=out / "run")["report"]
    assert facts["truncated_rows"] == report["truncated_rows"] == 1
    assert facts["tokens_per_row"]["max"] <= 128
    result = predgen("predict", out / "run", data, "-o", out / "out.csv")
    assert result.exit_code == 0, result.output
    assert "1 rows truncated" in result.output
    assert len((out / "out.csv").read_text(encoding="utf-8").splitlines()) == report["train_rows"] + 1


@pytest.mark.parametrize("part", ["tail", "head", "middle"])
def test_two_long_texts_in_one_prompt_are_shortened(runs: Runs, tmp_path: Path, part: str) -> None:
    check_long_pairs(long_pairs(tmp_path / "a.csv"), tmp_path, "--model", runs.base, "--truncate", part)


def test_shared_two_long_texts(tmp_path: Path) -> None:
    check_long_pairs(shared("two_long_texts.csv"), tmp_path)


def test_a_template_that_does_not_fit_is_an_error(runs: Runs, tmp_path: Path) -> None:
    given = (*own(long_pairs(tmp_path / "a.csv"), "label", "classification", PAIR), "--model", runs.base)
    message = refused(predgen("validate", *given, "--max-length", "16"))
    assert "`prompt` has" in message
    assert "`max_length`" in message


# Labels: names, types, spellings


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON lines, types kept."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("labels", "more", "written"),
    [
        ([0, 1], (), ["0", "1"]),
        ([0, 1], ("--label-texts", "0=negative,1=positive"), ["negative", "positive"]),
        ([False, True], (), ["false", "true"]),
        (["0", "1"], ("--label-texts", "0=negative,1=positive"), ["negative", "positive"]),
    ],
)
def test_labels_come_back_in_their_own_type(
    runs: Runs, tmp_path: Path, labels: list[Any], more: tuple[str, ...], written: list[str]
) -> None:
    rows = [{"text": f"case {i}", "y": labels[i % 2]} for i in range(24)]
    data = jsonl(tmp_path / "a.jsonl", rows)
    manifest = trained(*own(data, "y", "classification"), "--model", runs.base, *more, out=tmp_path / "run")
    assert manifest["setup"]["labels"] == written
    model = predgen_package.load(tmp_path / "run")
    assert list(model.classes) == labels
    values = [prediction.value for prediction in model.predict(rows)]
    assert {(type(value), value) for value in values} <= {(type(label), label) for label in labels}
    assert 0 <= evaluate(model, to_examples(rows, model.task), n_resamples=2).metrics["accuracy"] <= 1
    for name in ("out.jsonl", "out.csv"):
        result = predgen("predict", tmp_path / "run", data, "-o", tmp_path / name, "--proba")
        assert result.exit_code == 0, result.output
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["prediction"] for row in found] == values
    names = [f"p({json.dumps(label) if isinstance(label, bool) else label})" for label in labels]
    assert list(found[0])[-2:] == names
    assert all(row[names[labels.index(row["prediction"])]] >= 0.5 for row in found)
    cells = [
        row["prediction"] for row in csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines())
    ]
    assert cells == [json.dumps(value) if isinstance(value, bool) else str(value) for value in values]


def test_labels_that_differ_in_case_are_remarked_on_and_merged_on_request(runs: Runs, tmp_path: Path) -> None:
    spellings = ["Positive", "positive", "POSITIVE", "negative", "negative ", "negative"]
    rows = [{"text": f"case {i}", "y": spellings[i % 6]} for i in range(60)]
    given = (*own(write_csv(tmp_path / "a.csv", rows), "y", "classification"), "--model", runs.base)
    facts = validated(*given)
    assert len(facts["targets"]) == 4
    assert any("'Positive'" in r and "'POSITIVE'" in r and "--normalise-labels" in r for r in facts["remarks"])
    merged = validated(*given, "--normalise-labels")
    assert len(merged["targets"]) == 2
    assert not any("--normalise-labels" in remark for remark in merged["remarks"])
    manifest = trained(*given, "--normalise-labels", out=tmp_path / "run")
    assert manifest["setup"]["labels"] == list(merged["targets"]) == ["POSITIVE", "negative"]
    result = predgen("evaluate", tmp_path / "run", "--split", "validation")
    assert result.exit_code == 0, result.output


# Ordinary files


def exported(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """Write a file as another program has written it."""
    path.write_bytes(text.encode(encoding))
    return path


LINES = [f"number {i} was {'fine' if i % 2 else 'dull'}" for i in range(20)]


@pytest.mark.parametrize(
    ("encoding", "end", "more"),
    [("utf-8-sig", "\r\n", ""), ("utf-16", "\r\n", ""), ("utf-8", "\n", ","), ("utf-8-sig", "\r\n", ",")],
)
def test_files_as_spreadsheets_write_them_are_read(
    runs: Runs, tmp_path: Path, encoding: str, end: str, more: str
) -> None:
    rows = [f"text,label{more}", *(f"{text},{'good' if 'fine' in text else 'bad'}{more}" for text in LINES), ""]
    data = exported(tmp_path / "a.csv", end.join(rows), encoding)
    facts = validated(*own(data, "label", "classification"), "--model", runs.base)
    assert facts["targets"] == {"bad": 9, "good": 9}
    assert facts["validation_rows"] == 2


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("a.csv", "text;score\nfine;3,5\ndull;1,5\n", ["';'", "a.csv"]),
        ("a.csv", '"text";"score"\n"fine";"3,5"\n', ["';'", "a.csv"]),
        ("a.csv", "text\tscore\nfine\t3\n", ["'\\t'", ".tsv"]),
        ("a.csv", 'text,score\nfine,"1,234.5"\ndull,"3,5"\n', ["row 1", "commas", "row 2", "decimal comma"]),
        ("a.csv", "text,score\nfine,45%\ndull,NA\nnew,2024-03-01\n", ["percentage", "missing value", "date"]),
        ("a.csv", "text,score,text\nfine,3,x\n", ["'text' twice"]),
        ("a.csv.gz", "x", [".gz", "gunzip"]),
        ("a.xlsx", "x", [".xlsx", "CSV UTF-8"]),
        ("a.csv", "text,score\nfine,3,9\n", ["line 2", "3 cells"]),
    ],
)
def test_what_cannot_be_read_is_named_with_what_to_do(
    runs: Runs, tmp_path: Path, name: str, text: str, named: list[str]
) -> None:
    data = exported(tmp_path / name, text)
    given = (*own(data, "score", "regression"), "--model", runs.base)
    for command, more in (("train", ("--max-steps", "1", "--out", tmp_path / "run")), ("validate", ())):
        message = refused(predgen(command, *given, *more))
        assert [words for words in named if words not in message] == []


def test_advice_is_what_the_command_has(runs: Runs, tmp_path: Path) -> None:
    data = jsonl(tmp_path / "a.jsonl", [{"text": "fine", "label": "good"}, {"text": None, "label": "good"}])
    for command in (
        ("predict", runs.label, data, "-o", tmp_path / "out.csv"),
        ("evaluate", runs.label, "--data", data),
    ):
        message = refused(predgen(*command))
        assert "row 2" in message
        assert "bad_rows" not in message
        assert "bad-rows" not in message
    given = ("--data", data, "--prompt", "{text}:", "--target", "label", "--kind", "classification")
    assert "--bad-rows skip" in refused(predgen("validate", *given, "--model", runs.base))


def test_numbers_given_as_classes_are_noticed(runs: Runs, tmp_path: Path) -> None:
    rows = [{"text": f"case {i}", "score": str(i / 4)} for i in range(60)]
    given = (*own(write_csv(tmp_path / "a.csv", rows), "score", "classification"), "--model", runs.base)
    assert "'regression'" in refused(predgen("validate", *given))
    rows += [{"text": f"more {i}", "score": "1.5"} for i in range(9)]
    facts = validated(*own(write_csv(tmp_path / "b.csv", rows), "score", "classification"), "--model", runs.base)
    assert any("--kind regression" in remark for remark in facts["remarks"])


def test_figures_are_rounded_for_people_and_exact_for_programs(runs: Runs, tmp_path: Path) -> None:
    rows = [{"text": f"case {i}", "score": str(i % 7)} for i in range(40)]
    given = (*own(write_csv(tmp_path / "a.csv", rows), "score", "regression"), "--model", runs.base)
    mean = validated(*given)["targets"]["mean"]
    shown = predgen("validate", *given).output
    assert f"mean: {number(mean, 4)}" in " ".join(shown.split())
    assert repr(mean) not in shown


# Targets of any size


def test_an_outlier_is_remarked_on(runs: Runs, tmp_path: Path) -> None:
    rows = [{"text": f"case {i}", "score": str(i % 50 / 10)} for i in range(60)] + [{"text": "odd", "score": "1e7"}]
    data = write_csv(tmp_path / "a.csv", rows)
    few = write_csv(tmp_path / "b.csv", rows[:2])
    given = (*own(data, "score", "regression"), "--validation-data", few, "--model", runs.base)
    said = [*validated(*given)["remarks"], flat(runs.train(*given, "--out", tmp_path / "run").output)]
    for remark in said:
        assert "1e+07 (row 61)" in remark
        assert [flag for flag in ("--target-transform", "--minimum", "--maximum") if flag not in remark] == []
    assert validated(*given, "--target-transform", "quantile")["remarks"] == []


@pytest.mark.parametrize(
    ("name", "prompt", "target", "more"),
    [
        ("outlier_target.csv", r"{text}\nScore:", "score", ()),
        ("micro_targets.csv", r"{text}\nScore:", "score", ()),
        ("prices.csv", r"{title}\nPrice:", "price", ("--decimals", "2")),
    ],
)
def test_shared_numbers_are_checked_trained_on_and_predicted(
    runs: Runs, tmp_path: Path, name: str, prompt: str, target: str, more: tuple[str, ...]
) -> None:
    lines = shared(name).read_text(encoding="utf-8").splitlines(keepends=True)
    one, few = tmp_path / "one.csv", tmp_path / "few.csv"
    one.write_text("".join(lines[:2]), encoding="utf-8")
    few.write_text("".join(lines[:4]), encoding="utf-8")
    given = (*own(shared(name), target, "regression", prompt), "--validation-data", one, "--model", runs.base, *more)
    facts = validated(*given, "--method", "generator")
    is_far = name != "micro_targets.csv"
    assert [remark for remark in facts["remarks"] if "stand far apart" in remark] == facts["remarks"][: int(is_far)]
    result = runs.train(*given, "--method", "generator", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert ("stand far apart" in flat(result.output)) == is_far
    written = json.loads((tmp_path / "run" / "predgen.json").read_text(encoding="utf-8"))["report"]["numbers_written"]
    assert written == facts["numbers_written"]
    first, _, third = statistics.quantiles([float(line.rsplit(",", 1)[1]) for line in lines[1:]])
    assert written["rounding_rmse"] < 0.01 * (third - first)  # whatever an outlier makes of the standard deviation
    table = tmp_path / "out.csv"
    asked = ("--quantiles", "0.05,0.95", "--max-nodes", "64")
    result = predgen("predict", tmp_path / "run", few, "-o", table, *asked)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    answers = [[float(row[column]) for column in ("q(0.05)", "prediction", "q(0.95)")] for row in rows]
    assert len(answers) == 3
    assert [row for row in answers if not 0 <= row[0] <= row[1] <= row[2]] == []


def test_shared_labels_that_are_tokens_of_their_own_are_trained_on_and_predicted(runs: Runs, tmp_path: Path) -> None:
    data = shared("special_labels.csv")
    given = own(data, "y", "classification", r"{t}\nLabel:")
    tokenizer = copy.deepcopy(char_level())  # which others share
    base = save_tiny("llama", tmp_path / "base", tokenizer)
    tokenizer.add_tokens(["<POS>", "<NEG>"])
    tokenizer.save_pretrained(base)  # the embedding is as it was
    message = refused(predgen("train", *given, "--model", base, "--out", tmp_path / "no"))
    assert str(len(tokenizer)) in message
    assert str(len(tokenizer) - 2) in message
    assert not (tmp_path / "no").exists()
    assert runs.train(*given, "--out", tmp_path / "run").exit_code == 0
    result = predgen("predict", tmp_path / "run", data, "-o", tmp_path / "out.csv")
    assert result.exit_code == 0, result.output
    rows = csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines())
    assert {row["prediction"] for row in rows} <= {"<POS>", "<NEG>"}

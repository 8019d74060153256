"""Write the tables of the documentation from the registries and from `RunConfig`.

    python tools/make_docs.py            # rewrite what is stale
    python tools/make_docs.py --check    # change nothing; exit status 1 if something is stale

A table stands in docs/*.md between `<!-- generated:NAME -->` and `<!-- end -->`; NAME is a key of `TABLES`.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from predgen import registries
from predgen.bases.known import NamedBase
from predgen.cli.options import plain_value
from predgen.components import Listed
from predgen.config import all_settings
from predgen.core import FileSpec, TaskSpec
from predgen.lookup import Registry
from predgen.settings import Setting, declared

DOCS = Path(__file__).parent.parent / "docs"
_MARKED = re.compile(r"(<!-- generated:(\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; a bar inside a cell is escaped."""
    lines = [list(header), ["---"] * len(header), *map(list, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def code(text: str) -> str:
    """Return text as inline code, line breaks shown as backslash and n; nothing stays nothing."""
    shown = text.replace("\n", "\\n")
    return f"`{shown}`" if text else ""


def names_table(registry: Registry) -> str:
    """Table of the names in a registry, with aliases and summaries."""
    rows = [[", ".join(map(code, [name, *registry.aliases(name)])), registry.summary(name)] for name in registry]
    return table(["name", "what it is"], rows)


def directors_table() -> str:
    """Table of the directors, with the kinds of task they serve."""
    rows = []
    for name in registries.directors:
        director = registries.directors.get(name)
        has_head = "yes" if director.has_head else "no"
        rows.append([code(name), ", ".join(director.kinds), has_head, registries.directors.summary(name)])
    return table(["name", "kinds of task", "head", "what it is"], rows)


def peft_table() -> str:
    """Table of the PEFT methods: formula, trained numbers per layer, settings with their defaults."""
    rows = []
    for name in registries.peft_methods:
        facts = registries.peft_methods.facts(name)
        own = declared(registries.peft_methods.settings_of(name))
        settings = ", ".join(f"`{key}` {plain_value(one.default)}" for key, one in own.items())
        rows.append(
            [code(name), registries.peft_methods.summary(name), code(facts["formula"]), facts["count"], settings]
        )
    return table(["name", "what it is", "weight of a layer", "trains per layer", "settings and defaults"], rows)


def baselines_table() -> str:
    """Table of the baselines: kinds of task they serve, settings with their defaults."""
    rows = []
    for name in registries.baselines:
        kinds = registries.baselines.facts(name).get("kinds", ("all",))
        own = declared(registries.baselines.settings_of(name))
        settings = ", ".join(f"`{key}` {plain_value(one.default)}" for key, one in own.items())
        rows.append([code(name), registries.baselines.summary(name), ", ".join(kinds), settings])
    return table(["name", "what it is", "kinds of task", "settings and defaults"], rows)


def metrics_table() -> str:
    """Table of the metrics."""
    rows = []
    for name in registries.metrics:
        metric = registries.metrics.get(name)
        better = "higher" if metric.greater_is_better else "lower"
        rows.append([code(name), metric.kind, better, registries.metrics.summary(name)])
    return table(["name", "kind of task", "better", "what it is"], rows)


def presets_table() -> str:
    """Table of the paper's preset: what Table 3 gives each task, and in brackets what it does not."""
    header = [
        "learning_rate",
        "batch_size",
        "gradient_accumulation",
        "epochs",
        "warmup_steps",
        "max_steps_for_sampling",
    ]
    rows = []
    for name in registries.tasks:
        preset = registries.presets.get("paper")(name)
        cells = [f"{preset.settings[s]:g}" if s in preset.published else f"({preset.settings[s]:g})" for s in header]
        rows.append([code(name), *cells])
    return table(["task", *map(code, header)], rows)


WAYS = {
    "tree": "one tree pass",
    "levels": "level by level, on copied caches",
    "sequential": "sequential, on a cache",
    "uncached": "sequential, without a cache",
    "equal lengths": "rows of equal length together, without a cache",
    "one by one": "rows one by one, without a cache",
    "refused": "refused when loaded",
}


def architectures_table() -> str:
    """Table of what `tools/architectures.py` found: how each architecture is run, and how exactly."""
    found = json.loads((DOCS / "architectures.json").read_text(encoding="utf-8"))
    rows = []
    for way, words in WAYS.items():
        some = [one for one in found if one["way"] == way]
        errors = [one["error"] for one in some if one["error"] is not None]
        worst = f"{max(errors):.0e}" if errors else ""
        if some:
            rows.append([words, str(len(some)), ", ".join(one["name"] for one in some), worst])
    return table(
        ["how answers are run", "number", "model types of transformers", "largest difference of a probability"], rows
    )


def self_check_table() -> str:
    """Table of what `predgen mi --self-check --json` printed, an estimator per column: mean, deviation, error."""
    found = json.loads((DOCS / "mutual_information.json").read_text(encoding="utf-8"))
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for row in found:
        setting = (row["channel"], str(row["dim"]), str(row["n"]), f"{row['true_nats']:.3f}")
        cell = f"{row['estimate_nats']:.3f} ± {row['std_nats']:.3f} ({row['estimate_nats'] - row['true_nats']:+.3f})"
        rows.setdefault(setting, {})[row["estimator"]] = cell
    header = ["channel", "dim", "n", "true", *map(code, registries.mi_estimators)]
    return table(
        header, [[*setting, *(cells[name] for name in registries.mi_estimators)] for setting, cells in rows.items()]
    )


def bases_table() -> str:
    """Table of the named bases."""
    rows = []
    for name in registries.bases:
        base: NamedBase = registries.bases.get(name)
        wheel = (
            f"{code(base.wheels.requirements[0])}{' and more' * (len(base.wheels.requirements) > 1)}, {base.wheels.quantised}"
            if base.wheels
            else ""
        )
        rows.append(
            [
                code(name),
                code(base.hub),
                wheel,
                f"{base.parameters / 1e6:.0f}M",
                f"{base.context:,}",
                base.licence,
                base.good_for,
            ]
        )
    return table(["name", "hub", "wheel", "weights", "context", "licence", "good for"], rows)


def all_tasks() -> list[TaskSpec]:
    """Return every registered task."""
    return [registries.tasks.get(name) for name in registries.tasks]


def tasks_table() -> str:
    """Table of the tasks: what they predict, how they are measured, where they are from."""
    rows = [
        [code(t.name), t.kind, _answers(t), ", ".join(map(code, t.metrics)), t.licence, t.source, str(t.version)]
        for t in all_tasks()
    ]
    return table(["task", "kind", "answers", "metrics", "licence", "source", "version"], rows)


def prompts_table() -> str:
    """Table of the tasks' prompts, target columns and group columns."""
    rows = [
        [code(t.name), code(t.prompt), code(t.cloze or ""), code(t.target), ", ".join(map(code, t.group))]
        for t in all_tasks()
    ]
    return table(
        ["task", "prompt", "prompt of method `options`", "target column", "texts that stay in one split"], rows
    )


def files_table() -> str:
    """Table of the files each task is read from."""
    rows = []
    for task in all_tasks():
        splits = [_files(task.files.get(split, ())) for split in ("train", "validation", "test")]
        hub = code(str(task.hub)) if task.hub else "no copy: give `--data-dir`"
        rows.append([code(task.name), code(task.folder or task.name), *splits, hub])
    return table(["task", "folder", "train", "validation", "test", "on the hub"], rows)


def _answers(task: TaskSpec) -> str:
    """Labels or range of a task."""
    if task.labels:
        return ", ".join(map(code, task.labels.values()))
    if task.scale:
        return f"{task.scale[0]:g} to {task.scale[1]:g}"
    return "numbers"


def _files(alternatives: Sequence[FileSpec]) -> str:
    """File names of one split."""
    return ", or ".join(" + ".join(map(code, spec.paths)) for spec in alternatives)


def config_table() -> str:
    """One table per group of settings, with type, default, what is allowed, and the components whose own they are."""
    parts = []
    found = all_settings()
    for group in dict.fromkeys(listed.group for listed in found.values()):
        rows = [
            [
                code(name),
                one.setting.type.__name__,
                _default(one),
                _allowed(one.setting),
                _owners(one),
                one.setting.help,
            ]
            for name, one in found.items()
            if one.group == group
        ]
        header = ["setting", "type", "default", "allowed", "of", "meaning"]
        parts.append(f"### {group}\n\n" + table(header, rows))
    return "\n".join(parts)


def _default(listed: Listed) -> str:
    """A default as it is written in YAML, or that of each owner; nothing where there is none."""
    if listed.default is not None:
        return code(plain_value(listed.default))
    return ", ".join(
        f"{owner} {code(plain_value(value))}" for owner, value in listed.defaults.items() if value is not None
    )


def _owners(listed: Listed) -> str:
    """Components that have a setting; nothing where every run has it."""
    return ", ".join(map(code, listed.owners))


def _allowed(one: Setting) -> str:
    """Names or range of a setting."""
    if one.choices is not None:
        return ", ".join(map(code, one.choices))
    if one.high is not None:
        return f"{one.low:g} to {one.high:g}"
    return "" if one.low is None else f"{one.low:g} or more"


TABLES: dict[str, Callable[[], str]] = {
    "architectures": architectures_table,
    "baselines": baselines_table,
    "bases": bases_table,
    "codecs": lambda: names_table(registries.codecs),
    "config": config_table,
    "directors": directors_table,
    "losses": lambda: names_table(registries.losses),
    "methods": lambda: names_table(registries.methods),
    "decodings": lambda: names_table(registries.decodings),
    "metrics": metrics_table,
    "mi_estimators": lambda: names_table(registries.mi_estimators),
    "mi_self_check": self_check_table,
    "peft_methods": peft_table,
    "preset_paper": presets_table,
    "sampling": lambda: names_table(registries.sampling),
    "schedules": lambda: names_table(registries.schedules),
    "task_files": files_table,
    "task_prompts": prompts_table,
    "tasks": tasks_table,
}


def regenerated(text: str, path: Path) -> str:
    """Return a page with every marked table made anew.

    Raises:
        SystemExit: If a marker names no table, or has no end.
    """
    found = _MARKED.findall(text)
    unknown = sorted({name for _, name, _ in found} - TABLES.keys())
    if unknown or len(found) != text.count("<!-- generated:"):
        raise SystemExit(f"{path}: a generated part is unknown or has no `<!-- end -->`; known: {', '.join(TABLES)}.")
    return _MARKED.sub(lambda m: f"{m[1]}\n{TABLES[m[2]]()}\n{m[3]}", text)


def stale_pages(docs: Path) -> dict[Path, str]:
    """Return the pages whose tables are not what the code says, with their new text."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(docs.glob("*.md"))}
    made = {path: regenerated(text, path) for path, text in texts.items()}
    return {path: new for path, new in made.items() if new != texts[path]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return the exit status."""
    parser = argparse.ArgumentParser(description="Write the tables of docs/*.md from the code.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if a table is stale")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the pages")
    options = parser.parse_args(arguments)
    stale = stale_pages(options.docs)
    for path, text in stale.items():
        if options.check:
            print(f"{path.name} is stale; run `make docs`.", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.name}")
    return int(bool(stale) and options.check)


if __name__ == "__main__":
    sys.exit(main())

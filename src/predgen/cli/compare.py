"""`predgen compare`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from predgen import registries
from predgen.cli.errors import readable_errors
from predgen.cli.options import OptionSettings, with_options
from predgen.cli.say import say
from predgen.components import owned
from predgen.config import RENAMED, all_settings, read_config
from predgen.errors import ConfigError, PredgenError
from predgen.escaping import in_line
from predgen.near_names import near_matches

if TYPE_CHECKING:
    from predgen.compare.plan import Plan
    from predgen.compare.runner import Experiment

_SHARED = (
    "data_dir", "data", "validation_data", "prompt", "target", "kind", "limit", "bad_rows", "max_length", "rationale",
    "model", "dtype", "epochs", "max_steps", "batch_size", "gradient_accumulation", "learning_rate", "eval_steps",
    "split_seed", "metric", "bf16",
)  # fmt: skip


def _settings() -> OptionSettings:
    """Settings that all runs share, and those of baselines."""
    shared = {name: listed for name, listed in all_settings().items() if name in _SHARED}
    return shared | owned([registries.baselines])


@with_options(_settings, RENAMED)
@readable_errors
def compare_command(
    out: Annotated[Path, typer.Option("--out", help="Folder of the experiment; one that is there is gone on with.")],
    tasks: Annotated[Optional[str], typer.Option(help="Tasks, comma separated (`predgen ls tasks`).")] = None,  # noqa: UP045
    methods: Annotated[
        str | None,
        typer.Option(help="Methods, comma separated. [default: predictor,generator,predgen]"),
    ] = None,
    pefts: Annotated[Optional[str], typer.Option("--peft", help="PEFT methods, comma separated.")] = None,  # noqa: UP045
    losses: Annotated[Optional[str], typer.Option(help="PredGen's losses, comma separated.")] = None,  # noqa: UP045
    samplings: Annotated[
        str | None, typer.Option("--sampling", help="PredGen's sampling modes, comma separated.")
    ] = None,
    directors: Annotated[Optional[str], typer.Option(help="PredGen's directors, comma separated.")] = None,  # noqa: UP045
    baselines: Annotated[
        str | None,
        typer.Option(
            help=f"Of {', '.join(registries.baselines)} (`predgen ls baselines`), comma separated, or none. [default: constant,tfidf,zero_shot]"
        ),
    ] = None,
    seeds: Annotated[Optional[str], typer.Option(help="Seeds, comma separated. [default: 0,1,2]")] = None,  # noqa: UP045
    tune: Annotated[
        list[str] | None,
        typer.Option(
            help="SETTING=A,B,C to choose on validation rows, the same number of trials for every method; repeatable."
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials per method and task. [default: all of the smallest grid]")
    ] = None,
    train_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most training tokens a run, all passes counted; sets --limit per task.")
    ] = None,
    scored_rows: Annotated[
        int | None, typer.Option(min=1, help="Most rows to measure of each validation and test split.")
    ] = None,
    test_data: Annotated[Optional[str], typer.Option(help="Test file beside --data; default: 20 % of it.")] = None,  # noqa: UP045
    train_on: Annotated[
        str | None, typer.Option(help="What math tasks without training rows are trained on. [default: gsm8k]")
    ] = None,
    measure_on: Annotated[
        str | None,
        typer.Option(help="test, or validation to choose settings without seeing test rows. [default: test]"),
    ] = None,
    screen: Annotated[
        bool | None,
        typer.Option(
            "--screen", help="Further seeds only where a method beats the constant baseline at the first one."
        ),
    ] = None,
    keep_models: Annotated[bool | None, typer.Option("--keep-models", help="Keep the trained models.")] = None,
    preset: Annotated[Optional[str], typer.Option(help="Settings per task to start from: paper.")] = None,  # noqa: UP045
    study: Annotated[
        str | None,
        typer.Option(help="A study of the paper: table1 | table2 | table5 | figure4 | figure5 | figure6 | d3."),
    ] = None,
    plan_file: Annotated[
        Path | None, typer.Option("--plan", help="YAML file with the plan; flags override it.", dir_okay=False)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Runs at the same time, each in a process of its own.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Threads of each. [default: OMP_NUM_THREADS, or the cores that may be used shared out]"
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="List the runs with about how long each takes, measured on a few rows, and make none."
        ),
    ] = False,
    *,
    given: dict[str, Any],
) -> None:
    r"""Compare methods on equal data and steps: a grid of runs, seeds, baselines, tuning on validation rows.

    `predgen compare --tasks sst2,sick --data-dir DIR --methods predictor,generator,predgen --seeds 0,1,2 --out EXP`

    `predgen compare --data my.csv --prompt 'Review: {text}\nScore:' --target score --kind regression --out EXP`

    `predgen compare --data my.csv --prompt '{text}' --target mood:classification --target stars:regression --out EXP` (one model
    of all targets against one for each)

    `predgen compare --plan plan.yaml --out EXP --workers 2`, then `predgen report EXP`
    """
    if isinstance(given.get("target"), list) and (len(given["target"]) > 1 or ":" in given["target"][0]):
        others = {
            "--tasks": tasks, "--losses": losses, "--sampling": samplings, "--directors": directors, "--tune": tune,
            "--trials": trials, "--train-tokens": train_tokens, "--measure-on": measure_on, "--screen": screen,
            "--keep-models": keep_models, "--preset": preset, "--study": study, "--plan": plan_file, "--dry-run": dry_run or None,
        }  # fmt: skip
        if asked := [name for name, value in others.items() if value]:
            raise ConfigError(
                f"{asked[0]} does not go with several targets: there, each method's model of all targets is compared with one for"
                " each. Leave it out, or name one target."
            )
        how = {"methods": _listed(methods), "seeds": _seeds(seeds), "baselines": _listed(baselines)}
        _share(
            out,
            {**given, **({"peft": pefts} if pefts else {})},
            {**how, "test_data": test_data, "scored_rows": scored_rows},
        )
        return
    varied = {"peft": pefts, "loss": losses, "sampling": samplings, "director": directors}
    flags = {
        "tasks": _listed(tasks),
        "methods": _listed(methods),
        "vary": {name: _values(name, text) for name, text in varied.items() if text},
        "baselines": _listed(baselines),
        "seeds": _seeds(seeds),
        "tune": dict(_tuned(text) for text in tune or ()),
        "trials": trials,
        "train_tokens": train_tokens,
        "scored_rows": scored_rows,
        "test_data": test_data,
        "train_on": train_on,
        "measure_on": measure_on,
        "screen": screen,
        "keep_models": keep_models,
        "preset": preset,
    }
    plan = _plan(plan_file, study, {k: v for k, v in flags.items() if v not in (None, {})}, given)
    from predgen.terminal import PlainConsole

    console = PlainConsole(stderr=True)
    from predgen.compare.runner import Experiment
    from predgen.compare.workers import LocalWorkers

    experiment = Experiment(plan, out, LocalWorkers(workers, threads), console)
    if dry_run:
        _list(plan, experiment)
        return
    records = experiment.run()
    bad = [record for record in records if record.status == "failed"]
    _show(out)
    console.print(
        f"{len(records)} runs, {len(bad)} failed. Next:\n  predgen report {in_line(str(out))}", soft_wrap=True
    )
    if bad:
        raise typer.Exit(1)


def _share(out: Path, given: Mapping[str, Any], how: Mapping[str, Any]) -> None:
    """Compare a model of several targets with one for each."""
    from predgen.compare.sharing import Sharing, SharingPlan
    from predgen.terminal import PlainConsole
    from predgen.threads import use_available_threads

    use_available_threads()
    settings = {name: value for name, value in given.items() if name != "target"} | {"targets": given["target"]}
    known: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in how.items() if v is not None}
    records = Sharing(SharingPlan(settings, **known), out, PlainConsole(stderr=True)).run()
    _show(out)
    said = f"{len(records)} records. Next:\n  predgen report {in_line(str(out))}"
    PlainConsole(stderr=True).print(said, soft_wrap=True)


def _seeds(text: str | None) -> list[int] | None:
    """Seeds from a comma-separated list."""
    return None if text is None else [_number(seed, "seeds") for seed in _listed(text) or []]


def _plan(plan_file: Path | None, study: str | None, flags: Mapping[str, Any], given: Mapping[str, Any]) -> "Plan":
    """Bring study, plan file and flags together; flags that name variants replace those of the file."""
    from predgen.compare.plan_file import plan_from, plan_of_study

    sources = [plan_of_study(study)] if study else []
    if plan_file is not None:
        sources.append(read_config(plan_file))
    if {"methods", "vary"} & set(flags):
        sources = [
            {k: v for k, v in s.items() if k not in ("methods", "vary", "variants", "one_at_a_time")} for s in sources
        ]
    own = {name: value for name, value in given.items() if name in owned([registries.baselines])}
    shared = {name: value for name, value in given.items() if name not in own}
    return plan_from(*sources, flags, {"settings": shared} if shared else {}, {"baseline_settings": own} if own else {})


def _listed(text: str | None) -> list[str] | None:
    """The parts of a comma-separated list; "none" is the empty list."""
    if text is None:
        return None
    return [] if text.strip() == "none" else [part.strip() for part in text.split(",") if part.strip()]


def _tuned(text: str) -> tuple[str, list[Any]]:
    """A setting and its values from SETTING=A,B,C; `lr` stands for the learning rate."""
    name, found, values = text.partition("=")
    if not found or not values:
        raise ConfigError(f"--tune {text!r} must look like SETTING=A,B,C, such as learning_rate=1e-3,2e-3.")
    name = name.strip().replace("-", "_")
    name = "learning_rate" if name == "lr" else name
    return name, _values(name, values)


def _values(name: str, text: str) -> list[Any]:
    """Values of a setting, in its own type.

    Raises:
        ConfigError: If the setting is unknown, or a value is not of its type.
    """
    kinds = {name: listed.setting.type for name, listed in all_settings().items()}
    if name not in kinds:
        raise ConfigError(f"unknown setting {name!r}.{near_matches(name, kinds)}")
    return [_value(name, kinds[name], part) for part in _listed(text) or []]


def _value(name: str, kind: Any, text: str) -> Any:  # noqa: ANN401
    """One value of a setting."""
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"`{name}` is {text!r}, but must be true or false.")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"`{name}` is {text!r}, but must be of type {kind.__name__}.") from None


def _number(text: str, name: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"`{name}` has {text!r}; give whole numbers, such as 0,1,2.") from None


def _show(out: Path) -> None:
    """Print the figures of all methods, and which differences are shown."""
    from predgen.findings.make import findings
    from predgen.findings.tables import BY_PROPER_SCORES, differences_table, headline_tables
    from predgen.terminal import PlainConsole

    found = findings(out)
    shown = {"Differences": found.differences}
    if found.proper_differences:
        shown[BY_PROPER_SCORES] = found.proper_differences
    for table in [*headline_tables(found), *(differences_table(found, own, title) for title, own in shown.items())]:
        PlainConsole().print(table.rich())


def _list(plan: "Plan", experiment: "Experiment") -> None:
    """Print the runs of a plan with about how long each takes; without times where its rows or base model are not here."""
    from predgen.bases.find import require_at_hand
    from predgen.compare.expected import time_in_words, total_in_words
    from predgen.terminal import PlainConsole

    try:
        for cell in plan.all_cells():
            require_at_hand(cell.config().model)
        times = experiment.expected()
    except PredgenError as error:
        PlainConsole(stderr=True).print(f"Times are not known: {error}", soft_wrap=True)
        for cell in plan.all_cells():
            say(cell.id)
        return
    for cell, seconds in times:
        say(f"{cell.id}  {time_in_words(seconds)}")
    PlainConsole(stderr=True).print(total_in_words(times), soft_wrap=True)

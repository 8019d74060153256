"""Tables of the paper's studies: our figures, and the paper's beside them or apart."""

from collections.abc import Mapping, Sequence

from predgen.findings.base import Findings, VariantFacts
from predgen.findings.tables import ABSENT, Table, cell
from predgen.paper.published import CITATION, NO_TELLING, Published, Study, comparable, paper_model, study

_METRICS = {"table2": ("mse", "mae"), "figure5": ("mse", "mae")}
"""Studies that print more than the primary metric."""

_PERCENT = ("accuracy", "exact_match")


def study_tables(found: Findings) -> list[Table]:
    """Return the tables of the study that an experiment is the analogue of.

    The paper's numbers stand in our table only for the same base model, PEFT method, method and data set. All its numbers
    follow in a table of their own, with what its text says and where it contradicts itself.

    Args:
        found: Findings; `study` names the study.

    Returns:
        Our table, and the paper's; nothing without a study.
    """
    if found.study is None:
        return []
    paper = study(found.study)
    return [_ours(found, paper), _theirs(found, paper)]


def _ours(found: Findings, paper: Study) -> Table:
    """Variants x tasks; numbers of the paper in rows below the variant that they match."""
    wanted = _METRICS.get(paper.name, ())
    varied = [paper.setting] if paper.setting != "method" else []
    rows = []
    for variant in found.variants:
        told = [str(variant.settings.get(name, ABSENT)) for name in varied]
        rows.append([variant.name, *told, *(cell(found, task, variant, wanted) for task in found.tasks)])
        matched = [_matching(paper, variant, task) for task in found.tasks]
        if any(matched):
            rows.append([f"the paper's {variant.name}", *told, *map(_written, matched)])
    metrics = {e.task: [name for name in wanted if name in e.metrics] or [e.metric] for e in found.entries}
    columns = ["variant", *varied, *(f"{task}, {' / '.join(metrics[task])}" for task in found.tasks)]
    return Table(f"{paper.title}: measured here, {found.split} rows", columns, rows, (_on_models(found),))


def _matching(paper: Study, variant: VariantFacts, task: str) -> list[Published]:
    """Numbers of the paper that may stand below a variant's."""
    s = variant.settings
    if variant.derived_from is not None or not {"model", "peft", "method"} <= set(s):
        return []
    return comparable(paper, model=s["model"], peft=s["peft"], method=s["method"], task=task)


def _written(numbers: Sequence[Published]) -> str:
    """Numbers of one cell as printed, percent as shares."""
    values = [f"{p.value / 100:.4f}" if p.metric in _PERCENT else f"{p.value:g}" for p in numbers]
    doubt = next((p.doubt for p in numbers if p.doubt), "")
    return " / ".join(values) + (f" ({doubt})" if doubt else "") or ABSENT


def _on_models(found: Findings) -> str:
    """Say whether the paper used the base models."""
    known: Mapping[str, str | None] = {model: paper_model(model) for model in found.models}
    told = [
        f"{model} is the paper's {name}" if name else f"{model} is not one of the paper's"
        for model, name in known.items()
    ]
    return f"Base models: {'; '.join(told)}. Numbers of the paper stand in this table only for the same base model and PEFT method."


def _theirs(found: Findings, paper: Study) -> Table:
    """All numbers of the paper, by model, PEFT method and method or setting; percent as printed."""
    datasets = list(dict.fromkeys(p.dataset for p in paper.published))
    groups: dict[tuple[str, str, str], dict[str, list[Published]]] = {}
    for p in paper.published:
        setting = ", ".join(f"{name} {value}" for name, value in p.setting.items())
        key = (p.model, p.peft, setting or p.method)
        groups.setdefault(key, {}).setdefault(p.dataset, []).append(p)
    rows = [
        [
            f"{model} / {peft} / {what}",
            *(" / ".join(f"{p.value:g}" for p in own.get(dataset, ())) or ABSENT for dataset in datasets),
        ]
        for (model, peft, what), own in groups.items()
    ]
    notes = [*(f"The paper: “{statement}”" for statement in paper.statements), *paper.contradictions]
    if any(p.model == NO_TELLING for p in paper.published):
        notes.append("Base model and PEFT method are not stated, so these numbers can stand beside none of ours.")
    title = f"{paper.title}: as printed in {CITATION}, other base models than here"
    if any(paper_model(model) for model in found.models):
        title = f"{paper.title}: as printed in {CITATION}, all base models"
    return Table(title, ["base model / PEFT / method", *datasets], rows, tuple(notes))

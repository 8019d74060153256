"""The numbers that the PredGen paper publishes, as stated, with what contradicts itself in them named.

Source: Kowsher et al. (2025), "Predicting Through Generation: Why Generation Is Better for Prediction", arXiv:2502.17817,
Tables 1, 2 and 5, section 6, appendices A and D. Figures 4 to 6 are known by what the text says of them.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from predgen import registries
from predgen.errors import ConfigError
from predgen.near_names import near_matches

COMPARED = ("predictor", "generator", "predgen")
"""The methods that the paper compares, in the order of its tables."""

CITATION = "Kowsher et al. (2025), arXiv:2502.17817"
NO_TELLING = "not stated"

_DATASETS: Mapping[str, tuple[str, ...]] = {  # the paper's name -> our tasks
    "BoolQ": ("boolq",),
    "PIQA": ("piqa",),
    "SIQA": ("siqa",),
    "HellaSwag": ("hellaswag",),
    "WinoGrande": ("winogrande",),
    "ARC-e": ("arc_easy",),
    "ARC-c": ("arc_challenge",),
    "OBQA": ("obqa",),
    "WASSA": ("wassa",),
    "SICK": ("sick",),
    "STSB": ("stsb",),
    "LCP": ("lcp_single", "lcp_multi"),
    "CRP": ("clear",),
    "Humicroedit": ("humicroedit",),
    "MultiArith": ("multiarith",),
    "GSM8K": ("gsm8k",),
    "AddSub": ("addsub",),
    "SingleEq": ("singleeq",),
    "SVAMP": ("svamp",),
}
_PEFT = {
    "LoRA": "lora",
    "AdaLoRA": "adalora",
    "RoCoFT": "rocoft",
    "DoRA": "dora",
    "MELoRA": "melora",
    "LoRA-FA": "lora_fa",
    "MoSLoRA": "moslora",
    "Propulsion": "propulsion",
}
_MODELS = {  # the paper's name -> how a model's id names it; no Llama 2 has 8 billion parameters
    "Llama2-7B": r"llama-?2-7b",
    "Llama2-13B": r"llama-?2-13b",
    "Mistral-7B": r"mistral-7b",
    "Gemma2-9B": r"gemma-?2-9b",
    "DeepSeek-R1-8B": r"deepseek-r1-distill-llama-8b",
}
_ROUNDING = 0.0005
"""Half a unit of the last digit of Table 2."""


@dataclass(frozen=True, slots=True)
class Published:
    """A number of the paper.

    Attributes:
        dataset: The paper's name of the data set.
        tasks: Our tasks that it can be.
        metric: "accuracy", "exact_match", "mse"; in Table 2 "first" and "second", for which is which is in doubt.
        value: As printed: accuracy and exact match in percent, errors on a scale that is not stated.
        model: The paper's name of the base model, or "not stated".
        peft: Our name of the PEFT method, or "not stated".
        method: Our name of the method.
        setting: Our settings that the number belongs to, beyond the method.
        doubt: What is wrong or unclear with it; empty if nothing is.
    """

    dataset: str
    tasks: tuple[str, ...]
    metric: str
    value: float
    model: str = NO_TELLING
    peft: str = NO_TELLING
    method: str = "predgen"
    setting: Mapping[str, Any] = field(default_factory=dict)
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Study:
    """A table or figure of the paper.

    Attributes:
        name: "table1", "table2", "table5", "figure4", "figure5", "figure6" or "d3".
        title: What it is about.
        setting: Our setting that varies, for a figure; "method" for a table.
        published: Its numbers, as far as they are known.
        statements: What the paper's text says of it, word for word.
        contradictions: Where it contradicts itself, or what is known otherwise.
    """

    name: str
    title: str
    setting: str
    published: tuple[Published, ...]
    statements: tuple[str, ...]
    contradictions: tuple[str, ...]


def study(name: str) -> Study:
    """Return a study of the paper with its numbers.

    Raises:
        ConfigError: If there is no such study.

    Example:
        >>> [p.value for p in study("figure6").published if p.dataset == "BoolQ"]
        [73.62, 62.63]
    """
    if name not in STUDIES:
        raise ConfigError(f"unknown study {name!r}.{near_matches(name, STUDIES)} Known: {', '.join(STUDIES)}.")
    found: Study = _MADE[name]()
    return found


def paper_model(model: str) -> str | None:
    """Return the paper's name of a base model; None where it did not use it.

    Args:
        model: Hub id or folder, as in `RunConfig.model`. The paper does not say which release or instruction tuning it
            used, so "mistralai/Mistral-7B-v0.3" counts as its "Mistral-7B".

    Example:
        >>> paper_model("meta-llama/Llama-2-7b-hf"), paper_model("embedded")
        ('Llama2-7B', None)
    """
    return next((name for name, pattern in _MODELS.items() if re.search(pattern, model.lower())), None)


def comparable(found: Study, *, model: str, peft: str, method: str, task: str) -> list[Published]:
    """Return the paper's numbers that may stand beside ours: same base model, PEFT method, method and data set.

    Args:
        found: The study.
        model: Our base model.
        peft: Our PEFT method.
        method: Our method.
        task: Our task.
    """
    name = paper_model(model)
    return [p for p in found.published if (p.model, p.peft, p.method) == (name, peft, method) and task in p.tasks]


def readings(first: float, second: float, width: float | None) -> list[str]:
    """Say which of two figures can be the MSE and which the MAE of the same errors.

    MAE^2 <= MSE always, and MSE <= MAE * width where no error is greater than the width of the scale.

    Args:
        first: First figure of a cell of Table 2.
        second: Second figure.
        width: Greatest minus least target; None where the scale has no ends.

    Returns:
        Those of "MSE/MAE" and "MAE/MSE" that are possible, give or take the rounding; none where neither is.

    Example:
        >>> readings(0.088, 0.022, 1.0), readings(0.900, 0.105, 1.0)
        (['MAE/MSE'], [])
    """

    def possible(mse: float, mae: float) -> bool:
        is_bounded = width is None or mse - _ROUNDING <= (mae + _ROUNDING) * width
        return max(0.0, mae - _ROUNDING) ** 2 <= mse + _ROUNDING and is_bounded

    return [name for name, pair in (("MSE/MAE", (first, second)), ("MAE/MSE", (second, first))) if possible(*pair)]


def _rows(file: str) -> list[dict[str, str]]:
    """Rows of a table of the paper."""
    text = resources.files("predgen").joinpath("assets/paper", file).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _cells(rows: Sequence[Mapping[str, str]], metric: str) -> Iterator[Published]:
    """Yield the cells of Table 1 or 5."""
    for row in rows:
        for dataset in (column for column in row if column in _DATASETS):
            yield Published(
                dataset=dataset,
                tasks=_DATASETS[dataset],
                metric=metric,
                value=float(row[dataset]),
                model=row["model"],
                peft=_PEFT[row["peft"]],
                method=row["method"].lower(),
            )


def _pairs(rows: Sequence[Mapping[str, str]]) -> Iterator[Published]:
    """Yield both figures of each cell of Table 2."""
    for row in rows:
        for dataset in dict.fromkeys(column.split("_")[0] for column in row if "_" in column):
            if dataset not in _DATASETS:
                continue
            values = {place: float(row[f"{dataset}_{place}"]) for place in ("first", "second")}
            scale = registries.tasks.get(_DATASETS[dataset][0]).scale
            possible = readings(values["first"], values["second"], scale[1] - scale[0] if scale else None)
            doubt = (
                f"possible as {' and as '.join(possible)}" if possible else "possible neither as MSE/MAE nor as MAE/MSE"
            )
            for place, value in values.items():
                yield Published(
                    dataset=dataset,
                    tasks=_DATASETS[dataset],
                    metric=place,
                    value=value,
                    model=row["model"],
                    peft=_PEFT[row["peft"]],
                    method=row["method"].lower(),
                    doubt=doubt,
                )


def _wrong_averages(rows: Sequence[Mapping[str, str]], suffix: str, tolerance: float) -> Iterator[str]:
    """Yield averages that are not the mean of their cells."""
    for row in rows:
        values = [float(row[name]) for name in row if name.removesuffix(suffix) in _DATASETS and name.endswith(suffix)]
        told, mean = float(row[f"Avg.{suffix}"]), sum(values) / len(values)
        if abs(told - mean) > tolerance:
            where = f"{row['model']} {row['peft']} {row['method']}{suffix.replace('_', ', ')}"
            yield f"The average of {where} is printed as {told:g}; its cells have the mean {mean:.4g}."


_NO_8B = "There is no Llama 2 of 8 billion parameters; which model 'Llama2-8B' is, is not stated."
_CELLS = (
    "A cell holds two figures called MSE and MAE. Some can only be MAE/MSE (PredGen's WASSA and LCP), some only MSE/MAE"
    " (Predictor's SICK, CRP and Humicroedit), some neither. The scale of the targets is not stated."
)


def _table1() -> Study:
    rows = _rows("table1_classification.csv")
    return Study(
        "table1",
        "Accuracy on eight multiple-choice tasks, in percent",
        "method",
        tuple(_cells(rows, "accuracy")),
        ("PredGen consistently outperforms both the Predictor and Generator models across all tasks.",),
        (_NO_8B, *_ties(rows), *_wrong_averages(rows, "", 0.02)),
    )


def _ties(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield cells of Table 1 where PredGen is not above both others, as the text says it is everywhere."""
    for start in range(0, len(rows), 3):
        predictor, generator, predgen = rows[start : start + 3]
        for dataset in (column for column in predgen if column in _DATASETS):
            best = max(float(predictor[dataset]), float(generator[dataset]))
            if float(predgen[dataset]) <= best:
                where = f"{predgen['model']} {predgen['peft']} {dataset}"
                yield f"'Across all tasks' does not hold for {where}: PredGen {predgen[dataset]}, the better other {best:g}."


def _table2() -> Study:
    rows = _rows("table2_regression.csv")
    averages = [text for suffix in ("_first", "_second") for text in _wrong_averages(rows, suffix, 0.002)]
    return Study(
        "table2",
        "Errors on six regression tasks, two figures a cell",
        "method",
        tuple(_pairs(rows)),
        ("PredGen consistently outperforms both the Predictor and Generator models in most tasks.",),
        (_CELLS, _NO_8B, "Table 2 calls the readability data CRP, Table 3 CLEAR.", *averages),
    )


def _table5() -> Study:
    rows = _rows("table5_math.csv")
    odd = "Predictor on SingleEq with Mistral-7B and Propulsion is printed as 88.21; its other cells are below 6."
    return Study(
        "table5",
        "Exact match on five sets of word problems, in percent",
        "method",
        tuple(_cells(rows, "exact_match")),
        ("PredGen consistently achieves higher accuracy across all benchmarks",),
        (odd, *_wrong_averages(rows, "", 0.02)),
    )


def _figure4() -> Study:
    return Study(
        "figure4",
        "Optimizer steps until the sampling probability is 1 (max_steps_for_sampling), on MultiArith",
        "max_steps_for_sampling",
        (),
        (
            "If the transition happens too quickly (e.g., max_steps_for_sampling = 50 or 100), the model receives too few"
            " reference tokens, leading to unstable predictions.",
            "On the other hand, if the transition is too slow (e.g., max_steps_for_sampling = 7000), the model remains overly"
            " dependent on reference tokens and struggles during inference.",
            "The best results occur when max_steps_for_sampling = 1000",
        ),
        (
            "The text gives no accuracies, no base model and no PEFT method.",
            "Table 3 uses 500 for most tasks, not the 1000 that is best here.",
        ),
    )


def _figure5() -> Study:
    doubt = "said to be lower for token-level sampling, but the second figure is the higher one"
    told = {"STSB": (0.590, 0.599), "LCP": (0.062, 0.075)}
    return Study(
        "figure5",
        "Sequence-level against token-level sampling, MSE on six regression tasks",
        "sampling",
        tuple(
            Published(dataset, _DATASETS[dataset], "mse", value, setting={"sampling": how}, doubt=doubt)
            for dataset, values in told.items()
            for how, value in zip(("sequence", "token"), values, strict=True)
        ),
        (
            "We observe that Token-Level Sampling consistently achieves slightly lower MSE across most datasets",
            "on STSB, the MSE decreases from 0.590 to 0.599, and on LCP, it improves from 0.062 to 0.075",
        ),
        (
            "Both 'improvements' are increases of an error: which figure belongs to which kind of sampling is in doubt.",
            "The text gives two of the six data sets, no base model and no PEFT method.",
        ),
    )


def _figure6() -> Study:
    told = {
        "wdal": {"HellaSwag": 92.64, "WinoGrande": 83.85, "BoolQ": 73.62},
        "multiplicative": {"HellaSwag": 69.48, "BoolQ": 62.63},
    }
    return Study(
        "figure6",
        "Four losses, accuracy in percent",
        "loss",
        tuple(
            Published(dataset, _DATASETS[dataset], "accuracy", value, setting={"loss": loss})
            for loss, values in told.items()
            for dataset, value in values.items()
        ),
        (
            "WDAL consistently performs the best, achieving the highest accuracy across all datasets, including HellaSwag"
            " (92.64%), WinoGrande (83.85%), and BoolQ (73.62%).",
            "The Only Task Adapter Loss performs the worst",
            "The Multiplicative Loss is unstable, especially on HellaSwag (69.48%) and BoolQ (62.63%)",
            "The Adaptive Loss is more stable but still lags behind WDAL",
        ),
        (
            "As stated, WDAL is the product of both losses, rewritten (appendix A.1): it is the Multiplicative Loss. The gap can"
            " only come from another form of WDAL, such as that of the authors' code (our `wdal_shifted`).",
            "The text gives three of the six data sets, no base model and no PEFT method. It does not define the Adaptive Loss.",
            "HellaSwag and BoolQ are the figures of Llama2-7B with RoCoFT in Table 1, where WinoGrande is 83.83, not 83.85.",
        ),
    )


def _d3() -> Study:
    return Study(
        "d3",
        "Weights of the ordered penalty",
        "ordered_last_weight",
        (),
        (
            "In all cases, hyperparameters (e.g., learning rate, penalty coefficients, and scheduling parameters for training)"
            " are tuned to optimize final validation performance",
        ),
        ("Neither the values that were tried nor what they gave is published.",),
    )


_MADE = {
    "table1": _table1,
    "table2": _table2,
    "table5": _table5,
    "figure4": _figure4,
    "figure5": _figure5,
    "figure6": _figure6,
    "d3": _d3,
}
STUDIES = tuple(_MADE)

"""How far explanations agree with LIME and SHAP: rank correlations over the words of some rows, for docs/explain.md.

A small base is trained on generated opinions, or a run of `predgen demo` is taken, which has learned from the like; the words of ten
test rows are then ranked by `predgen.explanation`, by LIME and by SHAP, each asked about the predicted label. Run by hand, some minutes
on one core: `python tools/explanation_agreement.py`, or `... --run demo-runs/label-predgen --samples 300`.
"""

import argparse
import json
from collections.abc import Sequence

import numpy as np
import shap
from lime.lime_text import LimeTextExplainer
from scipy.stats import bootstrap, spearmanr

from predgen.config import RunConfig
from predgen.demo.opinions import make_opinions
from predgen.explanation.explain import Explanation, explain
from predgen.inference.trained import TrainedModel, load
from predgen.training.run import train

SPLIT = r"\W+"
N_TRAIN, N_ROWS = 400, 10


def trained_model(base: str) -> TrainedModel:
    """Train on generated opinions: label from text."""
    rows = make_opinions(N_TRAIN, 0, 0, seed=0)["train"]
    config = RunConfig(
        prompt="{text}\nVerdict:",
        target="label",
        kind="classification",
        model=base,
        batch_size=8,
        epochs=2.0,
        learning_rate=7e-4,
        peft="full",
    )
    return train(config, data=rows)


def own_values(one: Explanation) -> dict[int, float]:
    """Place of a word -> its drop; marks are left aside, as LIME and SHAP do."""
    text = one.example.fields["text"]
    return {
        found.part.start: found.drop
        for found in one.left_out
        if any(letter.isalnum() for letter in text[found.part.start : found.part.end])
    }


def probabilities(model: TrainedModel, texts: Sequence[str]) -> np.ndarray:
    """P(label), [rows, labels]."""
    return np.array([one.probabilities for one in model.predict([{"text": text} for text in texts])])


def lime_values(model: TrainedModel, text: str, place: int, samples: int) -> dict[int, float]:
    """Place of a word -> its weight in LIME's line through P(label); a word that is left out leaves nothing."""
    explainer = LimeTextExplainer(
        class_names=model.labels, split_expression=SPLIT, bow=False, mask_string="", random_state=0
    )
    told = explainer.explain_instance(
        text, lambda texts: probabilities(model, texts), labels=[place], num_features=100, num_samples=samples
    )
    words = told.domain_mapper.indexed_string
    return {int(words.string_position(feature)[0]): weight for feature, weight in told.as_map()[place]}


def shap_values(model: TrainedModel, text: str, place: int, samples: int) -> list[float]:
    """Shares of log P(label), word by word."""
    explainer = shap.Explainer(
        lambda texts: np.log(probabilities(model, list(texts))[:, place]), shap.maskers.Text(SPLIT)
    )
    told = explainer([text], max_evals=samples, silent=True)
    return [
        float(value)
        for token, value in zip(told.data[0], told.values[0], strict=True)
        if any(letter.isalnum() for letter in token)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="embedded", help="Base model to train.")
    parser.add_argument("--run", help="Folder of a model that is trained already, instead.")
    parser.add_argument(
        "--samples", type=int, default=1000, help="Most questions of LIME and of SHAP, each, about a row."
    )
    given = parser.parse_args()
    model = load(given.run) if given.run else trained_model(given.base)
    rows = make_opinions(0, 0, 100, seed=0)["test"][:N_ROWS]
    found: dict[str, list[float]] = {"lime": [], "shap": [], "lime_shap": [], "same_top_lime": [], "same_top_shap": []}
    for one in explain(model, rows):
        text, place = one.example.fields["text"], model.labels.index(str(one.answer))
        own = own_values(one)
        lime = lime_values(model, text, place, given.samples)
        other = dict(zip(own, shap_values(model, text, place, given.samples), strict=True))
        order = sorted(own)
        values = [np.array([by[start] for start in order]) for by in (own, lime, other)]
        found["lime"].append(spearmanr(values[0], values[1]).statistic)
        found["shap"].append(spearmanr(values[0], values[2]).statistic)
        found["lime_shap"].append(spearmanr(values[1], values[2]).statistic)
        tops = [int(np.argmax(np.abs(value))) for value in values]
        found["same_top_lime"].append(float(tops[0] == tops[1]))
        found["same_top_shap"].append(float(tops[0] == tops[2]))
        print(
            f"{text!r} -> {one.answer}: lime {found['lime'][-1]:.2f}, shap {found['shap'][-1]:.2f}, {len(order)} words"
        )
    for name, per_row in found.items():
        ends = bootstrap((per_row,), np.mean, random_state=0, method="percentile").confidence_interval
        print(json.dumps({name: [round(float(x), 3) for x in (np.mean(per_row), ends.low, ends.high)]}))


if __name__ == "__main__":
    main()

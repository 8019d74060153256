"""The usual way, at equal cost: a pretrained encoder with a classification or regression head, fine-tuned whole.

prompt texts -> transformers' sequence classifier -> its Trainer, with the run's rows, passes, batches and schedule -> the
checkpoint that is best on the validation rows
"""

import fnmatch
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    set_seed,
)
from transformers.utils import logging

from predgen.baselines.base import Baseline, labelled, rows_as_weighed, targets_of, weights_of
from predgen.baselines.settings import EncoderSettings
from predgen.bases.find import find_base
from predgen.config import RunConfig
from predgen.core import Example, Prediction
from predgen.engine.base_model import without_progress_bars
from predgen.errors import ModelError
from predgen.metrics.base import PRIMARY
from predgen.metrics.measure import measure
from predgen.precision import with_precision
from predgen.training.arguments import trainer_arguments
from predgen.training.callbacks import EvaluateAtEnd
from predgen.training.pace import Pace, characters, middle_rows, seconds_of
from predgen.training.prepare import class_labels, fit_scale
from predgen.training.rows import TrainingData

_PREDICTED_AT_ONCE = 32  # rows

Encodings = list[dict[str, Any]]


class FineTunedEncoder(Baseline):
    """A model of `AutoModelForSequenceClassification`, of which all weights train; numbers by squared error, standardised.

    It reads the prompt's text, and takes as many steps as the methods do: passes, batches, schedule and seed are the run's,
    the learning rate is its own.

    Args:
        settings: Which model, and its rate.

    Raises:
        ModelError: If the model is missing, damaged, or no model that classifies texts.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__()
        self.settings = settings

    def _prepare(self, config: RunConfig, data: TrainingData) -> None:
        """Load the model, with a new head for the rows' labels or numbers."""
        self.labels, self._prompt = class_labels(data.task, data.train), data.task.prompt
        self._scale = fit_scale(config, data.task, data.train)
        set_seed(config.seed)  # before the head exists: its random start belongs to the seed
        self._model, self._tokenizer = _loaded(self.settings.encoder_model, len(self.labels) or 1)
        self._longest = min(config.max_length, _context(self._model, self._tokenizer))

    def fit(self, config: RunConfig, data: TrainingData) -> None:
        self._prepare(config, data)
        with tempfile.TemporaryDirectory(prefix="predgen-") as folder:
            self._trainer = self._made(with_precision(config)[0], data, Path(folder))
            self._trainer.train()
        self.facts = {
            "parameters": self._model.num_parameters(),
            "trainable_parameters": self._model.num_parameters(only_trainable=True),
            "optimizer_steps": self._trainer.state.global_step,
            "best_step": self._trainer.state.best_global_step,
            "train_rows": len(data.train),
        }

    def _made(self, config: RunConfig, data: TrainingData, folder: Path) -> Trainer:
        """Transformers' Trainer with the run's rows and steps."""
        metric, rows = PRIMARY[data.task.kind] if data.validation else None, rows_as_weighed(config, data)
        weights = weights_of(rows)
        arguments = trainer_arguments(
            config,
            folder,
            metric,
            learning_rate=self.settings.encoder_learning_rate,
            per_device_eval_batch_size=_PREDICTED_AT_ONCE,
            load_best_model_at_end=metric is not None,
            save_total_limit=1,
            save_only_model=True,
        )
        trainer = Trainer(
            self._model,
            arguments,
            train_dataset=self._encoded(rows, with_target=True, weights=weights),
            eval_dataset=self._encoded(data.validation, with_target=True) or None,
            data_collator=DataCollatorWithPadding(self._tokenizer),
            compute_loss_func=None if weights is None else partial(_weighed_loss, is_number=not self.labels),
            compute_metrics=partial(self._figure, str(metric), targets_of(data.validation)),
            callbacks=[EvaluateAtEnd()] if config.eval_steps and metric else None,
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def predict(self, rows: Sequence[Example]) -> list[Prediction]:
        if not rows:
            return []
        encoded = self._encoded(rows)
        order = sorted(range(len(rows)), key=lambda i: len(encoded[i]["input_ids"]))
        found = self._trainer.predict([encoded[i] for i in order])  # type: ignore[arg-type]  # it takes lists
        outputs = np.empty_like(found.predictions)
        outputs[order] = found.predictions
        return self._predictions(outputs)

    def pace(self, config: RunConfig, data: TrainingData) -> Pace | None:
        self._prepare(config, data)
        model = self._model.train()
        rows = middle_rows(data.train, 4)
        batch = DataCollatorWithPadding(self._tokenizer)(self._encoded(rows, with_target=True))
        n_characters = characters(data.task, rows)

        def step() -> None:
            model(**batch).loss.backward()
            model.zero_grad()

        train_s = seconds_of(step)
        with torch.inference_mode():
            return Pace(train_s / n_characters, seconds_of(lambda: model(**batch)) / n_characters)

    def _predictions(self, outputs: Any) -> list[Prediction]:  # noqa: ANN401  (numpy, N x K or N x 1)
        """The head's outputs as labels or numbers."""
        if not self.labels:
            return [Prediction(self._scale.of_head(float(output))[0]) for output in outputs[:, 0]]
        return labelled(self.labels, torch.from_numpy(outputs).double().softmax(dim=1).tolist())

    def _figure(self, metric: str, targets: Sequence[Any], found: EvalPrediction) -> dict[str, float]:
        """The metric that selects, on validation rows, which come in their order."""
        return measure([metric], targets, [p.value for p in self._predictions(found.predictions)])

    def _encoded(
        self,
        rows: Sequence[Example],
        *,
        with_target: bool = False,
        weights: npt.NDArray[np.float64] | None = None,
    ) -> Encodings:
        """Token ids of the prompts; targets as class numbers, or standardised, and beside them the rows' weights, if any."""
        texts = [self._prompt.format_map(row.fields) for row in rows]
        found = [self._tokenizer(text, truncation=True, max_length=self._longest) for text in texts]
        encoded: Encodings = [{name: list(ids) for name, ids in one.items()} for one in found]
        if with_target:
            for one, target in zip(encoded, targets_of(rows), strict=True):
                one["labels"] = self.labels.index(target) if self.labels else self._scale.standardised(float(target))
        if weights is not None:
            for one, weight in zip(encoded, weights.tolist(), strict=True):
                one["labels"] = [float(one["labels"]), weight]
        return encoded


def _weighed_loss(
    outputs: Any,  # noqa: ANN401  (transformers' outputs)
    labels: Float[Tensor, "B 2"] | Tensor,
    num_items_in_batch: int | Tensor | None = None,
    *,
    is_number: bool,
) -> Float[Tensor, ""]:
    """Cross-entropy or squared error, rows by their weights.

    Args:
        outputs: Of a sequence classifier; `logits`, B x K, or B x 1 for numbers.
        labels: Each row's target and weight; of validation rows, which all weigh the same, the targets alone.
        num_items_in_batch: How many targets and weights the optimizer step has; None: this batch is all of it.
        is_number: Whether targets are numbers.
    """
    targets, weights = labels.unbind(1) if labels.ndim == 2 else (labels, torch.ones(len(labels), device=labels.device))
    if is_number:
        losses = functional.mse_loss(outputs.logits[:, 0], targets, reduction="none")
    else:
        losses = functional.cross_entropy(outputs.logits, targets.long(), reduction="none")
    n_rows = len(labels) if num_items_in_batch is None else num_items_in_batch / 2
    return (losses * weights).sum() / n_rows


def _loaded(name: str, n_outputs: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model with a new head, and its tokenizer; safetensors only, none of its code runs."""
    folder = find_base(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        kind = "regression" if n_outputs == 1 else "single_label_classification"
        with without_progress_bars(), _without_reports():
            found: Any = AutoModelForSequenceClassification.from_pretrained(
                folder,
                num_labels=n_outputs,
                problem_type=kind,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # another head
                output_loading_info=True,
            )
    except Exception as error:  # a damaged file makes transformers raise anything
        raise ModelError(
            f"`encoder_model` {name!r} in {str(folder)!r} cannot be loaded as a sequence classifier: {error}. Give a folder of"
            " transformers with safetensors, of a model that `AutoModelForSequenceClassification` knows."
        ) from error
    model: PreTrainedModel = found[0]
    # The head is new, and so is a pooling layer where the model was saved without one.
    body = [key for key in found[1]["missing_keys"] if key.startswith(f"{model.base_model_prefix}.")]
    if missing := [key for key in body if not fnmatch.fnmatch(key, "*pooler*")]:
        raise ModelError(f"`encoder_model` {name!r} lacks {len(missing)} tensors ({', '.join(sorted(missing)[:3])}).")
    if tokenizer.pad_token_id is None:  # many causal models have none; what stands under the mask never matters
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id  # causal models read the last token that is no padding
    tokenizer.padding_side = "right"  # encoders count positions from the first token, padding or not
    return model, tokenizer


@contextmanager
def _without_reports() -> Iterator[None]:
    """Keep transformers from reporting that the head is new, which it always is."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _context(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Longest input in tokens."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return min(tokenizer.model_max_length, positions or tokenizer.model_max_length)

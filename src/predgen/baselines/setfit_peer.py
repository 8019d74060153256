"""SetFit (Tunstall et al. 2022, arXiv:2209.11055), by the package of its authors: labels only.

texts -> pairs of rows with equal and with unequal labels -> the sentence encoder is tuned to tell them apart -> logistic
regression on its vectors

The parts are put together here from a folder with safetensors: `SetFitModel.from_pretrained` would load a pickled head.
"""

import tempfile
from collections.abc import Sequence
from typing import Any

from predgen.baselines.base import Baseline, labelled, rows_as_weighed, targets_of, texts_of, weights_of
from predgen.baselines.settings import SetFitSettings
from predgen.bases.find import find_base
from predgen.config import RunConfig
from predgen.core import Example, Prediction
from predgen.errors import ConfigError, ModelError
from predgen.training.prepare import class_labels
from predgen.training.rows import TrainingData


class SetFitPeer(Baseline):
    """SetFit on the prompts' fields. Pairs are its own unit: their number follows the rows, not the run's passes.

    Batch size, seed and, where they are given, the run's optimizer steps are the run's; all else is the package's own.

    Args:
        settings: Which encoder, its rate, and how many pairs.

    Raises:
        ConfigError: If rows have weights, which pairs of rows cannot have.
        ModelError: If the encoder is missing or cannot be loaded.
    """

    def __init__(self, settings: SetFitSettings) -> None:
        super().__init__()
        self.settings = settings

    def fit(self, config: RunConfig, data: TrainingData) -> None:
        from datasets import Dataset
        from setfit import Trainer, TrainingArguments

        if weights_of(rows_as_weighed(config, data)) is not None:
            raise ConfigError(
                "`baselines` has 'setfit', which learns from pairs of rows and knows no weights, but rows are weighted (`weight_column`"
                " or `class_weight`). Leave 'setfit' out, or the weights."
            )
        known = class_labels(data.task, data.train)
        self._model = _untrained(self.settings.setfit_model, config.max_length)
        targets = [known.index(target) for target in targets_of(data.train)]
        with tempfile.TemporaryDirectory(prefix="predgen-") as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                batch_size=config.batch_size,
                num_epochs=1,
                num_iterations=self.settings.setfit_iterations,
                max_steps=config.max_steps or -1,
                body_learning_rate=self.settings.setfit_learning_rate,
                seed=config.seed,
                report_to="none",
                save_strategy="no",
                show_progress_bar=False,
            )
            rows = Dataset.from_dict({"text": texts_of(data.train), "label": targets})
            trainer = Trainer(model=self._model, args=arguments, train_dataset=rows)
            trainer.st_trainer.args.dataloader_pin_memory = not arguments.use_cpu
            trainer.train()
        self.labels = tuple(known[int(place)] for place in self._model.model_head.classes_)
        weights = list(self._model.model_body.parameters())
        self.facts = {
            "parameters": sum(weight.numel() for weight in weights),
            "trainable_parameters": sum(weight.numel() for weight in weights if weight.requires_grad),
            "optimizer_steps": trainer.st_trainer.state.global_step,
            "train_rows": len(data.train),
        }

    def predict(self, rows: Sequence[Example]) -> list[Prediction]:
        return labelled(self.labels, self._model.predict_proba(texts_of(rows), as_numpy=True)) if rows else []


def _untrained(name: str, max_length: int) -> Any:  # noqa: ANN401  (a `SetFitModel`)
    """The encoder as the baseline `embedding` reads it, mean of the last states, with a linear model behind it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from setfit import SetFitModel
    from sklearn.linear_model import LogisticRegression

    folder = find_base(name)
    try:
        states = Transformer(str(folder), model_kwargs={"use_safetensors": True})
    except Exception as error:  # a damaged file makes transformers raise anything
        raise ModelError(
            f"`setfit_model` {name!r} in {str(folder)!r} cannot be loaded: {error}. It has to be a folder of transformers with"
            " safetensors."
        ) from error
    states.max_seq_length = min(states.max_seq_length or max_length, max_length)
    body = SentenceTransformer(modules=[states, Pooling(states.get_embedding_dimension()), Normalize()])
    return SetFitModel(model_body=body, model_head=LogisticRegression(max_iter=2000))

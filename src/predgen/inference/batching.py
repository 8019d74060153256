"""Encoded rows -> predictions, in batches of similar length, in the order of the rows."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from predgen.core import Prediction
from predgen.data.collate import Batch, collate
from predgen.data.encode import Encoded
from predgen.errors import ConfigError
from predgen.models.base import PredictionModel
from predgen.models.writer import WritingModel


def predict_encoded(
    model: PredictionModel,
    rows: Sequence[Encoded],
    *,
    pad_id: int,
    batch_size: int,
    predict: Callable[[Batch], list[Prediction]] | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> list[Prediction]:
    """Predict rows, sorted by prompt length so that batches waste little on padding.

    Args:
        model: Is put into eval state, and left as it was found.
        rows: Encoded rows; targets are not looked at.
        pad_id: Any valid token id.
        batch_size: Rows per batch.
        predict: Predicts a batch; None: `model.predict`.
        on_batch: Called with the number of rows after each batch.
    """
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].prompt_ids), i))
    predictions: dict[int, Prediction] = {}
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = collate([rows[i] for i in chosen], pad_id, model.backbone.device)
            for i, prediction in zip(chosen, (predict or model.predict)(batch), strict=True):
                flags = prediction.flags | ({"truncated"} if rows[i].is_truncated else set())
                predictions[i] = replace(prediction, flags=frozenset(flags))
            if on_batch is not None:
                on_batch(len(chosen))
    finally:
        model.train(was_training)
    return [predictions[i] for i in range(len(rows))]


def free_decoding(model: PredictionModel, tokenizer: Any) -> Callable[[Batch], list[Prediction]]:  # noqa: ANN401
    """Return a function that lets a model write without constraint and reads the text.

    Text that cannot be read gives a `Prediction` without a value and the flag "parse_failure": it is counted, and never
    becomes a guess.

    Raises:
        ConfigError: If the model does not predict by what it writes.
    """
    if not isinstance(model, WritingModel) or model.setup.method != "generator":
        raise ConfigError(f"`decode` 'free' reads what a generator wrote, but this is a {model.setup.method} model.")

    def predict(batch: Batch) -> list[Prediction]:
        texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in model.write_freely(batch).sequences()]
        values = [model.written_by.parse(text) for text in texts]
        flags = [frozenset() if value is not None else frozenset({"parse_failure"}) for value in values]
        return [Prediction(v, None, t, f) for v, t, f in zip(values, texts, flags, strict=True)]

    return predict

"""Encoded rows -> predictions, in batches of similar length, in the order of the rows."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from predgen.core import Prediction
from predgen.data.collate import collate
from predgen.data.encode import Encoded
from predgen.models.base import PredictionModel


def predict_encoded(
    model: PredictionModel,
    rows: Sequence[Encoded],
    *,
    pad_id: int,
    batch_size: int,
    on_batch: Callable[[int], None] | None = None,
) -> list[Prediction]:
    """Predict rows, sorted by prompt length so that batches waste little on padding.

    Args:
        model: Is put into eval state, and left as it was found.
        rows: Encoded rows; targets are not looked at.
        pad_id: Any valid token id.
        batch_size: Rows per batch.
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
            for i, prediction in zip(chosen, model.predict(batch), strict=True):
                flags = prediction.flags | ({"truncated"} if rows[i].is_truncated else set())
                predictions[i] = replace(prediction, flags=frozenset(flags))
            if on_batch is not None:
                on_batch(len(chosen))
    finally:
        model.train(was_training)
    return [predictions[i] for i in range(len(rows))]

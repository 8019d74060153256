"""Form "cloze": the text of each of a row's options is scored as the prompt's continuation; the likeliest is chosen.

P(option | prompt) = prod_t P(y_t | prompt, y_<t) over the option's tokens and the stop, full-vocabulary softmax, normalised
over the row's options. Log-probabilities are summed, not averaged over tokens: they are probabilities of the whole text.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from predgen.core import Prediction
from predgen.data.collate import Batch
from predgen.data.encode import Encoded
from predgen.inference.batching import predict_encoded
from predgen.models.base import PredictionModel
from predgen.models.writer import WritingModel
from predgen.sampling.feeding import feed_gold

_GROUP_ROWS = 64  # rows whose options are scored between two reports of progress


def predict_options(
    model: PredictionModel,
    rows: Sequence[Encoded],
    labels: tuple[str, ...],
    *,
    pad_id: int,
    batch_tokens: int,
    batch_size: int | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> list[Prediction]:
    """Choose among each row's options.

    Args:
        model: Writes answers; is put into eval state, and left as it was found.
        rows: Encoded rows with options; targets are not looked at.
        labels: Labels, the first ones of which name a row's options; the others get probability 0.
        pad_id: Any valid token id.
        batch_tokens: Most tokens to run per batch.
        batch_size: Options per batch; None: as many as `batch_tokens` allow.
        on_batch: Called with the number of rows after each group of rows.

    Returns:
        One prediction per row, in the rows' order.
    """
    assert isinstance(model, WritingModel), "make_setup allows form 'cloze' with the Generator only"
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].prompt_ids))
    found: dict[int, Prediction] = {}
    for start in range(0, len(order), _GROUP_ROWS):
        chosen = order[start : start + _GROUP_ROWS]
        pairs = [replace(rows[i], answer_ids=o, weighed=(False,) * len(o)) for i in chosen for o in rows[i].options]
        scored = iter(
            predict_encoded(
                model,
                pairs,
                pad_id=pad_id,
                batch_tokens=batch_tokens,
                batch_size=batch_size,
                predict=lambda batch: _scored(model, batch),
            )
        )
        for i in chosen:
            found[i] = _chosen([next(scored) for _ in rows[i].options], labels)
        if on_batch is not None:
            on_batch(len(chosen))
    return [found[i] for i in range(len(rows))]


@torch.no_grad()
def _scored(model: WritingModel, batch: Batch) -> list[Prediction]:
    """The log-probability of each row's answer, stop included, as a prediction's value."""
    reading = model.read(batch, feed_gold(batch))
    log_probs = -torch.where(reading.scored, reading.nll, 0.0).sum(dim=1)
    return [Prediction(value) for value in log_probs.tolist()]


def _chosen(options: Sequence[Prediction], labels: tuple[str, ...]) -> Prediction:
    """Normalise over one row's options."""
    scores = torch.tensor([option.value for option in options], dtype=torch.float64)
    probabilities = [*scores.softmax(dim=0).tolist(), *[0.0] * (len(labels) - len(options))]
    return Prediction(labels[int(scores.argmax())], tuple(probabilities), None, options[0].flags)

"""Options: multiple choice, where the text of each of a row's options is scored as the prompt's continuation.

P(option | prompt) = prod_t P(y_t | prompt, y_<t) over the option's tokens and the stop, full-vocabulary softmax, normalised
over the row's options. Log-probabilities are summed, not averaged over tokens: they are probabilities of the whole text.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch

from predgen.core import Decoding, Prediction
from predgen.data.collate import Batch
from predgen.data.encode import Encoded
from predgen.engine.backbone import eval_state
from predgen.engine.prompt_pass import SharedPrefix
from predgen.errors import ConfigError
from predgen.models.base import PLAIN
from predgen.models.generator import Generator
from predgen.sampling.feeding import feed_gold


class Options(Generator):
    """Trained as the Generator is, to write the right option; predicts the likeliest of a row's options.

    A row is as many questions as it has options, each with the option as its answer.
    """

    writes_own: ClassVar[bool] = False

    def questions(self, row: Encoded) -> list[Encoded]:
        return [replace(row, answer_ids=option, weighed=(False,) * len(option)) for option in row.options]

    def answer_of(self, predictions: Sequence[Prediction]) -> Prediction:
        """Normalise over one row's options; labels whose option the row lacks have probability 0."""
        labels = self.setup.labels
        scores = torch.tensor([option.value for option in predictions], dtype=torch.float64)
        known = (scores / self.temperature).softmax(dim=0).tolist()
        probabilities = (*known, *[0.0] * (len(labels) - len(predictions)))
        flags = predictions[0].flags
        return Prediction(labels[int(scores.argmax())], probabilities, flags=flags, temperature=self.temperature)

    def check(self, decoding: Decoding) -> None:
        if decoding != PLAIN:
            raise ConfigError(
                "method 'options' scores options and writes nothing: leave out `decode`, distributions and full-vocabulary"
                " probabilities."
            )

    @property
    def can_share_prefix(self) -> bool:
        return False  # prompt and option run in one pass

    @torch.no_grad()
    def predict(self, batch: Batch, decoding: Decoding = PLAIN, prefix: SharedPrefix | None = None) -> list[Prediction]:
        """Return the log-probability of each row's answer, stop included, as the prediction's value."""
        with eval_state(self.backbone.lm):
            reading = self.read(batch, feed_gold(batch))
        log_probs = -torch.where(reading.scored, reading.nll, 0.0).sum(dim=1)
        return [Prediction(value) for value in log_probs.tolist()]

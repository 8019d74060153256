"""A director of your own: it reads the last written token's state instead of the mean over all of them.

python examples/own_director.py
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from predgen import PredGenClassifier
from predgen.directors.base import Director, DirectorInput, DirectorSetup
from predgen.registries import directors


class LastState(Director):
    """Linear(H, K) on the state at the last content token; L_D is the cross-entropy, in nats."""

    kinds = ("classification",)

    def __init__(self, setup: DirectorSetup) -> None:
        super().__init__(setup)
        self.head = nn.Linear(setup.hidden_size, setup.n_classes)

    def loss(self, seen: DirectorInput) -> Float[Tensor, " B"]:
        return functional.cross_entropy(self.output(seen.states, seen.content), seen.target.long(), reduction="none")

    def output(self, states: Float[Tensor, "B T H"], content: Bool[Tensor, "B T"]) -> Float[Tensor, "B K"]:
        rows = torch.arange(len(states), device=states.device)
        logits: Tensor = self.head(states[rows, content.sum(dim=1) - 1])  # content is padded on the right
        return logits


def main() -> None:
    """Register the director, train with it, and predict."""
    directors.register("last_state", f"{__name__}:LastState", "classes: Linear(H, K) on the last content state")
    texts = ["a splendid evening", "a dreadful bore", "charming music", "a wretched hall"] * 4
    model = PredGenClassifier(director="last_state", max_steps=5, learning_rate=5e-3, validation_fraction=0)
    model.fit(texts, ["good", "bad", "good", "bad"] * 4)
    for text, probabilities in zip(texts[:2], model.predict_proba(texts[:2]), strict=True):
        shown = ", ".join(f"P({name}) = {p:.2f}" for name, p in zip(model.classes_, probabilities, strict=True))
        print(f"{text}: {shown}")


if __name__ == "__main__":
    main()

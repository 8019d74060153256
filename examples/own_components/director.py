"""Director `two_layers`: a hidden layer between the mean content state and the class logits."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from predgen.directors.base import Director, DirectorInput, DirectorSetup, mean_state
from predgen.registries import directors
from predgen.settings import Settings, setting


@dataclass(frozen=True)
class TwoLayersSettings(Settings):
    """Settings of director `two_layers`."""

    hidden_units: int = setting(16, "Director 'two_layers': width of its hidden layer.", low=1)


class TwoLayers(Director):
    """Linear(H, U), tanh, Linear(U, K) on the mean content state; cross-entropy, in nats."""

    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def __init__(self, setup: DirectorSetup, settings: TwoLayersSettings) -> None:
        super().__init__(setup)
        self.head = nn.Sequential(
            nn.Linear(setup.hidden_size, settings.hidden_units),
            nn.Tanh(),
            nn.Linear(settings.hidden_units, setup.n_classes),
        )

    def loss(self, seen: DirectorInput) -> Float[Tensor, " B"]:
        """Return L_D per example."""
        return functional.cross_entropy(self.output(seen.states, seen.content), seen.target.long(), reduction="none")

    def output(self, states: Float[Tensor, "B T H"], content: Bool[Tensor, "B T"]) -> Float[Tensor, "B K"]:
        """Return class logits."""
        logits: Tensor = self.head(mean_state(states, content))
        return logits


directors.register(
    "two_layers",
    f"{__name__}:TwoLayers",
    "classes: a hidden layer on the mean content state",
    settings=TwoLayersSettings,
)

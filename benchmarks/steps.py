"""One training step, the same for all variants: forward, backward, AdamW, gradients set to nothing."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

LEARNING_RATE = 1e-4  # small, so that the many steps of a measurement do not lead weights astray


def training_step(parameters: Iterable[nn.Parameter], backward: Callable[[], object]) -> Callable[[], None]:
    """Return a function that makes one step of everything that trains.

    Args:
        parameters: The model's parameters.
        backward: Runs the model and leaves gradients.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE)

    def step() -> None:
        backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def back(loss: Callable[[], Tensor]) -> Callable[[], None]:
    """Return a function that computes a loss and its gradients."""

    def run() -> None:
        torch.autograd.backward(loss())

    return run

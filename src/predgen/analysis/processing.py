"""The data processing inequality on a trained model: I(Y; g(Z)) <= I(Y; Z) for every function g (Cover and Thomas 2006, 2.8).

Z is PCA(k) of the flattened states: those of the prompt's last tokens (Predictor), or of the tokens that the model writes
greedily (Generator, PredGen). Two questions are told apart, because PCA is itself a function that loses something:

- "of Z": g is applied to what the k components stand for, Z brought back to states (a linear function of Z). g is then a
  function of the very Z that is measured, so the inequality holds for the true values, and an estimate that breaks it
  beyond its error shows the estimator's failure. Mean and last state of a generic Z are invertible in k dimensions:
  the true values are then equal.
- "own PCA": g is applied to all states, and reduced to k components of its own, as a comparison of methods does. It is no
  function of Z: if it holds more of Y than Z does, then PCA dropped from Z what it kept of g. No inequality is broken.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float

from predgen.analysis.reduction import fit_reduction, span
from predgen.analysis.representations import (
    TokenStates,
    answer_slots,
    pooled_states,
    prompt_states,
    writes,
    written_states,
)
from predgen.analysis.rows import RunRows
from predgen.data.encode import Encoded
from predgen.inference.trained import TrainedModel
from predgen.models.base import full_precision
from predgen.models.predgen import PredGen
from predgen.models.predictor import Predictor, pool

PROMPT_TOKENS = 32
"""Last tokens of a prompt whose states make up the Predictor's Z."""
OF_Z, OWN = "of Z", "own PCA"
HEAD = "head"

States = Float[np.ndarray, "N M H"]
Mask = Bool[np.ndarray, "N M"]


def whole(k: int) -> str:
    """Name of the array that holds Z."""
    return f"processing {k}: Z"


def part(k: int, g: str, kind: str) -> str:
    """Name of the array that holds g(Z)."""
    return f"processing {k}: {g} {kind}"


def processed(
    trained: TrainedModel, rows: RunRows, k: int, answer_tokens: int | None, advance: Callable[[int], None]
) -> dict[str, npt.NDArray[np.float64]]:
    """Return Z and every g(Z) of the rows to measure, by name; g(Z) that never varies has no columns.

    Args:
        trained: The model.
        rows: Its rows.
        k: Components.
        answer_tokens: See `representations.answer_slots`.
        advance: Called with the number of rows done.

    Raises:
        ConfigError: If the rows cannot give k components.
    """
    train, test = (_token_states(trained, part, answer_tokens, advance) for part in (rows.train, rows.test))
    used = train.mask.any(axis=0)  # slots beyond the longest answer hold nothing
    train, test = (TokenStates(part.states[:, used], part.mask[:, used]) for part in (train, test))
    reduction = fit_reduction(train.flat(), k, "flattened states")
    z = reduction.reduced(test.flat())
    found = {whole(k): z}
    restored = reduction.restored(z).reshape(test.states.shape)
    everywhere = np.ones(test.mask.shape, dtype=bool)
    for g, function in _functions(trained).items():
        found[part(k, g, OF_Z)] = span(function(restored, everywhere), k)
        own_train, own_test = function(train.states, train.mask), function(test.states, test.mask)
        # A head has few outputs, and those of one that started at zero add up to a constant: it varies along fewer axes.
        width = max(1, span(own_train, k).shape[1]) if g == HEAD else k
        found[part(k, g, OWN)] = fit_reduction(own_train, width, f"{g} state").reduced(own_test)
    if not writes(trained):
        first = pooled_states(trained, rows.test, "first")
        found[part(k, "first", OWN)] = span(first, k)
    return found


def _token_states(
    trained: TrainedModel, rows: Sequence[Encoded], answer_tokens: int | None, advance: Callable[[int], None]
) -> TokenStates:
    """The states that Z is made of."""
    if writes(trained):
        return written_states(trained, rows, answer_slots(trained, answer_tokens), advance)
    return prompt_states(trained, rows, PROMPT_TOKENS, advance)


def _functions(trained: TrainedModel) -> dict[str, Callable[[States, Mask], Float[np.ndarray, "N D"]]]:
    """Name -> g: poolings, and the head where the method has one."""
    found = {how: _pooling(how) for how in ("mean", "last")}
    if writes(trained):
        found["first"] = _pooling("first")
    head = _head(trained)
    return {**found, HEAD: head} if head is not None else found


def _pooling(how: str) -> Callable[[States, Mask], Float[np.ndarray, "N D"]]:
    """A pooling over tokens."""

    def function(states: States, mask: Mask) -> Float[np.ndarray, "N D"]:
        found: Float[np.ndarray, "N D"] = pool(torch.from_numpy(states), torch.from_numpy(mask), how).double().numpy()
        return found

    return function


def _head(trained: TrainedModel) -> Callable[[States, Mask], Float[np.ndarray, "N D"]] | None:
    """What the head puts out: class logits or a number; None without one, or where it corrects what is written.

    Such a prediction is no function of the states alone.
    """
    model = trained.model
    if not isinstance(model, Predictor | PredGen):
        return None
    if isinstance(model, PredGen) and (not model.director.has_head or model.director.reads_distribution):
        return None

    @torch.no_grad()
    def function(states: States, mask: Mask) -> Float[np.ndarray, "N D"]:
        given = torch.from_numpy(states).float().to(model.backbone.device)
        real = torch.from_numpy(mask).to(given.device)
        with full_precision(given.device):
            if isinstance(model, Predictor):
                output = model.head(pool(given, real, model.setup.own.pooling))
            else:
                output = model.director.output(given, real)
        found: Float[np.ndarray, "N D"] = output.double().cpu().numpy()
        return found

    return function


@dataclass(frozen=True, slots=True)
class Check:
    """One inequality, as an estimator sees it.

    Attributes:
        run: The run's label.
        estimator: Registry name.
        g: What was done to Z.
        kind: "of Z", where the inequality holds for the true values, or "own PCA", where it need not.
        whole: Estimate of I(Y; Z), nats.
        part: Estimate of I(Y; g(Z)), nats; 0 by definition where g(Z) never varies.
        error: Half width of the 95 % interval of their difference, as if their errors were independent; None where the
            estimator gives no interval.
    """

    run: str
    estimator: str
    g: str
    kind: str
    whole: float
    part: float
    error: float | None

    @property
    def is_broken(self) -> bool:
        """Whether g(Z) seems to hold more than Z, by more than the error."""
        return self.error is not None and self.part - self.whole > self.error

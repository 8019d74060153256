"""What the three prediction methods share: a language model, a setup that is saved with them, and their losses."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from predgen import registries
from predgen.codecs.base import Codec
from predgen.components import Component, filled, flat, left_open, resolve
from predgen.core import Decoding, Kind, Prediction
from predgen.data.collate import Batch
from predgen.data.encode import Encoded
from predgen.engine.abilities import abilities_of
from predgen.engine.backbone import Backbone
from predgen.engine.forest import Answers, Grove
from predgen.engine.prompt_pass import CachedPrompts, SharedPrefix, run_prompts
from predgen.errors import ConfigError
from predgen.lookup import Registry
from predgen.losses.base import JointLoss
from predgen.sampling.draws import SamplingPlan
from predgen.target_scale import TargetScale
from predgen.weights import TensorFacts


@dataclass(frozen=True)
class ModelSetup:
    """Everything a prediction model is built from, besides its base and its codec; saved with it.

    Attributes:
        method: Name of the method.
        kind: Kind of task.
        labels: Class labels in order; empty for numbers.
        target_mean: Mean of the training targets (numbers), as they are written.
        target_std: Standard deviation of the training targets (numbers), as they are written, > 0.
        settings: Settings of the method, and of the components that it chooses; those not given are at their defaults.
        target_transform: See `TargetScale.transform`.
        target_low: Least number that may be predicted; None: no bound.
        target_high: Greatest number that may be predicted; None: no bound.
        target_knots: See `TargetScale.knots`.
    """

    method: str
    kind: Kind
    labels: tuple[str, ...]
    target_mean: float
    target_std: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    target_transform: str = "none"
    target_low: float | None = None
    target_high: float | None = None
    target_knots: tuple[tuple[float, float], ...] = ()

    @cached_property
    def components(self) -> Mapping[str, Component]:
        """The method and the components that it chooses, by the kind of their registry.

        Raises:
            ConfigError: If a name is unknown, a value not allowed, or a setting belongs to none of them.
        """
        found = resolve([(registries.methods, self.method)], self.settings, self.kind)
        for name in self.settings.keys() - flat(found).keys():
            raise ConfigError(f"`{name}` is no setting of method {self.method!r} and what it chooses; leave it out.")
        return found

    def settled(self, *, has_tree: bool) -> "ModelSetup":
        """Name the components that were left open, so that what is saved says what was used.

        Args:
            has_tree: Whether all answers of a row can be run in one pass.

        Raises:
            ConfigError: If a setting was given of a component that cannot be had without that.
        """
        given = {name: value for name, value in self.settings.items() if value is not None}
        if not has_tree:
            given |= {
                n: one.without_tree[self.kind]
                for n, one in left_open(self.components).items()
                if one.without_tree.get(self.kind)
            }
        setup = replace(self, settings=given)
        return replace(setup, settings=filled(setup.components))

    def component(self, registry: Registry) -> Component:
        """Return the component that the method chooses from a registry; the method's own from `registries.methods`."""
        return self.components[registry.kind]

    @property
    def own(self) -> Any:  # noqa: ANN401
        """The method's own settings."""
        return self.component(registries.methods).settings

    @property
    def scale(self) -> TargetScale:
        """How numbers are written and learned, and come back."""
        return TargetScale(
            self.target_mean,
            self.target_std,
            self.target_transform,
            self.target_low,
            self.target_high,
            self.target_knots,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"settings": flat(self.components)}


@dataclass(frozen=True, slots=True)
class RowLosses:
    """Losses of a micro-batch.

    Attributes:
        total: Sum over rows of weight times joint loss; divide by the global batch's summed weights.
        writer: L_W of each row, nats per token, detached; None without a writer.
        director: L_D of each row, detached; None without a director.
    """

    total: Float[Tensor, ""]
    writer: Float[Tensor, " B"] | None
    director: Float[Tensor, " B"] | None


Reduction = Literal["example", "batch"]
PLAIN = Decoding()
"""Nothing but the method's own prediction."""


class RowRunner(nn.Module):
    """A language model, and on which way its rows are run.

    Args:
        lm: Causal language model, possibly with adapters; registered as `lm`.

    Attributes:
        backbone: Tokens -> states -> logits.
        obstacle: Why the base model cannot run trees; None: it can. The sequential path is used where it cannot.
    """

    def __init__(self, lm: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.lm = lm
        base = lm.get_base_model() if hasattr(lm, "get_base_model") else lm
        abilities = abilities_of(base)
        self.backbone = Backbone(base, abilities)
        self.obstacle = abilities.detour or abilities.tree

    @property
    def can_share_prefix(self) -> bool:
        """Whether rows may be run behind a prefix that was run once (`predict`'s argument)."""
        return self.obstacle is None and self.backbone.can_continue


class PredictionModel(RowRunner):
    """Base class of all methods.

    Args:
        setup: What to build.
        lm: See `RowRunner`; heads stand beside it.
        codec: Writes and reads answers; None for the Predictor.

    Attributes:
        needs_codec: Whether the method writes answers.
        scale: How numbers are written and learned, and come back.
        temperature: What log-probabilities of the predictive distribution are divided by (`uncertainty.temperature`); 1: they
            stay as the model was trained. It moves no label, and no number that is a mean.
    """

    needs_codec: ClassVar[bool] = True

    def __init__(self, setup: ModelSetup, lm: Any, codec: Codec | None) -> None:  # noqa: ANN401
        super().__init__(lm)
        self.setup = setup
        self.scale = setup.scale
        self.codec = codec
        self.temperature = 1.0
        self._known: tuple[Batch, CachedPrompts] | None = None

    @contextmanager
    def behind(self, batch: Batch, prompts: CachedPrompts | None) -> Iterator[None]:
        """Go on from prompts that have been run, whatever is run for a batch, with gradient too.

        Args:
            batch: The batch; others are run as ever.
            prompts: Its prompts with `head_tokens`, run together with those of other questions; None: they have not been run.
        """
        self._known = None if prompts is None else (batch, prompts)
        try:
            yield
        finally:
            self._known = None

    def known(self, batch: Batch) -> CachedPrompts | None:
        """Return the batch's prompts, where they have been run (`behind`)."""
        return self._known[1] if self._known is not None and self._known[0] is batch else None

    @property
    def head_tokens(self) -> tuple[int, ...]:
        """Content tokens with which every answer starts: they are run along with the prompt."""
        return ()

    @property
    def is_ordered(self) -> bool:
        """Whether classes count as levels in their order."""
        return False

    @property
    def is_headless(self) -> bool:
        """Whether the method predicts by what it writes alone."""
        return bool(registries.methods.facts(self.setup.method).get("headless", False))

    def answers_in_forest(self, decoding: Decoding) -> Answers | None:
        """What hangs below this model's question where many questions of a row are run together; None: it is asked alone."""
        return None

    def runs_everything(self, decoding: Decoding) -> bool:
        """Whether all content nodes of its answers are run, not only those that probabilities depend on."""
        return False

    def predict_in_forest(self, grove: Grove, decoding: Decoding) -> list[Prediction]:
        """Return a prediction for each of a grove's questions, which are all this model's; see `answers_in_forest`."""
        raise NotImplementedError(f"{type(self).__name__} is asked alone")

    def questions(self, row: Encoded) -> list[Encoded]:
        """Return what is run to predict a row: the row itself, unless the method asks several things of it."""
        return [row]

    def answer_of(self, predictions: Sequence[Prediction]) -> Prediction:
        """Return the prediction of a row, from those of its `questions`."""
        return predictions[0]

    @property
    def written_by(self) -> Codec:
        """The codec of a method that writes."""
        assert self.codec is not None, f"{self.setup.method} has no codec"
        return self.codec

    def head_state(self) -> dict[str, Tensor]:
        """Weights of everything beside the language model."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("lm.")}

    def load_head_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `head_state` returned; names, shapes and kinds of numbers have to agree."""
        expected = self.head_state()
        if {k: TensorFacts.of(v) for k, v in expected.items()} != {k: TensorFacts.of(v) for k, v in state.items()}:
            raise ValueError(f"head weights {sorted(state)} do not fit this model, which has {sorted(expected)}")
        self.load_state_dict(state, strict=False)

    def forward(self, batch: Batch, plan: SamplingPlan, reduction: Reduction) -> RowLosses:
        """Return the losses of a micro-batch of rows with targets."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def check(self, decoding: Decoding) -> None:
        """Refuse what this model cannot be asked for.

        Raises:
            ConfigError: If there is something.
        """
        if decoding.how is not None or decoding.distribution or decoding.full_vocabulary:
            raise ConfigError(
                f"`decode`, distributions, quantiles and full-vocabulary probabilities read what a model writes, but a"
                f" {self.setup.method} writes nothing. Leave them out, or train a generator or predgen model."
            )

    @property
    def way(self) -> str:
        """How predictions are computed, in a word."""
        return "one forward over the prompt"

    @property
    def cost(self) -> str | None:
        """What a row's prediction costs beside one forward, where the base model's way takes more; None where it does not."""
        return None

    @property
    def engine(self) -> str:
        """How predictions are computed, in words: the way, its cost, the base model's detours, and what limits rows."""
        notes = (self.cost, self.backbone.abilities.detour, self.backbone.limit)
        return "; ".join([self.way, *(note for note in notes if note is not None and note not in self.way)])

    def answer_nodes(self, decoding: Decoding = PLAIN) -> int:
        """Tokens that are run for a row's answers, besides its prompt, where `decoding` is asked for."""
        return 0

    def prompt_states(
        self, batch: Batch, prefix: SharedPrefix | None = None
    ) -> tuple[Float[Tensor, "B S H"], Bool[Tensor, "B S"]]:
        """Last hidden states of the prompts, their prefix included, and where they are real."""
        if (known := self.known(batch)) is not None:
            return known.states, known.mask
        if prefix is None:
            return self.backbone.states(batch.prompt_ids, batch.prompt_mask)[0], batch.prompt_mask
        prompts = run_prompts(self.backbone, batch.prompt_ids, batch.prompt_mask, prefix=prefix)
        return prompts.states, prompts.mask

    def predict(self, batch: Batch, decoding: Decoding = PLAIN, prefix: SharedPrefix | None = None) -> list[Prediction]:
        """Return a prediction per row; targets in the batch are not looked at.

        Args:
            batch: The rows; their prompts lack the tokens of `prefix`.
            decoding: What to ask for; see `check`.
            prefix: Tokens with which every prompt starts, already run.
        """
        raise NotImplementedError(f"{type(self).__name__} must define predict")


def joined(
    joint: JointLoss,
    writer: Float[Tensor, " B"],
    director: Float[Tensor, " B"],
    weight: Float[Tensor, " B"],
    reduction: Reduction,
) -> RowLosses:
    """Join both losses and sum over the rows.

    "example" joins the two losses of each row: batch size, accumulation and ranks leave the gradient unchanged.
    "batch" averages each loss over the micro-batch first, as the paper's code does: it depends on the batch size.
    """
    if reduction == "example":
        total = (weight * joint(writer, director)).sum()
    else:
        share = weight / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
        means = ((share * writer).sum()[None], (share * director).sum()[None])
        total = joint(*means)[0] * weight.sum()
    return RowLosses(total, writer.detach(), director.detach())


def full_precision(device: torch.device) -> torch.autocast:
    """Context in which heads run: autocast off, so that they compute in float32."""
    return torch.autocast(device.type, enabled=False)


def label_predictions(labels: tuple[str, ...], logits: Float[Tensor, "B K"], temperature: float) -> list[Prediction]:
    """The most probable label of each row, with the probabilities of all."""
    exact = (logits / temperature).softmax(dim=1).double()
    exact = exact / exact.sum(dim=1, keepdim=True)  # float32 softmax is off by up to 1e-7
    best = logits.argmax(dim=1).tolist()
    told = zip(best, exact.tolist(), strict=True)
    return [Prediction(labels[index], tuple(row), temperature=temperature) for index, row in told]

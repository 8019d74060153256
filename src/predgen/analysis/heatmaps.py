"""Which input tokens an answer hangs on, token by token: the analogues of the paper's Figures 3 and 8 to 13 (docs/mutual_information.md).

Two kinds, since the paper does not say how its figures were computed:

- "hidden": the H numbers of an input token's state and the H numbers of an answer token's state are taken for H pairs of
  samples, and their mutual information is estimated by KSG, in nats. Hidden dimensions are neither independent nor alike, so
  this measures how closely two states resemble each other up to any map of their numbers, not what one token tells of the
  other over rows of data. With H samples the estimate is noisy: the same with one state's numbers shuffled says how much.
- "occlusion": log p(y_t | X, y_<t) minus the same with input token i hidden, in nats (softmax over the whole vocabulary, as
  in L_W). Hidden means: no other token, of prompt or answer, may attend to it, in any layer; all positions stay. The last
  prompt token is where y_1 is predicted; there it still sees itself, so that its drop for y_1 is 0.
  Nothing is sampled, so that there is one drop per pair, and no mean to take.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from predgen import registries
from predgen.analysis.representations import writes
from predgen.analysis.words import field_tokens, token_labels, token_texts
from predgen.codecs.base import FiniteCodec
from predgen.core import Example, Target
from predgen.data.collate import collate
from predgen.data.encode import Encoded
from predgen.engine.backbone import Backbone, eval_state
from predgen.errors import ConfigError
from predgen.inference.trained import TrainedModel
from predgen.models.writer import WritingModel

ESTIMATOR = "ksg"
MOST_LABELS = 4
"""Classes whose answers are all shown; of more, only the written one is."""


@dataclass(frozen=True)
class AnswerMap:
    """One answer, token by token, against the prompt.

    Attributes:
        text: The answer.
        is_written: Whether it is the one that the model writes greedily.
        tokens: Label of each content token.
        hidden: Prompt tokens x content tokens, nats.
        occlusion: Prompt tokens x content tokens, nats; None where the base model takes no masks with gaps.
        shuffled: As `hidden`, but with the answer token's H numbers in another order: what chance alone gives.
    """

    text: str
    is_written: bool
    tokens: list[str]
    hidden: Float[np.ndarray, "P C"]
    occlusion: Float[np.ndarray, "P C"] | None
    shuffled: Float[np.ndarray, "P C"]


@dataclass(frozen=True)
class HeatMap:
    """A row's answers against its prompt.

    Attributes:
        row: Number of the row, from 1.
        gold: Its answer in the data; None where it has none.
        tokens: Label of each prompt token.
        is_field: Whether a prompt token belongs to the row's own text, and not to the template.
        answers: All labels' answers, where they are few, else the written one.
        hidden_size: H, the number of paired samples behind each value of kind "hidden".
        obstacle: Why there is no occlusion; None where there is.
    """

    row: int
    gold: str | None
    tokens: list[str]
    is_field: list[bool]
    answers: list[AnswerMap]
    hidden_size: int
    obstacle: str | None

    @property
    def noise(self) -> float:
        """What 95 % of the shuffled pairs of states stay below, in nats: no value of kind "hidden" below it means anything."""
        return float(np.quantile(np.hstack([answer.shuffled for answer in self.answers]), 0.95))


def heat_map(trained: TrainedModel, example: Example, row: int) -> HeatMap:
    """Compute both kinds for one row.

    Args:
        trained: A Generator or PredGen.
        example: The row.
        row: Its number, to be shown.

    Raises:
        ConfigError: If the model writes no answers.
    """
    if not writes(trained):
        raise ConfigError(
            f"a heatmap shows input tokens against written answer tokens, but a {trained.model.setup.method} writes nothing."
            " Give a generator or predgen run."
        )
    model = trained.model
    assert isinstance(model, WritingModel), "it writes"
    encoded = trained.encoder.encode(example, with_answer=False)
    texts = token_texts(trained.base.tokenizer, encoded.prompt_ids)
    with torch.no_grad(), eval_state(model):
        answers = [
            _answer_map(trained, model, encoded, text, ids, is_written=is_written)
            for text, ids, is_written in _answers(trained, model, encoded)
        ]
    gold = None if example.target is None else _shown(example.target.value)
    marks = field_tokens(trained.encoder, texts)
    return HeatMap(row, gold, token_labels(texts), marks, answers, model.backbone.hidden_size, model.obstacle)


def _shown(value: str | float) -> str:
    """A value as text."""
    return value if isinstance(value, str) else f"{value:g}"


def _answers(trained: TrainedModel, model: WritingModel, encoded: Encoded) -> list[tuple[str, tuple[int, ...], bool]]:
    """Text and content tokens of each answer to show, and whether it is the written one."""
    batch = collate([encoded], trained.pad_id, model.backbone.device)
    (written,) = model.write(batch).sequences()
    codec = model.written_by
    if isinstance(codec, FiniteCodec) and 0 < len(trained.labels) <= MOST_LABELS:
        each = [(label, codec.encode(Target(label))[:-1]) for label in trained.labels]
        return [(label, ids, ids == written) for label, ids in each]
    if not written:
        raise ConfigError(f"row {encoded.row_id + 1}: the model writes an empty answer, so there is no token to show.")
    return [(_shown(codec.decode(written).value), written, True)]


def _answer_map(
    trained: TrainedModel,
    model: WritingModel,
    encoded: Encoded,
    text: str,
    content: tuple[int, ...],
    *,
    is_written: bool,
) -> AnswerMap:
    """Both kinds for one answer."""
    tokens = token_labels(
        token_texts(trained.base.tokenizer, [*encoded.prompt_ids, *content])[len(encoded.prompt_ids) :]
    )
    ids = torch.tensor([*encoded.prompt_ids, *content], device=model.backbone.device)
    states, _ = model.backbone.states(ids[None], torch.ones_like(ids, dtype=torch.bool)[None])
    start = len(encoded.prompt_ids)
    hidden = hidden_information(states[0, :start], states[0, start:])
    order = torch.from_numpy(np.random.default_rng(0).permutation(states.shape[2])).to(ids.device)
    shuffled = hidden_information(states[0, :start], states[0, start:, order])
    occlusion = None
    if model.obstacle is None:
        occlusion = drops(model.backbone, encoded.prompt_ids, content, trained.config.eval_batch_tokens)
    return AnswerMap(text, is_written, tokens, hidden, occlusion, shuffled)


def hidden_information(inputs: Float[Tensor, "P H"], outputs: Float[Tensor, "C H"]) -> Float[np.ndarray, "P C"]:
    """KSG estimate for each pair of states, their H numbers taken for H paired samples, in nats (kind "hidden")."""
    ksg = registries.mi_estimators.get(ESTIMATOR)()
    left, right = inputs.double().cpu().numpy(), outputs.double().cpu().numpy()
    return np.array([[ksg.estimate(x[:, None], y[:, None]).nats for y in right] for x in left])


@torch.no_grad()
def drops(
    backbone: Backbone, prompt: Sequence[int], content: Sequence[int], batch_tokens: int
) -> Float[np.ndarray, "P C"]:
    """Drop of log p(y_t | X, y_<t) when each prompt token is hidden from all others, in nats (kind "occlusion").

    Args:
        backbone: A language model that takes masks with gaps.
        prompt: Prompt tokens.
        content: Content tokens of the answer.
        batch_tokens: Most tokens to run at once.
    """
    ids = torch.tensor([*prompt, *content], device=backbone.device)
    length, first = len(ids), len(prompt) - 1
    positions = torch.arange(length, device=ids.device)
    found, at_once = [], max(1, batch_tokens // length)
    for start in range(-1, len(prompt), at_once):  # -1: nothing hidden
        hidden = torch.arange(start, min(start + at_once, len(prompt)), device=ids.device)
        some = ids.expand(len(hidden), -1), positions.expand(len(hidden), -1)
        states = backbone.masked_states(*some, _visible(hidden, length), some[1])
        logits = backbone.logits(states[:, first : length - 1])  # those that predict the content tokens
        found.append(logits.log_softmax(dim=2).gather(2, some[0][:, first + 1 :, None])[..., 0])
    log_probs: Float[np.ndarray, "R C"] = torch.cat(found).double().cpu().numpy()
    dropped: Float[np.ndarray, "P C"] = log_probs[:1] - log_probs[1:]
    return dropped


def _visible(hidden: Tensor, length: int) -> Bool[Tensor, "B L L"]:
    """Causal visibility, but for one token per row of the batch, which only itself may see; -1 hides none."""
    places = torch.arange(length, device=hidden.device)
    causal = places[:, None] >= places
    is_hidden = places == hidden[:, None]  # B L
    own = torch.eye(length, dtype=torch.bool, device=hidden.device)
    return causal & ~is_hidden[:, None] | own

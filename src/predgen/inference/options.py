"""Options that a prompt lists, in other orders: what their order changes, and predictions that it changes less.

An order says which option stands at each place. The answer names a place, so that probabilities go back by the same order.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from predgen.core import Decoding, Example, Prediction, TaskSpec
from predgen.errors import ConfigError
from predgen.inference.trained import TrainedModel
from predgen.models.base import PLAIN

MOST_ORDERS = 64


@dataclass(frozen=True, slots=True)
class ListedOptions:
    """A row's options where its prompt shows them.

    Attributes:
        texts: The options, in the order of the task's labels.
        fields: Fields with one option each; or one field with all of them, numbered.
        marks: Where `fields` is one: what stands before each option in it.
    """

    texts: tuple[str, ...]
    fields: tuple[str, ...]
    marks: tuple[str, ...] = ()

    def inside(self, example: Example, order: Sequence[int]) -> Example:
        """Return the row with its options in an order."""
        texts = [self.texts[place] for place in order]
        if self.marks:
            [field] = self.fields
            listed = {field: " ".join(f"{mark}{text}" for mark, text in zip(self.marks, texts, strict=True))}
        else:
            listed = dict(zip(self.fields, texts, strict=True))
        return replace(example, fields={**example.fields, **listed})


def listed_options(example: Example, task: TaskSpec) -> ListedOptions | None:
    """Return a row's options as its prompt lists them; None where it lists none, or only one.

    They are either fields of the prompt, or one field in which the labels number them ("Answer1: fog Answer2: rain").
    """
    own = [name for name in task.options if example.fields.get(name)]
    if len(own) > 1:
        return ListedOptions(tuple(example.fields[name] for name in own), tuple(own))
    marks = [f"{text.capitalize()}: " for text in task.labels.values()]
    for field, text in example.fields.items():
        known = [mark for mark in marks if mark in text]
        parts, rest = [], text
        for mark in known:
            before, _, rest = rest.partition(mark)
            parts.append(before)
        if len(known) > 1 and parts[0] == "" and known == marks[: len(known)]:
            return ListedOptions(tuple(part.rstrip() for part in (*parts[1:], rest)), (field,), tuple(known))
    return None


def options_of_rows(trained: TrainedModel, examples: Sequence[Example]) -> list[ListedOptions | None]:
    """Return each row's options.

    Raises:
        ConfigError: If the prompt lists none, or their order is never seen.
    """
    task = trained.task
    if not task.options or task.form == "cloze" or not trained.labels:
        why = "scores them one by one" if task.form == "cloze" else "has a prompt that lists none"
        raise ConfigError(
            f"orders of options are for prompts that list options, but this model {why}. Leave out --permute-options and"
            " --average-options."
        )
    found = [listed_options(example, task) for example in examples]
    if not any(found):
        raise ConfigError("no row's prompt lists options. Leave out --permute-options and --average-options.")
    return found


def orders_of(n_options: int, number: int, seed: int, row_id: int) -> list[list[int]]:
    """Return different orders of a row's options, the given one first; all there are, where there are fewer.

    Example:
        >>> orders_of(2, 3, seed=0, row_id=0)
        [[0, 1], [1, 0]]
    """
    generator = random.Random(f"{seed} {row_id}")
    found = [list(range(n_options))]
    tries = 100 * number  # of few options there are few orders
    while len(found) < number and tries:
        tries -= 1
        order = generator.sample(range(n_options), n_options)
        if order not in found:
            found.append(order)
    return found


def in_orders(
    trained: TrainedModel,
    examples: Sequence[Example],
    number: int,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    decoding: Decoding = PLAIN,
    on_batch: Callable[[int], None] | None = None,
) -> list[list[Prediction]]:
    """Predict rows with their options in several orders.

    Args:
        trained: The model.
        examples: The rows.
        number: Orders per row, the given one first; rows without options are asked once.
        seed: Seed of the orders, which belong to a row, not to its place.
        batch_size: As for `predict`.
        decoding: As for `predict`.
        on_batch: Called with the number of questions after each batch.

    Returns:
        For each row one prediction per order, with labels and probabilities of the options as the row gives them.

    Raises:
        ConfigError: If there are no options, or the number is out of range.
    """
    if not 1 <= number <= MOST_ORDERS:
        raise ConfigError(
            f"`average_options` is {number}, outside 1..{MOST_ORDERS}. It is how often each row is asked."
        )
    known = options_of_rows(trained, examples)
    asked: list[Example] = []
    orders: list[list[list[int]]] = []
    for example, options in zip(examples, known, strict=True):
        own: list[list[int]] = [[]] if options is None else orders_of(len(options.texts), number, seed, example.row_id)
        orders.append(own)
        asked += [example if options is None else options.inside(example, order) for order in own]
    found = iter(trained.predict_examples(asked, batch_size=batch_size, decoding=decoding, on_batch=on_batch))
    return [[_returned(next(found), order, trained.labels) for order in own] for own in orders]


def _returned(told: Prediction, order: Sequence[int], labels: Sequence[str]) -> Prediction:
    """A prediction whose labels stand for the options as the row gives them."""
    if not order:
        return told
    place = [*order, *range(len(order), len(labels))]
    value = None if told.value is None else labels[place[labels.index(str(told.value))]]
    probabilities = None
    if told.probabilities is not None:
        back = np.empty(len(labels))
        back[place] = told.probabilities
        probabilities = tuple(back.tolist())
    return replace(told, value=value, probabilities=probabilities)


def averaged(predictions: Sequence[Prediction], labels: Sequence[str]) -> Prediction:
    """Return one prediction for several of the same row: the mean of their probabilities, and its most probable label.

    Raises:
        ConfigError: If they have no probabilities.
    """
    if len(predictions) == 1:
        return predictions[0]
    told = [p.probabilities for p in predictions if p.probabilities is not None]
    if len(told) < len(predictions):
        raise ConfigError("`average_options` takes the mean of probabilities, which this decoding does not give.")
    mean = np.mean(told, axis=0)
    flags = frozenset().union(*(p.flags for p in predictions))
    return replace(predictions[0], value=labels[int(mean.argmax())], probabilities=tuple(mean.tolist()), flags=flags)

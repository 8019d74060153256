"""Metrics of labels, against hand calculation, plain loops and scikit-learn."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from predgen.errors import DataError
from predgen.metrics.classification import ACCURACY, LOG_LOSS, MACRO_F1

LABELS = ["a", "b", "c"]


def random_rows(seed: int, n: int = 50) -> tuple[list[str], list[str], np.ndarray]:
    generator = np.random.default_rng(seed)
    targets, predictions = ([LABELS[i] for i in generator.integers(3, size=n)] for _ in range(2))
    return targets, predictions, generator.dirichlet([1.0, 1.0, 1.0], size=n)


def f1_by_loop(targets: list[str], predictions: list[str | None]) -> float:
    scores = []
    for label in {*targets, *predictions} - {None}:
        pairs = list(zip(targets, predictions, strict=True))
        hits = sum(t == p == label for t, p in pairs)
        false_alarms = sum(t != label and p == label for t, p in pairs)
        misses = sum(t == label and p != label for t, p in pairs)
        scores.append(2 * hits / (2 * hits + false_alarms + misses))
    return sum(scores) / len(scores)


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_equals_a_plain_loop(seed: int) -> None:
    targets, predictions, _ = random_rows(seed)
    assert ACCURACY(targets, predictions) == sum(map(str.__eq__, targets, predictions)) / len(targets)


def test_accuracy_counts_unparsed_as_wrong() -> None:
    # 1 right, 1 wrong, 2 unreadable: 1/4
    assert ACCURACY(["a", "a", "a", "a"], ["a", "b", None, float("nan")]) == 0.25


def test_labels_are_compared_as_written() -> None:
    assert ACCURACY(["Yes"], ["yes"]) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_macro_f1_equals_a_plain_loop(seed: int) -> None:
    targets, predictions, _ = random_rows(seed)
    assert MACRO_F1(targets, predictions) == pytest.approx(f1_by_loop(targets, predictions), abs=1e-12)


def test_macro_f1_counts_unparsed_as_a_miss_of_the_true_class_only() -> None:
    # a: 1 hit, 1 miss -> 2/3. b: 1 hit -> 1. Unreadable is no third class. Mean 5/6.
    assert MACRO_F1(["a", "a", "b"], ["a", None, "b"]) == pytest.approx(5 / 6)
    assert MACRO_F1(["a", "a", "b"], ["a", None, "b"]) == pytest.approx(f1_by_loop(["a", "a", "b"], ["a", None, "b"]))


def test_macro_f1_of_nothing_right_is_zero_without_warning() -> None:
    assert MACRO_F1(["a", "b"], ["b", "a"]) == 0.0
    assert MACRO_F1(["a", "b"], [None, None]) == 0.0


def test_macro_f1_leaves_out_classes_that_occur_nowhere() -> None:
    assert MACRO_F1(["a", "b"], ["a", "b"], None, ["a", "b", "c"]) == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_log_loss_equals_scikit_learn(seed: int) -> None:
    targets, predictions, probabilities = random_rows(seed)
    expected = sk.log_loss(targets, probabilities, labels=LABELS)
    assert LOG_LOSS(targets, predictions, probabilities, LABELS) == pytest.approx(expected, abs=1e-12)


def test_log_loss_reads_columns_in_the_order_of_labels() -> None:
    # -ln 0.9 for the only row, whichever column "a" is
    assert LOG_LOSS(["a"], ["a"], [[0.9, 0.1]], ["a", "b"]) == pytest.approx(-math.log(0.9))
    assert LOG_LOSS(["a"], ["a"], [[0.1, 0.9]], ["b", "a"]) == pytest.approx(-math.log(0.9))


def test_log_loss_of_an_impossible_or_unknown_label_is_clipped() -> None:
    # -ln 2.220446e-16 = 36.0437
    assert LOG_LOSS(["b"], ["a"], [[1.0, 0.0]], ["a", "b"]) == pytest.approx(36.0437, abs=1e-4)
    assert LOG_LOSS(["new"], ["a"], [[1.0, 0.0]], ["a", "b"]) == pytest.approx(36.0437, abs=1e-4)


def test_log_loss_of_certainty_is_zero() -> None:
    assert LOG_LOSS(["a"], ["a"], [[1.0, 0.0]], ["a", "b"]) == 0.0


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (None, None, "needs `probabilities`"),
        ([[0.5, 0.5]], None, "and `labels`"),
        ([[0.5, 0.5]], ["a", "b", "c"], r"shape \(1, 2\), but 1 rows and 3 labels need \(1, 3\)"),
        ([[0.5, 0.4]], ["a", "b"], r"row 0 are \[0.5, 0.4\]; they must be >= 0 and sum to 1"),
        ([[1.5, -0.5]], ["a", "b"], "must be >= 0"),
        ([[float("nan"), 1.0]], ["a", "b"], "row 0 are"),
    ],
)
def test_bad_probabilities_are_refused(probabilities: object, labels: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        LOG_LOSS(["a"], ["a"], probabilities, labels)


def test_text_and_number_labels_are_not_mixed() -> None:
    with pytest.raises(DataError, match="labels like '1', but predictions are labels like 1"):
        ACCURACY(["1", "0"], [1, 0])
    assert ACCURACY([1, 0], [1, 1]) == 0.5

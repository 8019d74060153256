"""Sets and intervals hold the truth as often as they say, over many simulated tasks; crepes against MAPIE and plain loops."""

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest

from predgen.core import Prediction
from predgen.distribution import Distribution
from predgen.errors import ConfigError
from predgen.uncertainty.conformal import check_coverage, check_how, label_sets, least_rows, number_intervals
from predgen.uncertainty.record import CalibrationRecord
from predgen.uncertainty.scores import BASES, OF_LABELS, OF_NUMBERS, Spread, cqr_name
from predgen.uncertainty.temperature import fit_temperature, tempered

SEEDS, N_CAL, N_TEST, N_LABELS = 60, 199, 400, 5  # of 199 + 1 scores every tenth is a whole number
GROUPS = ("a", "b")


@functools.cache
def label_task(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, what a model that is twice too sure says of them, and each row's group: in "b" it is wrong about half of them."""
    rng = np.random.default_rng(seed)
    n = N_CAL + N_TEST
    logits = rng.normal(size=(n, N_LABELS)) - np.abs(np.arange(N_LABELS) - rng.integers(0, N_LABELS, n)[:, None])
    truth = np.exp(logits)
    truth /= truth.sum(axis=1, keepdims=True)
    labels = (truth.cumsum(axis=1) > rng.random(n)[:, None]).argmax(axis=1)
    groups = rng.integers(0, 2, n)
    labels = np.where((groups == 1) & (rng.random(n) < 0.5), rng.integers(0, N_LABELS, n), labels)
    said = np.exp(2 * logits)
    return labels, said / said.sum(axis=1, keepdims=True), np.array(GROUPS)[groups]


def label_record(labels: np.ndarray, told: np.ndarray, groups: np.ndarray) -> CalibrationRecord:
    at = np.arange(N_CAL), labels[:N_CAL]
    scores = {name: tuple(of_labels(told[:N_CAL])[at].tolist()) for name, of_labels in OF_LABELS.items()}
    right = told[:N_CAL].argmax(axis=1) == labels[:N_CAL]
    sure = tuple(told[:N_CAL].max(axis=1).tolist())
    return CalibrationRecord(N_CAL, 1.0, scores, sure, tuple(right.tolist()), "g", tuple(groups[:N_CAL].tolist()))


@functools.cache
def calibrated(seed: int) -> tuple[np.ndarray, CalibrationRecord]:
    """Probabilities at a temperature that was fitted on the rows that give the scores, too."""
    labels, said, groups = label_task(seed)
    told = tempered(said, fit_temperature(list(said[:N_CAL]), labels[:N_CAL].tolist()))
    return told, label_record(labels, told, groups)


def label_hits(how: str, coverage: float, seed: int, *, by_group: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Whether each new row's label is in its set, and the row's group; temperature and scores come from the same rows."""
    labels, _, groups = label_task(seed)
    told, record = calibrated(seed)
    new = groups[N_CAL:]
    sets = label_sets(record, how, told[N_CAL:], coverage, new.tolist() if by_group else None)
    assert sets.any(axis=1).all()
    return sets[np.arange(N_TEST), labels[N_CAL:]], new


def number_hits(how: str, coverage: float, seed: int, *, by_group: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The same for numbers whose spread depends on the row, and a model that takes it for half; group "b" has twice the noise."""
    rng = np.random.default_rng(seed)
    n = N_CAL + N_TEST
    spread, groups = rng.uniform(0.5, 2.0, n), rng.integers(0, 2, n)
    point = rng.normal(size=n)
    numbers = point + 0.3 + spread * (1 + groups) * rng.normal(size=n)
    normal = np.array([[0.6745, 1.2816, 1.6449, 1.96, 2.5758]])  # of BASES
    reach = 0.5 * spread[:, None] * normal
    told = Spread(point, 0.5 * spread, np.stack([point[:, None] - reach, point[:, None] + reach], axis=2))
    parts = [Spread(told.point[s], told.sigma[s], told.ends[s]) for s in (slice(N_CAL), slice(N_CAL, None))]
    scores = {name: tuple(values.tolist()) for name, values in parts[0].scores(numbers[:N_CAL]).items()}
    names = np.array(GROUPS)[groups]
    record = CalibrationRecord(N_CAL, scores=scores, by="g", groups=tuple(names[:N_CAL].tolist()))
    new = names[N_CAL:]
    ends = number_intervals(record, how, parts[1], coverage, new.tolist() if by_group else None)
    return (ends[:, 0] <= numbers[N_CAL:]) & (numbers[N_CAL:] <= ends[:, 1]), new


def error_of(coverage: float, n_cal: float, n_test: float) -> float:
    """Standard error of the mean over tasks: the threshold's chance and that of the new rows."""
    return math.sqrt(coverage * (1 - coverage) * (1 / n_cal + 1 / n_test) / SEEDS)


CASES: list[tuple[str, Callable[..., tuple[np.ndarray, np.ndarray]]]] = [
    *((how, label_hits) for how in OF_LABELS),
    *((how, number_hits) for how in OF_NUMBERS),
]


@pytest.mark.parametrize(("how", "hits"), CASES, ids=[how for how, _ in CASES])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_the_truth_is_inside_as_often_as_asked(
    how: str, hits: Callable[..., tuple[np.ndarray, np.ndarray]], coverage: float
) -> None:
    found = np.mean([hits(how, coverage, seed)[0].mean() for seed in range(SEEDS)])
    assert abs(found - coverage) < 3 * error_of(coverage, N_CAL, N_TEST)


@pytest.mark.parametrize(("how", "hits"), CASES, ids=[how for how, _ in CASES])
def test_each_group_is_covered_where_it_is_asked_for_and_not_otherwise(
    how: str, hits: Callable[..., tuple[np.ndarray, np.ndarray]]
) -> None:
    shares: dict[tuple[str, bool], list[float]] = {}
    for seed in range(SEEDS):
        for by_group in (True, False):
            inside, groups = hits(how, 0.9, seed, by_group=by_group)
            for group in GROUPS:
                shares.setdefault((group, by_group), []).append(float(inside[groups == group].mean()))
    error = error_of(0.9, N_CAL / 2, N_TEST / 2)
    for group in GROUPS:  # with N / 2 rows the least share of N / 2 + 1 that is enough is up to 1 / (N / 2) more
        assert -3 * error < np.mean(shares[group, True]) - 0.9 < 3 * error + 2 / N_CAL
    assert np.mean(shares["b", False]) < 0.9 - 3 * error, "all rows together hide what is hard"


def test_sets_are_those_of_p_values_counted_one_by_one() -> None:
    labels, said, groups = label_task(0)
    record = label_record(labels, said, groups)
    for how, of_labels in OF_LABELS.items():
        sets = label_sets(record, how, said[N_CAL : N_CAL + 30], 0.85)
        for row, told in zip(sets, said[N_CAL : N_CAL + 30], strict=True):
            scores = of_labels(told[None])[0]
            p = [(1 + sum(s >= score for s in record.scores[how])) / (N_CAL + 1) for score in scores]
            wanted = [value > 1 - 0.85 + 1e-12 for value in p]
            wanted[int(told.argmax())] = True
            assert row.tolist() == wanted


def test_ordinal_sets_have_no_gaps_and_others_do() -> None:
    gaps = {}
    for how in OF_LABELS:
        labels, said, groups = label_task(1)
        sets = label_sets(label_record(labels, said, groups), how, said[N_CAL:], 0.9)
        edges = np.diff(sets.astype(int), axis=1, prepend=0)
        gaps[how] = int(((edges == 1).sum(axis=1) > 1).sum())
    assert gaps["ordinal"] == 0 < gaps["lac"]


def test_sets_and_scores_are_those_of_mapie() -> None:
    mapie = pytest.importorskip("mapie.classification")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Told(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        """A model whose probabilities are its features."""

        def fit(self, X: np.ndarray, y: np.ndarray) -> "Told":
            self.classes_ = np.arange(N_LABELS)
            self.is_fitted_ = True
            return self

        def predict_proba(self, X: np.ndarray) -> np.ndarray:
            return X

        def predict(self, X: np.ndarray) -> np.ndarray:
            return X.argmax(axis=1)

    labels, said, groups = label_task(2)
    record = label_record(labels, said, groups)
    model = Told().fit(said, labels)
    theirs = mapie.SplitConformalClassifier(model, confidence_level=0.9, conformity_score="lac", prefit=True)
    theirs.conformalize(said[:N_CAL], labels[:N_CAL])
    _, sets = theirs.predict_set(said[N_CAL:])
    ours = label_sets(record, "lac", said[N_CAL:], 0.9)
    bare = sets[:, :, 0].copy()
    bare[np.arange(N_TEST), said[N_CAL:].argmax(axis=1)] = True
    np.testing.assert_array_equal(ours, bare)
    aps = mapie.SplitConformalClassifier(model, confidence_level=0.9, conformity_score="aps", prefit=True)
    aps.conformalize(said[:N_CAL], labels[:N_CAL])
    own = said[np.arange(N_CAL), labels[:N_CAL]]
    theirs = np.ravel(aps._mapie_classifier.conformity_scores_)  # with a random share of the label's own mass
    assert (np.array(record.scores["aps"]) - 1e-6 <= theirs).all()
    assert (theirs <= np.array(record.scores["aps"]) + own + 1e-6).all()


def test_intervals_are_those_of_mapie() -> None:
    mapie = pytest.importorskip("mapie.regression")
    from sklearn.base import BaseEstimator, RegressorMixin

    class Told(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        """A model whose number is one of its features."""

        def __init__(self, column: int = 0) -> None:
            self.column = column

        def fit(self, X: np.ndarray, y: np.ndarray) -> "Told":
            self.n_features_in_ = X.shape[1]
            return self

        def predict(self, X: np.ndarray) -> np.ndarray:
            return X[:, self.column]

    rng = np.random.default_rng(4)
    X = np.sort(rng.normal(size=(300, 3)), axis=1)[:, [0, 2, 1]]  # low, high, middle
    y = rng.normal(size=300)
    ends = np.repeat(X[:, None, :2], len(BASES), axis=1)
    told, new = (Spread(X[s, 2], np.ones(len(X[s])), ends[s]) for s in (slice(200), slice(200, None)))
    scores = {name: tuple(values.tolist()) for name, values in told.scores(y[:200]).items()}
    models = [Told(column).fit(X, y) for column in range(3)]
    theirs = mapie.ConformalizedQuantileRegressor(models, confidence_level=0.8, prefit=True)
    _, intervals = theirs.conformalize(X[:200], y[:200]).predict_interval(X[200:], symmetric_correction=True)
    ours = number_intervals(CalibrationRecord(200, scores=scores), "cqr", new, 0.8)
    np.testing.assert_allclose(ours, intervals[:, :, 0], rtol=1e-9)


def test_intervals_are_those_of_a_plain_quantile_and_stay_in_the_range() -> None:
    rng = np.random.default_rng(0)
    point = rng.normal(size=60)
    ends = np.stack([point[:, None] - np.ones(5), point[:, None] + np.ones(5)], axis=2)
    told, numbers = Spread(point, np.ones(60), ends), point + rng.normal(size=60)
    scores = {name: tuple(values.tolist()) for name, values in told.scores(numbers).items()}
    record = CalibrationRecord(60, scores=scores)
    kth = sorted(scores[cqr_name(0.8)])[math.ceil(61 * 0.75) - 1]  # 0.8 is nearest to 0.75
    found = number_intervals(record, "cqr", told, 0.75)
    np.testing.assert_allclose(found, np.stack([point - 1 - kth, point + 1 + kth], axis=1))
    residuals = sorted(scores["cps"])
    low, high = residuals[int(61 * 0.1) - 1], residuals[math.ceil(61 * 0.9) - 1]
    np.testing.assert_allclose(
        number_intervals(record, "cps", told, 0.8), np.stack([point + low, point + high], axis=1)
    )
    bounded = number_intervals(record, "cqr", told, 0.75, bounds=(-0.5, 0.5))
    assert bounded[:, 0].max() <= 0.5
    inside = np.abs(point) <= 0.5
    assert (np.abs(bounded[inside]) <= 0.5).all()


def test_too_careful_a_model_has_its_intervals_narrowed_to_a_point_at_the_least() -> None:
    point = np.zeros(99)
    told = Spread(point, np.ones(99), np.broadcast_to(np.array([-10.0, 10.0]), (99, len(BASES), 2)).copy())
    scores = {name: tuple(values.tolist()) for name, values in told.scores(np.zeros(99)).items()}
    ends = number_intervals(CalibrationRecord(99, scores=scores), "cqr", told, 0.9)
    np.testing.assert_allclose(ends, 0.0)


def test_a_group_that_no_calibration_row_had_gets_everything() -> None:
    labels, said, groups = label_task(3)
    record = label_record(labels, said, groups)
    assert label_sets(record, "lac", said[:2], 0.9, ["a", "new"])[1].all()


@pytest.mark.parametrize(
    ("coverage", "how", "needed"), [(0.9, "lac", 9), (0.95, "cqr", 19), (0.9, "cps", 19), (0.99, "aps", 99)]
)
def test_least_rows_are_those_that_give_a_finite_threshold(coverage: float, how: str, needed: int) -> None:
    assert least_rows(coverage, how) == needed
    for n, is_finite in ((needed, True), (needed - 1, False)):
        name = cqr_name(0.9) if how == "cqr" else how
        scores = {**{cqr_name(base): tuple(range(n)) for base in BASES}, name: tuple(map(float, range(n)))}
        told = Spread(np.zeros(1), np.ones(1), np.zeros((1, len(BASES), 2)))
        record = CalibrationRecord(n, scores=scores)
        if how in OF_NUMBERS:
            assert np.isfinite(number_intervals(record, how, told, coverage)).all() == is_finite
        else:
            assert label_sets(record, how, np.array([[0.6, 0.4]]), coverage).all() or is_finite


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_coverage_is_a_share_between_none_and_all(coverage: float) -> None:
    with pytest.raises(ConfigError, match="`coverage` is"):
        check_coverage(coverage, CalibrationRecord(50), "lac", by_group=False)


def test_too_few_rows_for_a_coverage_are_told_with_how_many_it_takes() -> None:
    with pytest.raises(ConfigError, match=r"`coverage` 0\.99 needs at least 99 .* on 50"):
        check_coverage(0.99, CalibrationRecord(50), "lac", by_group=False)
    check_coverage(0.99, CalibrationRecord(50), "lac", by_group=True)  # each group for itself, told with its rows


def test_defaults_and_unknown_names_of_scores() -> None:
    labels = CalibrationRecord(1, scores={name: (0.5,) for name in OF_LABELS})
    assert check_how(None, labels, is_ordered=False) == "lac"
    assert check_how(None, labels, is_ordered=True) == "ordinal"
    numbers = CalibrationRecord(1, scores={"cps": (0.0,)})
    assert check_how(None, numbers, is_ordered=False) == "cps"
    with pytest.raises(ConfigError, match="`conformal` is 'cqr', but this model allows: cps"):
        check_how("cqr", numbers, is_ordered=False)


def test_spread_reads_exact_quantiles_and_deviation() -> None:
    told = Distribution(np.array([1.0, 2.0, 4.0]), np.array([0.25, 0.5, 0.25]))
    found = Spread.of([Prediction(2.25, distribution=told)])
    assert found.ends is not None
    assert found.ends[0, BASES.index(0.5)].tolist() == [1.0, 2.0]
    variance = 0.25 * 1.25**2 + 0.5 * 0.25**2 + 0.25 * 1.75**2
    assert found.sigma[0] == pytest.approx(math.sqrt(variance) + 0.01 * 3.0)
    scores = found.scores(np.array([5.0]))
    assert scores[cqr_name(0.9)] == pytest.approx([1.0])
    assert Spread.of([Prediction(2.0)]).ends is None

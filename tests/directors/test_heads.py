"""Heads and the standardised features that they read, against plain arithmetic."""

import math

import pytest
import torch

from predgen.directors.heads import FeatureNorm, Head, estimating, feature_norms

WIDTH = 6


def features(rows: int = 40) -> torch.Tensor:
    """Features of very unlike dimensions, as language models have them: one large, one constant, offsets."""
    torch.manual_seed(1)
    scales = torch.tensor([50.0, 1.0, 0.5, 0.1, 1e-3, 0.0])
    return torch.randn(rows, WIDTH) * scales + torch.tensor([30.0, -2.0, 0.0, 1.0, 0.0, 4.0])


def estimated(parts: list[torch.Tensor]) -> FeatureNorm:
    norm = FeatureNorm(WIDTH)
    with estimating(norm):
        for part in parts:
            norm(part)
    return norm


def test_features_are_standardised_as_the_formula_says() -> None:
    rows = features().double().tolist()
    norm = estimated([features()])
    columns = list(zip(*rows, strict=True))
    means = [math.fsum(column) / len(column) for column in columns]
    variances = [math.fsum((x - m) ** 2 for x in c) / len(c) for c, m in zip(columns, means, strict=True)]
    floor = 0.01 * math.fsum(variances) / WIDTH
    for row, found in zip(rows, norm(features()).tolist(), strict=True):
        wanted = [
            (x - m) / math.sqrt(v + floor) * 8 / math.sqrt(WIDTH) for x, m, v in zip(row, means, variances, strict=True)
        ]
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-4)


def test_how_rows_are_split_makes_no_difference() -> None:
    whole, parts = estimated([features()]), estimated(list(features().split(7)))
    torch.testing.assert_close(parts.mean, whole.mean, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(parts.factor, whole.factor, atol=1e-6, rtol=1e-6)


def test_figures_stay_what_they_are_after_the_estimate() -> None:
    norm = estimated([features()])
    before = norm.mean.clone(), norm.factor.clone()
    norm.train()(features() + 100.0)
    assert torch.equal(norm.mean, before[0])
    assert torch.equal(norm.factor, before[1])


def test_features_that_are_all_alike_become_nothing() -> None:
    same = torch.full((8, WIDTH), 3.0) + torch.randn(8, WIDTH) * 1e-7  # rounding
    assert estimated([same])(same).abs().max() < 0.01
    assert estimated([torch.zeros(8, WIDTH)])(torch.zeros(2, WIDTH)).tolist() == [[0.0] * WIDTH] * 2


def test_nothing_seen_changes_nothing() -> None:
    norm = estimated([])
    assert torch.equal(norm(features()), features())


def test_a_standardised_head_says_nothing_before_it_has_learned() -> None:
    head = Head(WIDTH, 3, "standard")
    assert head(features()).abs().max() == 0
    assert set(head.state_dict()) == {"weight", "bias", "norm.mean", "norm.factor"}
    assert list(feature_norms(head)) == ["norm"]


def test_a_head_without_norm_is_the_plain_layer() -> None:
    torch.manual_seed(0)
    head = Head(WIDTH, 3, "none")
    torch.manual_seed(0)
    plain = torch.nn.Linear(WIDTH, 3)
    assert torch.equal(head(features()), plain(features()))
    assert set(head.state_dict()) == set(plain.state_dict())  # what version 0.1 saved fits


def test_gradients_of_all_dimensions_are_of_one_size() -> None:
    # Raw: the large dimension has nearly all of the gradient.
    shares = []
    for norm in ("none", "standard"):
        head = Head(WIDTH, 1, norm, starts_at_zero=True)
        with estimating(head):
            head(features())
        (head(features())[:, 0] - torch.randn(40)).square().mean().backward()
        assert head.weight.grad is not None
        squares = head.weight.grad[0].square()
        shares.append(float(squares.max() / squares.sum()))
    assert shares[0] > 0.95 > 0.9 > shares[1]

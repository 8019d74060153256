"""While tests run, a wrong type or shape in a call of the package is a TypeError."""

from typing import Any

import pytest
import torch

from predgen.compare.plan import Variant
from predgen.losses.sum import SumLoss
from predgen.threads import available_threads
from type_checks import checked


def test_shapes_of_one_call_have_to_fit_together() -> None:
    assert SumLoss().join(torch.zeros(2), torch.zeros(2)).shape == (2,)
    for writer, director in ((torch.zeros(2), torch.zeros(3)), (torch.zeros(2, 1), torch.zeros(2, 1))):
        with pytest.raises(TypeError, match="join"):
            SumLoss().join(writer, director)


def test_functions_without_arrays_are_checked_too() -> None:
    with pytest.raises(TypeError, match="available_threads"):
        available_threads("2")


def test_data_classes_are_checked_when_they_are_made() -> None:
    with pytest.raises(TypeError, match="settings"):
        Variant("a", None)


def test_shapes_are_checked_again_after_many_calls() -> None:
    for _ in range(100):
        SumLoss().join(torch.zeros(2), torch.zeros(2))
    with pytest.raises(TypeError, match="join"):
        for _ in range(10):
            SumLoss().join(torch.zeros(2), torch.zeros(2, 1))


def test_results_are_checked() -> None:
    def text(value: Any) -> str:
        return value

    with pytest.raises(TypeError, match="return"):
        checked(text)(1)

"""Counted work is what can be counted by hand."""

import pytest
import torch

from benchmarks.rows import ROWS
from benchmarks.settings import Setting
from benchmarks.work import Work, main, measured

# PEFT 0.21 calls a deprecated name of transformers.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def test_a_product_of_matrices_is_counted_by_hand() -> None:
    left, right = torch.randn(3, 5), torch.randn(5, 7)
    found = Work.of(lambda: left.view(3, 5) @ right.t().t())
    assert found.flops == 2 * 3 * 5 * 7
    assert found.bytes == 4 * (3 * 5 + 5 * 7 + 3 * 7), "views move nothing"


def test_a_backward_pass_is_counted_too() -> None:
    weight, rows = torch.randn(5, 7, requires_grad=True), torch.randn(3, 5)
    assert Work.of(lambda: torch.autograd.grad((rows @ weight).sum(), weight)).flops == 2 * 2 * 3 * 5 * 7


def test_labels_of_one_token_are_the_work_of_a_forward_and_five_numbers_more(setting: Setting) -> None:
    rows = {row.key: row for row in ROWS}
    labels, forward = measured(rows["classify-2"], setting)
    numbers, _ = measured(rows["regress-51"], setting)
    assert 0.9 < labels.flops / forward.flops < 1.1
    assert numbers.flops > 1.5 * labels.flops, "dozens of nodes behind a prompt of twenty tokens"


def test_the_table_has_a_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["--sizes", "tiny", "--only", "classify-2", "step-lean", "--batch-size", "2", "--prompt-tokens", "20"])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert len({text.count("|") for text in lines}) == 1

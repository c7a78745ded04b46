"""Dropout with cheaper random numbers is dropout."""

import pytest
import torch
from torch import nn

from course_lib.training.dropout import cheaper_dropout, dropout

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("probability", [0.1, 0.5, 0.999])
def test_it_drops_with_the_probability_and_keeps_the_mean(dtype, probability):
    torch.manual_seed(0)
    x = torch.full((301, 1001), 2.0, dtype=dtype, requires_grad=True)  # not a multiple of the four numbers of a draw
    y = dropout(x, probability)
    assert y.shape == x.shape and y.dtype == dtype
    assert set(y.detach().unique().tolist()) == {0.0, torch.tensor(2 / (1 - probability), dtype=dtype).item()}
    assert float((y == 0).float().mean()) == pytest.approx(probability, abs=0.003)
    y.sum().backward()
    assert (x.grad * x).equal(y)  # the gradient takes the same way


def test_neighbours_rows_and_calls_are_independent():
    torch.manual_seed(0)
    first, second = (dropout(torch.ones(500, 1000), 0.3) == 0 for _ in range(2))
    for a, b in (
        (first[:, :-1], first[:, 1:]),
        (first[:-1], first[1:]),
        (first[:, :-4], first[:, 4:]),
        (first, second),
    ):
        assert float((a & b).float().mean()) == pytest.approx(0.09, abs=0.003)


def test_the_seed_decides():
    x = torch.ones(64, 384)
    torch.manual_seed(3)
    one, other = dropout(x, 0.1), dropout(x, 0.1)
    torch.manual_seed(3)
    assert dropout(x, 0.1).equal(one) and not one.equal(other)


def test_only_training_uses_it_and_only_on_a_cpu():
    x = torch.ones(100, 100)
    part = nn.Dropout(0.1)
    with cheaper_dropout(nn.Sequential(part), CPU):
        torch.manual_seed(0)
        cheap = part(x)
        part.eval()
        assert part(x).equal(x)
        part.train()
        for p, expected in ((0.0, x), (1.0, 0 * x)):
            part.p = p
            assert part(x).equal(expected)
        part.p = 0.1
    torch.manual_seed(0)
    assert cheap.equal(dropout(x, 0.1))
    torch.manual_seed(0)
    usual = part(x)
    assert not usual.equal(cheap)
    with cheaper_dropout(part, CPU), cheaper_dropout(part, CPU):  # an evaluation may train the same encoder
        assert part(x).shape == x.shape
    assert type(part) is nn.Dropout
    with cheaper_dropout(nn.Sequential(part), torch.device("cuda")):
        torch.manual_seed(0)
        assert part(x).equal(usual)

"""A learner's function, handed to an objective as notebook 05 does, is what trains the model."""

import functools

import pytest
import torch

from course_lib import TrainingConfig, functional, train
from course_lib.notebook.exercises import simcse
from course_lib.objectives import SimCSE

TEXTS = ["Sort an array.", "Join two tables.", "Draw a line in a figure.", "Read a file.", "Count words.", "Invert it."]


class MySimCSE(SimCSE):
    """SimCSE made of two functions, as in the notebook."""

    def __init__(self, encoder, info_nce, two_views):
        super().__init__(encoder)
        self.info_nce, self.two_views = info_nce, two_views

    def forward(self, batch):
        first, second, labels = self.two_views(self.encoder, batch)
        return self.info_nce(first, second[labels], self.temperature)


def my_info_nce(a, b, temperature):
    a, b = (x / x.norm(dim=-1, keepdim=True) for x in (a, b))
    return -(a @ b.T / temperature).log_softmax(1).diagonal().mean()


def my_two_views(encoder, batch):
    both = encoder({name: torch.cat([rows, rows]) for name, rows in batch.items()})
    return both[: len(both) // 2], both[len(both) // 2 :], torch.arange(len(both) // 2)


def hotter(a, b, temperature):
    return functional.info_nce(a, b, 2 * temperature)


def the_same_view(encoder, batch):
    first, second, labels = simcse.two_views.reference(encoder, batch)
    return first, first, labels


def counted(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        wrapper.calls += 1
        return function(*arguments)

    wrapper.calls = 0
    return wrapper


@pytest.fixture(scope="module")
def curve(shallow):
    """A function that trains for three steps and gives the losses."""

    def losses(make, **functions):
        config = TrainingConfig(steps=3, batch_size=4, learning_rate=1e-3, precision="fp32", seed=0)
        return train(make(shallow(), **functions), TEXTS, config, progress=False).losses

    return losses


@pytest.fixture(scope="module")
def library(curve):
    return curve(SimCSE)


@pytest.mark.parametrize(
    "exercise, mine, other", [(simcse.info_nce, my_info_nce, hotter), (simcse.two_views, my_two_views, the_same_view)]
)
def test_the_learners_function_trains(curve, library, exercise, mine, other):
    name = exercise.name.split(".")[1]
    functions = {"info_nce": simcse.info_nce.reference, "two_views": simcse.two_views.reference}
    mine = counted(mine)
    used = exercise.use(mine)
    mine.calls = 0
    assert curve(MySimCSE, **functions | {name: used}) == pytest.approx(library, rel=1e-4)
    assert mine.calls == 3
    assert curve(MySimCSE, **functions | {name: other}) != pytest.approx(library, rel=1e-2)
    exercise.reset()
    assert exercise.use(mine) is functions[name]

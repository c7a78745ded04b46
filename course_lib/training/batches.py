"""Which examples each training step sees."""

from collections.abc import Hashable, Iterable, Sequence

import torch

from course_lib.training.config import TrainingConfig

POOL = 50  # batches whose texts are sorted by length together
OPEN = 50  # batches that are filled at the same time where equal texts are kept apart


class Batches:
    """The batches of every step: shuffled, grouped by length, and without two examples that exclude each other.

    Texts are drawn at random in pools of 50 batches. With `group_by_length` a pool is sorted by length before it is cut
    into batches, so that little is padding; the order of the batches is shuffled again. One pass shows no example
    twice, unless there are too few for one step. Everything is a function of the seed and the number of the pass, so
    that any step is found without running those before it.

    lengths: tokens of each example.
    config: batch_size, gradient_accumulation_steps, steps or epochs, seed and group_by_length are used.
    smallest_batch: smaller batches are left out.
    processes: how many train together. They share the batches of one process that takes so many times `batch_size`, and
        each takes its share of every batch.
    keys: for each example what must not occur twice in a batch (`Objective.exclusive`); None where nothing must.
    Raises ValueError where the keys leave no batch of at least `smallest_batch`.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        config: TrainingConfig,
        smallest_batch: int = 1,
        processes: int = 1,
        keys: Iterable[Iterable[Hashable]] | None = None,
    ):
        self.lengths = torch.tensor(lengths)
        self.config, self.processes = config, processes
        self.size, self.smallest = config.batch_size * processes, smallest_batch * processes  # of a batch of them all
        self._keys = _repeated(keys or ())
        self._number, self._batches = 0, self._epoch(0)
        if not self._batches:
            raise ValueError(f"no batch of {self.smallest} different examples can be made; pass texts that differ")
        # what is left over after the last whole step waits for the next pass
        self.steps_per_epoch = max(1, len(self._batches) // config.gradient_accumulation_steps)
        self.steps = config.steps or max(1, round(self.steps_per_epoch * config.epochs))

    def batches_for(self, step: int, process: int = 0) -> list[list[int]]:
        """The batches of one step (from 0) in one process: lists of positions in the examples."""
        number, position = divmod(step, self.steps_per_epoch)
        if number != self._number:
            self._number, self._batches = number, self._epoch(number)
        first = position * self.config.gradient_accumulation_steps
        numbers = range(first, first + self.config.gradient_accumulation_steps)
        return [self._batches[i % len(self._batches)][process :: self.processes] for i in numbers]

    def _epoch(self, number):
        generator = torch.Generator().manual_seed(mix_seeds(self.config.seed, number, 0) + 2)
        order = torch.randperm(len(self.lengths), generator=generator)
        if self.config.group_by_length:
            pools = order.split(POOL * self.size)
            order = torch.cat([pool[self.lengths[pool].argsort(stable=True)] for pool in pools])
        batches = [b for b in self._cut(order.tolist()) if len(b) >= self.smallest]
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def _cut(self, order):
        """Cut an order of examples into batches; each goes into the first open batch that holds none of its keys."""
        if not self._keys:
            return [order[i : i + self.size] for i in range(0, len(order), self.size)]
        batches, filling = [], []
        for i in order:
            keys = self._keys[i]
            fits = next((place for place in filling if place[1].isdisjoint(keys)), None)
            if fits is None and len(filling) < OPEN:  # else the example waits for the next pass
                fits = ([], set())
                filling.append(fits)
                batches.append(fits[0])
            if fits is not None:
                fits[0].append(i)
                fits[1].update(keys)
                if len(fits[0]) == self.size:
                    filling = [place for place in filling if place is not fits]
        return batches


def _repeated(keys):
    """The keys of each example as integers; [] where no key occurs twice, so that there is nothing to keep apart."""
    numbers = {}
    found = [[numbers.setdefault(key, len(numbers)) for key in of_example] for of_example in keys]
    return found if len(numbers) < sum(map(len, found)) else []


def mix_seeds(*numbers: int) -> int:
    """One seed from several numbers, different for each combination."""
    seed = 0
    for n in numbers:
        seed = (seed * 1_000_003 + n + 12_345) % (2**61 - 1)
    return seed * 4

"""Batches, collated ahead of the step that needs them and moved to where it is computed."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

AHEAD = 4  # steps whose batches wait on a GPU: enough to bridge a slow one, little memory
MULTIPLE = 8  # of tokens: half-precision kernels are faster with it, and see fewer different shapes
# what the tensors with one entry per token are filled up with, by the end of their name; ids with the padding token
FILLED_WITH = {"input_ids": None, "attention_mask": 0, "token_type_ids": 0, "labels": -100}


@dataclass
class Collated:
    """One batch.

    tensors: as `Objective.collate` makes them.
    texts, tokens: how many it holds, tokens of queries included, padding not.
    """

    tensors: dict[str, Tensor]
    texts: int
    tokens: int

    def to(self, device: torch.device) -> dict[str, Tensor]:
        """The tensors on a device; the copy from pinned memory does not wait for the GPU."""
        return {name: tensor.to(device, non_blocking=True) for name, tensor in self.tensors.items()}


class StepsAhead:
    """A function from the number of a step to its batches; on a GPU a thread makes them while earlier steps compute.

    make: a function (step) → list of Collated. With a GPU it runs on a thread, so its random numbers must come from a
        generator of its own.
    steps: of the whole run.
    ahead: how many steps the thread may be ahead; 0 makes the batches when they are asked for, without a thread.
    Use it as a context: at its end the thread stops.
    """

    def __init__(self, make: Callable[[int], list[Collated]], steps: int, ahead: int):
        self.make, self.steps, self.ahead = make, steps, ahead
        self._pool, self._waiting = None, deque()

    def __enter__(self):
        self._pool = ThreadPoolExecutor(1) if self.ahead else None
        return self

    def __exit__(self, *error):
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __call__(self, step: int) -> list[Collated]:
        """The batches of one step; every step is asked for once, in order."""
        if self._pool is None:
            return self.make(step)
        while len(self._waiting) <= self.ahead and (next_step := step + len(self._waiting)) < self.steps:
            self._waiting.append(self._pool.submit(self.make, next_step))
        return self._waiting.popleft().result()


def runs_ahead(device: torch.device) -> bool:
    """Whether a device computes on its own, so that the program should prepare the next steps meanwhile: a GPU."""
    return device.type == "cuda"


def ready_for_gpu(tensors: dict[str, Tensor], pad_id: int) -> dict[str, Tensor]:
    """Do on the CPU what would make the GPU wait, or would be slow there.

    Tokens are filled up to a multiple of 8, and the places of the labels are noted: "answers" (M, 2), which
    `functional.answered` reads, so that nothing has to be counted on the GPU. The tensors are pinned, which lets the
    copy to the GPU run beside other work.

    tensors: as `Objective.collate` makes them.
    pad_id: the id of padding.
    """
    tensors = fill_up(tensors, pad_id)
    labels = tensors.get("labels")
    if labels is not None and labels.ndim == 2 and not labels.is_floating_point():
        tensors["answers"] = (labels != -100).nonzero()
    return {name: tensor.pin_memory() for name, tensor in tensors.items()} if torch.cuda.is_available() else tensors


def fill_up(tensors: dict[str, Tensor], pad_id: int, multiple: int = MULTIPLE) -> dict[str, Tensor]:
    """Pad the tensors of a batch that hold one entry per token, to a multiple of so many tokens.

    A batch that holds other whole numbers per text stays as it is: they might belong to its tokens.
    """
    whole = {k: v for k, v in tensors.items() if v.ndim == 2 and v.dtype == torch.int64}
    fills = {k: next((f for end, f in FILLED_WITH.items() if k.endswith(end)), "unknown") for k in whole}
    if "unknown" in fills.values():
        return dict(tensors)
    wider = {k: pad(v, (0, -v.shape[1] % multiple), value=_fill(fills[k], pad_id)) for k, v in whole.items()}
    return {**tensors, **wider}


def _fill(value, pad_id):
    return pad_id if value is None else value

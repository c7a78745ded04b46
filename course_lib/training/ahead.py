"""Batches, collated ahead of the step that needs them and moved to where it is computed."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

AHEAD = 4  # steps whose batches wait on a GPU: enough to bridge a slow one, little memory
MULTIPLE = 8  # of tokens: half-precision kernels are faster with it, and see fewer different shapes
# what tensors with one entry per token are padded with, by the end of their name; None is the padding token
FILL = {"input_ids": None, "attention_mask": 0, "token_type_ids": 0, "labels": -100}


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


def ready_for_gpu(tensors: dict[str, Tensor], encoder: nn.Module) -> dict[str, Tensor]:
    """Prepare a batch on the CPU, so that the program need not wait for the GPU afterwards.

    Tokens are padded to a multiple of 8, and the places of the labels are noted: "answers" (M, 2), which
    `functional.answered` reads. The tensors are pinned, which lets the copy to the GPU run beside other work.

    tensors: as `Objective.collate` makes them.
    encoder: the objective's, whose tokenizer has the padding token.
    """
    pad_id = getattr(getattr(encoder, "tokenizer", None), "pad_token_id", None)
    if pad_id is not None:
        tensors = fill_up(tensors, pad_id, getattr(encoder, "max_length", None))
    labels = tensors.get("labels")
    if labels is not None and labels.ndim == 2 and not labels.is_floating_point():
        tensors = {**tensors, "answers": (labels != -100).nonzero()}
    return {
        k: v.pin_memory() if v.device.type == "cpu" and torch.cuda.is_available() else v for k, v in tensors.items()
    }


def fill_up(tensors: dict[str, Tensor], pad_id: int, longest: int | None = None) -> dict[str, Tensor]:
    """Pad the tensors of a batch that hold one entry per token to a multiple of MULTIPLE tokens.

    tensors: of a batch. One with a tensor that is as wide as the tokens and has another name stays as it is: that
        tensor might belong to them.
    pad_id: the id of padding.
    longest: no text is padded beyond so many tokens; None for no limit.
    """
    of_tokens = {k: v for k, v in tensors.items() if k.endswith(tuple(FILL)) and v.ndim == 2 and v.dtype == torch.int64}
    widths = {v.shape[1] for k, v in of_tokens.items() if k.endswith("input_ids")}
    of_tokens = {k: v for k, v in of_tokens.items() if v.shape[1] in widths}  # labels may be of something else
    if any(widths & set(v.shape[1:]) for k, v in tensors.items() if k not in of_tokens):
        return tensors
    filled = {}
    for name, tensor in of_tokens.items():
        width = tensor.shape[1]
        more = min(-width % MULTIPLE, max(0, (longest or width + MULTIPLE) - width))
        fill = next(value for end, value in FILL.items() if name.endswith(end))
        filled[name] = pad(tensor, (0, more), value=pad_id if fill is None else fill)
    return {**tensors, **filled}

"""The losses of the steps: read from the device, checked, and written into the record."""

import math
import time

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from course_lib.training.ahead import Collated
from course_lib.training.interrupts import defer_interrupt
from course_lib.training.record import TrainingRecord

READ_EVERY = 20  # steps, on a GPU, so that the program seldom waits for it
SMALLEST_SCALE = 2.0**-14  # of fp16's loss scaler: where even this overflows, the gradients are no numbers


class Losses:
    """Notes the loss and the gradient norm of every step, and raises FloatingPointError where one is not finite.

    Reading a number makes the program wait for the GPU. With `deferred`, numbers stay where they are until `read`. A
    step that must not be taken is then skipped by the optimizer itself, with all steps after it, so that the weights
    are those before it when the error is raised.

    record: where the steps are written.
    optimizer: of the run; with `deferred` a fused AdamW, which skips a step where its `found_inf` is 1.
    scaler: of the run.
    deferred: whether numbers are read only when `read` is called.
    """

    def __init__(self, record: TrainingRecord, optimizer: Optimizer, scaler: GradScaler, deferred: bool):
        self.record, self.optimizer, self.scaler, self.deferred = record, optimizer, scaler, deferred
        self._unread = []
        self._broken = None  # with `deferred`: 1 from the first step that must not be taken
        self.restart_clock()

    def restart_clock(self):
        """Start to measure the next steps, without what was done since the last ones, such as an evaluation."""
        self._began = time.perf_counter()

    def check(self, loss: Tensor, norm: Tensor, rate: float):
        """Keep numbers that are not finite out of the weights."""
        if not self.deferred:
            check_finite(float(loss), float(norm), len(self.record.steps), rate, self.scaler)
            return
        broken = (~torch.isfinite(loss + norm)).float()
        self._broken = broken if self._broken is None else torch.maximum(self._broken, broken)
        self.optimizer.found_inf = self._broken

    def add(self, loss: Tensor, norm: Tensor, rate: float, batches: list[Collated]):
        """Note a step: its loss, its gradient norm before clipping, its learning rate and its batches."""
        self._unread.append((loss, norm, rate, sum(b.tokens for b in batches), sum(b.texts for b in batches)))

    def read(self):
        """Write the steps that were noted into the record; each takes an equal share of the clock's time.

        Raises FloatingPointError for a step that was skipped; the steps before it are in the record.
        """
        steps = [(float(loss), float(norm), *rest) for loss, norm, *rest in self._unread]
        seconds = (time.perf_counter() - self._began) / max(1, len(steps))
        with defer_interrupt():
            self._unread.clear()
            for loss, norm, rate, tokens, texts in steps:
                if self.deferred:
                    check_finite(loss, norm, len(self.record.steps), rate, self.scaler)
                self.record.add_step(loss, norm, rate, tokens, texts, seconds)


def check_finite(loss: float, norm: float, step: int, rate: float, scaler: GradScaler):
    """Raise FloatingPointError, before the optimizer writes it into the weights, where a number is not finite.

    With fp16 an overflow of the gradient is usual: the scaler skips the step and tries a smaller scale.
    """
    skipped = scaler.is_enabled() and scaler.get_scale() > SMALLEST_SCALE
    what = "loss" if not math.isfinite(loss) else "gradient norm" if not (math.isfinite(norm) or skipped) else None
    if what is not None:
        found = f"the {what} of step {step + 1} is {loss if what == 'loss' else norm}"
        advice = f"Lower learning_rate (now {rate:.2g}), or look for a division by zero in the objective"
        raise FloatingPointError(f"{found}; the weights are those before this step. {advice}")

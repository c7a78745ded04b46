"""The optimizer and its learning rate."""

import math

import torch

from course_lib import functional
from course_lib.models.checks import check_choice
from course_lib.objectives import Objective
from course_lib.training.config import TrainingConfig

OPTIMIZERS = {"adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop, "sgd": torch.optim.SGD}


def make_optimizer(objective: Objective, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer that an objective asks for, by default AdamW without weight decay on biases and norms (as in BERT).

    objective: its `optimizer` names one of OPTIMIZERS; its `learning_rate_factors()` give some weights their own rate.
    config: learning_rate and weight_decay are used, the second by AdamW only.
    """
    check_choice(OPTIMIZERS, optimizer=objective.optimizer)
    factors, groups = objective.learning_rate_factors(), {}
    for weight in objective.parameters():
        if weight.requires_grad:
            decays = weight.ndim > 1 and objective.optimizer == "adamw"
            key = (config.weight_decay if decays else 0.0, factors.get(weight, 1.0))
            groups.setdefault(key, []).append(weight)
    groups = [{"params": w, "weight_decay": decay, "factor": factor} for (decay, factor), w in groups.items()]
    fused = objective.optimizer == "adamw" and objective.encoder.device.type in ("cpu", "cuda")
    options = {"fused": True} if fused else {}
    return OPTIMIZERS[objective.optimizer](groups, lr=config.learning_rate, **options)


class Schedule:
    """Sets the learning rate of every step.

    optimizer: as `make_optimizer` returns it.
    config: learning_rate, warmup_ratio and schedule are used.
    steps: of the whole run.
    done: steps that are over already.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: TrainingConfig, steps: int, done: int = 0):
        self.optimizer, self.config, self.steps = optimizer, config, steps
        self._set(done)

    def step(self) -> float:
        """Go on to the next step's learning rate; returns the one that was in force."""
        used = self.rate
        if self.done + 1 < self.steps:
            self._set(self.done + 1)
        return used

    def _set(self, done):
        self.done = done
        self.rate = self.config.learning_rate * share_of_peak(done, self.steps, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * group.get("factor", 1.0)


def share_of_peak(step: int, steps: int, config: TrainingConfig) -> float:
    """The share of the peak learning rate at a step (from 0): a linear rise, then what `config.schedule` says."""
    warmup = math.ceil(steps * config.warmup_ratio)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "stepwise":
        return functional.stepwise_decay(step - warmup, steps - warmup)
    done = (step - warmup) / max(1, steps - warmup)
    return 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))

"""The training loop, for every objective, and what belongs to it."""

from course_lib.training.loop import (
    CHECKPOINT,
    Batches,
    TrainingConfig,
    TrainingRecord,
    choose_precision,
    make_optimizer,
    memory_in_use,
    schedule,
    train,
)

__all__ = [
    "CHECKPOINT",
    "Batches",
    "TrainingConfig",
    "TrainingRecord",
    "choose_precision",
    "make_optimizer",
    "memory_in_use",
    "schedule",
    "train",
]

"""The training loop, for every objective, and what belongs to it."""

from course_lib.models.precision import choose_precision
from course_lib.training.batches import Batches
from course_lib.training.checkpoint import CHECKPOINT
from course_lib.training.config import TrainingConfig
from course_lib.training.loop import train
from course_lib.training.optimizer import make_optimizer, share_of_peak
from course_lib.training.record import TrainingRecord

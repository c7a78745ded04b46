"""One file a method: how a batch is made from texts, how its loss is computed."""

from course_lib.objectives.base import Objective
from course_lib.objectives.mlm import MaskedLanguageModel
from course_lib.objectives.simcse import SimCSE

__all__ = ["MaskedLanguageModel", "Objective", "SimCSE"]

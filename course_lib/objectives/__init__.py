"""One file a method: how a batch is made from texts, how its loss is computed."""

from course_lib.models.cross_encoder import CrossEncoder
from course_lib.models.query_generator import QueryGenerator
from course_lib.objectives.base import Objective
from course_lib.objectives.contrastive_tension import ContrastiveTension
from course_lib.objectives.cropping import Cropping
from course_lib.objectives.in_batch_contrastive_tension import InBatchContrastiveTension
from course_lib.objectives.margin_mse import MarginMSE
from course_lib.objectives.mlm import MaskedLanguageModel
from course_lib.objectives.multiple_negatives_ranking import MultipleNegativesRanking
from course_lib.objectives.simcse import SimCSE
from course_lib.objectives.tsdae import DenoisingAutoEncoder

__all__ = [
    "ContrastiveTension",
    "Cropping",
    "CrossEncoder",
    "DenoisingAutoEncoder",
    "InBatchContrastiveTension",
    "MarginMSE",
    "MaskedLanguageModel",
    "MultipleNegativesRanking",
    "Objective",
    "QueryGenerator",
    "SimCSE",
]

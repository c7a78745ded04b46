"""One file per method: how a batch is made from texts and how its loss is computed."""

from course_lib.objectives.base import Objective
from course_lib.objectives.contrastive_tension import ContrastiveTension
from course_lib.objectives.cropping import Cropping
from course_lib.objectives.in_batch_contrastive_tension import InBatchContrastiveTension
from course_lib.objectives.margin_mse import MarginMSE
from course_lib.objectives.mlm import MaskedLanguageModel
from course_lib.objectives.multiple_negatives_ranking import MultipleNegativesRanking
from course_lib.objectives.query_generation import QueryGeneration
from course_lib.objectives.relevance import Relevance
from course_lib.objectives.simcse import SimCSE
from course_lib.objectives.tsdae import DenoisingAutoEncoder

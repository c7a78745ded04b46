"""The models: SentenceEncoder embeds a text, CrossEncoder scores a pair of texts, QueryGenerator writes a query."""

from course_lib.models.cross_encoder import CrossEncoder
from course_lib.models.encoder import SentenceEncoder
from course_lib.models.query_generator import QueryGenerator

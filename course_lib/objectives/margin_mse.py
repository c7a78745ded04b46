"""MarginMSE: learn from a cross-encoder how much better one passage answers a query than another. What GPL trains with."""

import torch
import torch.nn.functional as F

from course_lib import functional
from course_lib.objectives.base import Objective
from course_lib.objectives.examples import below, tokenize_examples, under


class MarginMSE(Objective):
    """Fit the difference of two dot products, query with positive and query with negative, to a given margin.

    Texts are (query, positive, negative, margin); the margin is a cross-encoder's raw logit for the positive minus that
    for the negative, often between −10 and 20, which is why vectors are not normalised: no difference of cosines is
    above 2. Search with what this trained by dot product, as in GPL.
    length: brings all vectors to this length, so that a dot product is its square times the cosine; for an encoder that was
    trained with cosines, whose lengths mean nothing. Search with that by cosine. None: vectors as they are, as in GPL.
    Batch: query_input_ids and query_attention_mask (B, T), input_ids and attention_mask (2B, T') of the positives and
    then the negatives, margins (B,). Loss: scalar, in squared units of the margins. Raises ValueError for examples of
    another kind, for a margin that is not finite and for a length that is not above 0.
    """

    def __init__(self, encoder, length=None):
        super().__init__(encoder)
        if length is not None and not 0 < length < float("inf"):
            raise ValueError(f"length is {length}; it must be above 0, or None for vectors as they are")
        self.length = length

    def prepare(self, texts):
        examples = tokenize_examples(self.encoder, texts, ("query", "positive", "negative", "margin"))
        for position, example in enumerate(examples):
            if not abs(example.number) < float("inf"):
                raise ValueError(f"the margin of `texts`[{position}] is {example.number}; it must be a finite number")
        return examples

    def collate(self, texts, generator):
        examples = self.prepare(texts)
        queries, positives, negatives = zip(*(example.texts for example in examples))
        return {
            **under("query", self.encoder.tokenize(list(queries))),
            **self.encoder.tokenize([*positives, *negatives]),
            "margins": torch.tensor([example.number for example in examples]),
        }

    def forward(self, batch):
        queries = self.encoder(below("query", batch))  # (B, d)
        answers = self.encoder(batch)  # (2B, d): the positives, then the negatives
        if self.length is not None:
            queries, answers = (self.length * F.normalize(vectors.float(), dim=-1) for vectors in (queries, answers))
        positives, negatives = answers.chunk(2)
        return functional.margin_mse(queries, positives, negatives, batch["margins"])

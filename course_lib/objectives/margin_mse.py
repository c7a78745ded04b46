"""MarginMSE: learn from a cross-encoder how much better one passage answers a query than another, as in GPL."""

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import functional
from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives.base import Objective
from course_lib.objectives.examples import Tokenized, add_prefix, strip_prefix, tokenize_examples


class MarginMSE(Objective):
    """Fit the difference of two dot products, query with positive and query with negative, to a given margin.

    Examples are (query, positive, negative, margin). The margin is a cross-encoder's raw logit for the positive minus
    that for the negative, often between −10 and 20, which is why vectors are not normalised: no difference of cosines
    is above 2.

    encoder: the model that is trained and kept.
    length: None, as in GPL, takes vectors as they are; the encoder must then be searched by dot product, and its
        `similarity` is set to "dot". A number brings all vectors to this length, so that a dot product is its square
        times the cosine: for an encoder that was trained with cosines, whose vectors' lengths mean nothing. Search that
        by cosine.

    Batch: query_input_ids and query_attention_mask (B, T), input_ids and attention_mask (2B, T') of the positives and
    then the negatives, margins (B,). Loss: scalar, in squared units of the margins.
    Raises ValueError for examples of another kind, a margin that is not finite and a length that is not above 0.
    """

    def __init__(self, encoder: SentenceEncoder, length: float | None = None):
        super().__init__(encoder)
        if length is not None and not 0 < length < float("inf"):
            raise ValueError(f"length is {length}; it must be above 0, or None for vectors as they are")
        self.length = length
        if length is None and encoder.normalize:
            what = "differences of dot products of unit vectors lie between -2 and 2, and most margins do not"
            warnings.warn(f"this encoder normalises its vectors: {what}; pass `length`", stacklevel=2)

    @property
    def similarity(self) -> str:
        """Dot product, or cosine where all vectors have one length."""
        return "dot" if self.length is None else "cosine"

    def prepare(self, examples: Sequence, max_length: int | None = None) -> list[Tokenized]:
        """Tokenise the texts of each example; see `Objective.prepare`."""
        examples = tokenize_examples(self.encoder, examples, ("query", "positive", "negative", "margin"), max_length)
        for position, example in enumerate(examples):
            if not abs(example.number) < float("inf"):
                raise ValueError(f"the margin of `texts`[{position}] is {example.number}; it must be a finite number")
        return examples

    def collate(self, examples: Sequence, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Make the batch that the class describes; see `Objective.collate`."""
        examples = self.prepare(examples)
        queries, positives, negatives = zip(*(example.texts for example in examples))
        texts = add_prefix("query", self.encoder.tokenize(list(queries)))
        texts |= self.encoder.tokenize([*positives, *negatives])
        return {**texts, "margins": torch.tensor([example.number for example in examples])}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The loss of a batch, a scalar."""
        queries = self.encoder(strip_prefix("query", batch))  # (B, d)
        answers = self.encoder(batch)  # (2B, d): the positives, then the negatives
        if self.length is not None:
            queries, answers = (
                self.length * F.normalize(functional.at_least_float32(v), dim=-1) for v in (queries, answers)
            )
        positives, negatives = answers.chunk(2)
        return functional.margin_mse(queries, positives, negatives, batch["margins"])

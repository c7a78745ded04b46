"""Contrastive Tension with in-batch negatives: each text finds itself in the other tower, among the whole batch."""

import math

import torch
from torch import Tensor, nn

from course_lib import functional
from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives.base import Objective
from course_lib.objectives.contrastive_tension import twin_of


class InBatchContrastiveTension(Objective):
    """Two towers embed the same batch; every other text of the batch is a negative, in both directions.

    Examples are texts.

    encoder: the tower that is kept after training, the second one as in Sentence Transformers; `twin` is the other.
    scale: what the cosines are multiplied by at first, 20 as in Sentence Transformers; its logarithm is learned.
    max_scale: the upper limit of the scale, 100 in CLIP; None, as in Sentence Transformers, for no limit.
    scale_rate: multiplies the learning rate of the scale.
    mask_duplicates: equal texts of a batch are no negatives of each other; off in Sentence Transformers.

    Batch: input_ids and attention_mask, each (B, T), B ≥ 2. Loss: scalar, nats.
    Raises ValueError for settings out of range and a batch of one text.
    """

    smallest_batch = 2
    similarity = "cosine"
    in_batch_negatives = True

    def __init__(
        self,
        encoder: SentenceEncoder,
        scale: float = 20.0,
        max_scale: float | None = None,
        scale_rate: float = 1.0,
        mask_duplicates: bool = False,
    ):
        super().__init__(encoder)
        for name, value in (("scale", scale), ("scale_rate", scale_rate)):
            if not value > 0:
                raise ValueError(f"{name} is {value}; it multiplies and must be above 0")
        if max_scale is not None and max_scale < scale:
            raise ValueError(f"max_scale is {max_scale}; it must be at least scale, {scale}, or None for no limit")
        self.scale = float(scale)
        self.max_scale = max_scale
        self.scale_rate = scale_rate
        self.mask_duplicates = mask_duplicates
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale), device=encoder.device))
        self.twin = twin_of(encoder)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The loss of a batch, a scalar."""
        if len(batch["input_ids"]) < 2:
            raise ValueError(
                "this batch holds 1 text; InBatchContrastiveTension compares each text with the others in "
                "its batch and needs at least 2. Pass more texts or raise batch_size"
            )
        a, b = self.twin(batch), self.encoder(batch)  # (B, d) each
        duplicates = same_texts(batch["input_ids"]) if self.mask_duplicates else None
        if self.max_scale is not None:
            with torch.no_grad():  # the weight itself, as in CLIP: a clamped result would have no gradient
                self.logit_scale.clamp_(max=math.log(self.max_scale))
        return functional.in_batch_contrastive_tension(a, b, self.logit_scale.exp(), duplicates)

    def learning_rate_factors(self) -> dict[nn.Parameter, float]:
        """The scale learns at a rate of its own."""
        return {self.logit_scale: self.scale_rate}


def same_texts(ids: Tensor) -> Tensor:
    """Which rows of token ids (B, T) are equal: (B, B) bool."""
    return (ids[:, None] == ids[None]).all(-1)

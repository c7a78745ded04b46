"""Contrastive Tension with in-batch negatives: each text finds itself in the other tower, among the whole batch."""

import math

import torch
from torch import Tensor, nn

from course_lib import functional
from course_lib.models.checks import check_positive
from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives.contrastive_tension import twin_of
from course_lib.objectives.in_batch import InBatchObjective, several_processes, texts_of_all_processes
from course_lib.objectives.multiple_negatives_ranking import duplicates


class InBatchContrastiveTension(InBatchObjective):
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

    def __init__(
        self,
        encoder: SentenceEncoder,
        scale: float = 20.0,
        max_scale: float | None = None,
        scale_rate: float = 1.0,
        mask_duplicates: bool = False,
    ):
        super().__init__(encoder)
        check_positive(scale=scale, scale_rate=scale_rate)
        if max_scale is not None and max_scale < scale:
            raise ValueError(f"max_scale is {max_scale}; it must be at least scale, {scale}, or None for no limit")
        self.scale, self.max_scale = float(scale), max_scale
        self.scale_rate, self.mask_duplicates = scale_rate, mask_duplicates
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale), device=encoder.device))
        self.twin = twin_of(encoder)

    def embed(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Each text by both towers, (B, d) each."""
        self.check_batch(len(batch["input_ids"]))
        return self.vectors(batch, self.twin), self.vectors(batch)

    def compare(self, batch: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
        """The loss of both towers' vectors, a scalar; see `InBatchObjective.compare`."""
        equal = self._equal(batch).to(a.device) if self.mask_duplicates else None  # (B, B)
        if self.max_scale is not None:
            with torch.no_grad():  # the weight itself, as in CLIP: a clamped result would have no gradient
                self.logit_scale.clamp_(max=math.log(self.max_scale))
        return functional.in_batch_contrastive_tension(a, b, self.logit_scale.exp(), equal)

    def _equal(self, batch):
        if several_processes():
            texts = texts_of_all_processes(batch)
            return duplicates(texts, texts, texts)
        return (batch["input_ids"][:, None] == batch["input_ids"][None]).all(-1)

    def learning_rate_factors(self) -> dict[nn.Parameter, float]:
        """The scale learns at a rate of its own."""
        return {self.logit_scale: self.scale_rate}

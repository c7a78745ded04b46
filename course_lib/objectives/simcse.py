"""SimCSE: two dropout views of a sentence attract, the rest of the batch repels."""

import torch

from course_lib import functional
from course_lib.objectives.base import Objective


class SimCSE(Objective):
    """Pull two dropout views of a sentence together, push the rest of the batch away.

    temperature: 0.05, as in Gao et al. (2021), section 3; it divides the cosines.
    Batch: input_ids and attention_mask, each (B, T), B ≥ 2. Loss: scalar, nats. The model must be in training mode:
    without dropout the two views are the same. Raises ValueError for a batch of one text.
    """

    smallest_batch = 2

    def __init__(self, encoder, temperature=0.05):
        super().__init__(encoder)
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature}; it divides cosines and must be above 0")
        self.temperature = temperature

    def forward(self, batch):
        if len(batch["input_ids"]) < 2:
            raise ValueError(
                "this batch holds 1 text; SimCSE compares each text with the others in its batch and "
                "needs at least 2. Pass more texts or raise batch_size"
            )
        # one pass over both views, (2B, d): dropout differs between the two copies of a row
        both = self.encoder({k: torch.cat([v, v]) for k, v in batch.items()})
        first, second = both.chunk(2)
        return functional.info_nce(first, second, self.temperature)

"""Relevance: teach a cross-encoder to score a query's own text above other texts."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import functional
from course_lib.models.checks import check_choice
from course_lib.models.cross_encoder import CrossEncoder
from course_lib.objectives.base import Objective
from course_lib.objectives.examples import Tokenized


class Relevance(Objective):
    """Score the pair of a query and its positive high, and its pairs with negatives low.

    Examples are (query, positive, negative, …), all with the same number of negatives, which are best mined.

    cross_encoder: the model that is trained and kept.
    loss: "binary", each pair is right or wrong on its own, so that logits of different queries can be compared; or
        "softmax", the positive must be the best of its query.

    Batch: input_ids, attention_mask and, where the model tells two texts apart by it, token_type_ids, each
    (B · (1 + k), T); labels (B, 1 + k), 1 for the positive. Loss: scalar, nats per pair or per query.
    Raises ValueError for another loss and for examples of mixed sizes.
    """

    def __init__(self, cross_encoder: CrossEncoder, loss: str = "binary"):
        check_choice(("binary", "softmax"), loss=loss)
        super().__init__(cross_encoder)
        self.loss = loss

    def prepare(self, examples: Sequence, max_length: int | None = None) -> list[Tokenized]:
        """Tokenise each query with each of its texts; see `Objective.prepare`."""
        if all(isinstance(example, Tokenized) for example in examples):
            return list(examples)
        sizes = {len(example) if isinstance(example, (tuple, list)) else 0 for example in examples}
        if len(sizes) > 1 or min(sizes) < 3:
            must = "each must be (query, positive, negative, …), all of the same number"
            raise ValueError(f"`texts` holds examples of {sorted(sizes)} texts; {must}")
        ids, types = self.encoder.pair_ids([(query, text) for query, *rest in examples for text in rest], max_length)
        count = min(sizes) - 1
        starts = range(0, len(ids), count)  # of each query's pairs, the positive first
        return [Tokenized(ids[i : i + count], types=types[i : i + count]) for i in starts]

    def collate(self, examples: Sequence, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Make the batch that the class describes; see `Objective.collate`."""
        examples = self.prepare(examples)
        labels = torch.zeros(len(examples), len(examples[0].texts))
        labels[:, 0] = 1
        ids = [ids for example in examples for ids in example.texts]
        types = [types for example in examples for types in example.types]
        return {**self.encoder.pad(ids, types), "labels": labels}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The loss of a batch, a scalar."""
        logits = functional.at_least_float32(self.encoder(batch)).view_as(batch["labels"])  # (B, 1 + k)
        if self.loss == "softmax":
            return F.cross_entropy(logits, batch["labels"].argmax(1))
        return F.binary_cross_entropy_with_logits(logits, batch["labels"])

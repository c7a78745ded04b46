"""Contrastive Tension: two encoders, started from one, learn to tell two copies of a text from two different texts."""

import copy
from collections.abc import Sequence

from torch import Generator, Tensor

from course_lib import functional
from course_lib.models.checks import check_choice, check_positive
from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives.base import Objective


class ContrastiveTension(Objective):
    """Score pairs of texts by the dot product of two towers; raise it for the same text, lower it for another.

    Examples are texts. The authors draw negatives from the whole corpus. Here they come from the batch, so that each
    tower reads each text once; where `train` groups batches by length, negatives are therefore of similar length.

    encoder: the tower that is kept after training; `twin`, the other one, starts as its copy and is trained on its own.
    negatives_per_positive: 7, as in Carlsson et al. (2021), section 4.
    keep: whether the tower kept reads the "first" or the "second" text of a pair. Sentence Transformers keeps the
        second, the authors whichever scores better on STS-B; as pairs are drawn here, the two differ only by chance.
    reduction: over the pairs, "sum" as in Sentence Transformers or "mean" as in the authors' code.
    dropout: off in the authors' code, on in Sentence Transformers.

    Batch: input_ids and attention_mask (B, T); first, second and labels (B,): pair i is text first[i] in one tower and
    text second[i] in the other. Loss: scalar, nats.
    Raises ValueError for settings out of range, and for a batch too small to hold a positive and its negatives.
    """

    in_batch_negatives = True
    similarity = "cosine"  # trained by dot products; the authors and Sentence Transformers compare by cosine
    optimizer = "rmsprop"  # without weight decay, as the authors and Sentence Transformers do; else torch's defaults

    def __init__(
        self,
        encoder: SentenceEncoder,
        negatives_per_positive: int = 7,
        keep: str = "second",
        reduction: str = "sum",
        dropout: bool = False,
    ):
        super().__init__(encoder)
        check_positive(negatives_per_positive=negatives_per_positive)
        check_choice(("first", "second"), keep=keep)
        check_choice(("sum", "mean"), reduction=reduction)
        self.negatives_per_positive, self.keep = negatives_per_positive, keep
        self.reduction, self.dropout = reduction, dropout
        self.twin = twin_of(encoder)

    @property
    def smallest_batch(self) -> int:
        """A positive and its negatives; at least two negatives, because each takes the other's text as its second."""
        return max(3, 1 + self.negatives_per_positive)

    def train(self, mode: bool = True) -> "ContrastiveTension":
        """Training mode, in which the towers have no dropout unless `dropout` is set."""
        super().train(mode)
        if not self.dropout:
            self.encoder.eval()
            self.twin.eval()
        return self

    def collate(self, examples: Sequence, generator: Generator | None) -> dict[str, Tensor]:
        """Make the batch that the class describes; see `Objective.collate`."""
        self.check_batch(len(examples))
        first, second, labels = functional.sample_pairs(len(examples), self.negatives_per_positive, generator)
        batch = self.encoder.tokenize(examples)
        # the corpus may hold a text twice, or two that are equal once cut at max_length: no negative of each other
        ids = batch["input_ids"]
        apart = (labels == 1) | (ids[first] != ids[second]).any(1)
        return {**batch, "first": first[apart], "second": second[apart], "labels": labels[apart]}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The loss of a batch, a scalar."""
        towers = (self.twin, self.encoder) if self.keep == "second" else (self.encoder, self.twin)
        a, b = (tower(batch) for tower in towers)  # (B, d) each: every tower reads every text once
        return functional.contrastive_tension(a[batch["first"]], b[batch["second"]], batch["labels"], self.reduction)


def twin_of(encoder: SentenceEncoder) -> SentenceEncoder:
    """A second encoder with the same settings and its own copy of the weights; the tokenizer is shared."""
    return copy.deepcopy(encoder, {id(encoder.tokenizer): encoder.tokenizer})

"""Contrastive Tension: two encoders, grown from one, learn to tell a text and itself from two strangers."""

import copy

import torch

from course_lib import functional
from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives.base import Objective


class ContrastiveTension(Objective):
    """Score pairs of texts by the dot product of two towers; raise it for the same text, lower it for another.

    encoder: the tower that is kept after training; `twin`, the other one, starts as its copy and goes its own way.
    negatives_per_positive: 7, as in Carlsson et al. (2021), section 4. keep: whether the tower kept reads the "first"
    or the "second" text of a pair. Sentence Transformers keeps the second, the authors whichever scores better on
    STS-B; as pairs are drawn here, the two differ by chance alone.
    reduction: "sum" over the pairs as in Sentence Transformers, or "mean" as in the authors' code. dropout: off in the
    authors' code, on in Sentence Transformers.

    Batch: input_ids and attention_mask (B, T); first, second and labels (B,): pair i is text first[i] in one tower and
    text second[i] in the other. The authors draw negatives from the whole corpus, here they come from the batch, which
    was itself drawn at random: so each tower reads each text once. Loss: scalar, nats. Raises ValueError for settings
    out of range, and for a batch too small to hold a positive and its negatives.
    """

    def __init__(self, encoder, negatives_per_positive=7, keep="second", reduction="sum", dropout=False):
        super().__init__(encoder)
        if negatives_per_positive < 1:
            raise ValueError(f"negatives_per_positive is {negatives_per_positive}; it must be at least 1")
        for name, value, choices in (("keep", keep, ("first", "second")), ("reduction", reduction, ("sum", "mean"))):
            if value not in choices:
                raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
        self.negatives_per_positive = negatives_per_positive
        self.keep = keep
        self.reduction = reduction
        self.dropout = dropout
        self.twin = twin_of(encoder)

    @property
    def smallest_batch(self):
        """A positive and its negatives, of which there are at least two: a stranger needs a stranger."""
        return max(3, 1 + self.negatives_per_positive)

    def train(self, mode=True):
        """Training mode; without `dropout` the towers stay as they are when they encode."""
        super().train(mode)
        if not self.dropout:
            self.encoder.eval()
            self.twin.eval()
        return self

    def collate(self, texts, generator):
        if len(texts) < self.smallest_batch:
            raise ValueError(
                f"this batch holds {len(texts)} texts; ContrastiveTension makes a positive and "
                f"{self.negatives_per_positive} negatives of it and needs at least {self.smallest_batch}. "
                "Pass more texts or raise batch_size"
            )
        first, second, labels = functional.sample_pairs(len(texts), self.negatives_per_positive, generator)
        batch = self.encoder.tokenize(texts)
        # the corpus may hold a text twice, or two that are equal once cut at max_length: no negative of each other
        ids = batch["input_ids"]
        apart = (labels == 1) | (ids[first] != ids[second]).any(1)
        return {**batch, "first": first[apart], "second": second[apart], "labels": labels[apart]}

    def forward(self, batch):
        towers = (self.twin, self.encoder) if self.keep == "second" else (self.encoder, self.twin)
        a, b = (tower(batch) for tower in towers)  # (B, d) each: every tower reads every text once
        return functional.contrastive_tension(a[batch["first"]], b[batch["second"]], batch["labels"], self.reduction)

    def make_optimizer(self, config):
        """RMSprop without weight decay, as the authors and Sentence Transformers do; else with torch's defaults."""
        return torch.optim.RMSprop(self.parameters(), lr=config.learning_rate)


def twin_of(encoder):
    """A second encoder with the same weights and its own copy of them; the tokenizer is shared."""
    transformer = copy.deepcopy(encoder.transformer)
    return SentenceEncoder(transformer, encoder.tokenizer, encoder.pooling, encoder.max_length, encoder.source)

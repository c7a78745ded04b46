"""Multiple negatives ranking: each query finds its passage among all passages of the batch. What GenQ trains with."""

import torch

from course_lib import functional
from course_lib.objectives.base import Objective
from course_lib.objectives.examples import below, tokenize_examples, under


class MultipleNegativesRanking(Objective):
    """Pull a query and its passage together, push the batch's other passages away.

    Texts are (query, positive) or (query, positive, negative), all of one kind. scale: 20, as in Sentence Transformers,
    multiplies the cosines. A passage that answers a query too, because it equals that query's positive or belongs to the
    same query, is no negative of it; Sentence Transformers' sampler keeps such examples out of one batch instead.
    Batch: query_input_ids and query_attention_mask (B, T), input_ids and attention_mask (B or 2B, T') of the positives
    and then the negatives, duplicates (B, B or 2B). Loss: scalar, nats. Raises ValueError for a scale that is not above
    0, examples of mixed kinds and a batch of one pair.
    """

    smallest_batch = 2
    example = "pair"  # what errors call one

    def __init__(self, encoder, scale=20.0):
        super().__init__(encoder)
        if not scale > 0:
            raise ValueError(f"scale is {scale}; it multiplies cosines and must be above 0")
        self.scale = scale

    def prepare(self, texts):
        with_negative = len(texts) > 0 and isinstance(texts[0], (tuple, list)) and len(texts[0]) == 3
        roles = ("query", "positive", "negative") if with_negative else ("query", "positive")
        return tokenize_examples(self.encoder, texts, roles)

    def collate(self, texts, generator):
        queries, positives, *negatives = zip(*(example.texts for example in self.prepare(texts)))
        return self.batch(queries, positives, [n for column in negatives for n in column])

    def batch(self, queries, positives, negatives=()):
        """The tensors of a batch, as the class describes them, of tokenised texts."""
        passages = [*positives, *negatives]
        if len(passages) < 2:
            raise ValueError(
                f"this batch holds 1 {self.example}; {type(self).__name__} takes its negatives from the other "
                f"{self.example}s and needs at least 2. Pass more texts or raise batch_size"
            )
        return {
            **under("query", self.encoder.tokenize(list(queries))),
            **self.encoder.tokenize(passages),
            "duplicates": duplicates(queries, positives, passages),
        }

    def forward(self, batch):
        queries = self.encoder(below("query", batch))  # (B, d)
        passages = self.encoder(batch)  # (B or 2B, d)
        positives, negatives = passages[: len(queries)], passages[len(queries) :]
        return functional.multiple_negatives_ranking(
            queries, positives, negatives if len(negatives) else None, self.scale, batch["duplicates"]
        )


def duplicates(queries, positives, candidates):
    """Which candidates are no negatives of a query: those that equal its positive, and the positives of its equals.

    queries, positives: B texts each, strings or lists of token ids. candidates: N texts, the positives first.
    Returns (B, N) bool; true for a query's own positive too.
    """
    queries, positives, candidates = ([str(text) for text in texts] for texts in (queries, positives, candidates))
    same = torch.tensor([[p == c for c in candidates] for p in positives], dtype=torch.bool)
    same[:, : len(queries)] |= torch.tensor([[a == b for b in queries] for a in queries], dtype=torch.bool)
    return same

"""Multiple negatives ranking: each query finds its passage among all passages of the batch. What GenQ trains with."""

from collections.abc import Hashable, Iterable, Sequence

import torch
from torch import Tensor

from course_lib import functional
from course_lib.models.checks import check_positive
from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives.examples import Tokenized, add_prefix, strip_prefix, tokenize_examples
from course_lib.objectives.in_batch import InBatchObjective, several_processes, texts_of_all_processes


class MultipleNegativesRanking(InBatchObjective):
    """Pull a query and its passage together, push the batch's other passages away.

    Examples are (query, positive) or (query, positive, negative), all of one kind. A passage that answers a query too,
    because it equals that query's positive or belongs to the same query, is no negative of it. The batches of `train`
    avoid such examples, as Sentence Transformers' sampler does; any that meet are masked.

    encoder: the model that is trained and kept.
    scale: multiplies the cosines; 20, as in Sentence Transformers.

    Batch: query_input_ids and query_attention_mask (B, T), input_ids and attention_mask (B or 2B, T') of the positives
    and then the negatives, duplicates (B, B or 2B). Loss: scalar, nats.
    Raises ValueError for a scale that is not above 0, examples of mixed kinds and a batch of one pair.
    """

    example = "pair"

    def __init__(self, encoder: SentenceEncoder, scale: float = 20.0):
        super().__init__(encoder)
        check_positive(scale=scale)
        self.scale = scale

    def prepare(self, examples: Sequence, max_length: int | None = None) -> list[Tokenized]:
        """Tokenise the texts of each example; see `Objective.prepare`."""
        with_negative = len(examples) > 0 and isinstance(examples[0], (tuple, list)) and len(examples[0]) == 3
        roles = ("query", "positive", "negative") if with_negative else ("query", "positive")
        return tokenize_examples(self.encoder, examples, roles, max_length)

    def collate(self, examples: Sequence, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Make the batch that the class describes; see `Objective.collate`."""
        queries, positives, *negatives = zip(*(example.texts for example in self.prepare(examples)))
        return self.batch(queries, positives, [n for column in negatives for n in column])

    def batch(self, queries: Sequence, positives: Sequence, negatives: Sequence = ()) -> dict[str, Tensor]:
        """Make the tensors of a batch, as the class describes them, from lists of token ids."""
        passages = [*positives, *negatives]
        self.check_batch(len(passages))
        texts = add_prefix("query", self.encoder.tokenize(list(queries))) | self.encoder.tokenize(passages)
        return {**texts, "duplicates": duplicates(queries, positives, passages)}

    def embed(self, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """The queries, their positives and, where there are any, their negatives, (B, d) each."""
        queries = self.vectors(strip_prefix("query", batch))
        return queries, *self.vectors(batch).split(len(queries))

    def compare(
        self, batch: dict[str, Tensor], queries: Tensor, positives: Tensor, negatives: Tensor | None = None
    ) -> Tensor:
        """The loss of the vectors, a scalar; see `InBatchObjective.compare`."""
        masked = self._duplicates(batch).to(queries.device) if several_processes() else batch["duplicates"]
        return functional.multiple_negatives_ranking(queries, positives, negatives, self.scale, masked)

    def _duplicates(self, batch):
        """`duplicates` among the texts of all processes."""
        queries = texts_of_all_processes(strip_prefix("query", batch))
        count = len(batch["query_input_ids"])
        columns = zip(*(batch[name].split(count) for name in ("input_ids", "attention_mask")))
        columns = [texts_of_all_processes({"input_ids": ids, "attention_mask": mask}) for ids, mask in columns]
        return duplicates(queries, columns[0], [text for column in columns for text in column])

    def exclusive(self, example: Tokenized) -> Iterable[Hashable]:
        """The query and the positive; see `Objective.exclusive`."""
        query, positive, *_ = example.texts
        return ("query", tuple(query)), ("positive", tuple(positive))


def duplicates(queries: Sequence, positives: Sequence, candidates: Sequence) -> Tensor:
    """Which candidates are no negatives of a query: those that equal its positive, and the positives of its equals.

    queries, positives: B texts each, strings or lists of token ids.
    candidates: N texts, the positives first.
    Returns (B, N) bool; true for a query's own positive too.
    """
    numbers = {}  # equal texts share a number, so that comparing texts is comparing integers
    query, positive, candidate = (
        torch.tensor([numbers.setdefault(str(text), len(numbers)) for text in texts], dtype=torch.long)
        for texts in (queries, positives, candidates)
    )
    same = positive[:, None] == candidate[None]
    same[:, : len(query)] |= query[:, None] == query[None]
    return same

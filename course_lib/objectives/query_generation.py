"""Query generation: teach a query generator to write the query that belongs to a passage."""

from collections.abc import Sequence

from torch import Generator, Tensor

from course_lib import functional
from course_lib.models.query_generator import QueryGenerator
from course_lib.objectives.base import Objective
from course_lib.objectives.examples import Tokenized, tokenize_examples


class QueryGeneration(Objective):
    """Predict each token of a query from its passage and the tokens before it. Examples are (passage, query).

    generator: the model that is trained and kept.

    Batch: input_ids and attention_mask (B, T) of the passages, decoder_input_ids and labels (B, T') of the queries.
    Loss: scalar, nats per token. Raises ValueError for examples of another kind.
    """

    def __init__(self, generator: QueryGenerator):
        super().__init__(generator)

    def prepare(self, examples: Sequence, max_length: int | None = None) -> list[Tokenized]:
        """Tokenise passages and queries; see `Objective.prepare`."""
        return tokenize_examples(self.encoder.encoder, examples, ("passage", "query"), max_length)

    def collate(self, examples: Sequence, generator: Generator | None = None) -> dict[str, Tensor]:
        """Make the batch that the class describes; see `Objective.collate`."""
        passages, queries = (list(column) for column in zip(*(example.texts for example in self.prepare(examples))))
        tokenize = self.encoder.encoder.tokenize
        queries = tokenize(queries)
        decoder_input_ids, labels = functional.next_token_targets(queries["input_ids"], queries["attention_mask"])
        return {**tokenize(passages), "decoder_input_ids": decoder_input_ids, "labels": labels}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The loss of a batch, a scalar."""
        return functional.masked_lm_loss(self.encoder(batch), batch["labels"][functional.answered(batch)])

"""What every objective has: a model to train, a way to make a batch, and a loss."""

import os
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from torch import Generator, Tensor, nn

from course_lib.models.encoder import SentenceEncoder


class Objective(nn.Module):
    """A training signal: `collate` makes a batch of texts, and calling the objective with that batch gives the loss.

    encoder: the model that is trained and kept afterwards. For most objectives a SentenceEncoder, for Relevance a
        CrossEncoder, for QueryGeneration a QueryGenerator.

    A subclass defines `forward(batch)`, which returns the loss as a scalar, and whatever else differs from here.
    """

    smallest_batch = 1  # examples that a batch needs for the loss to mean anything
    optimizer = "adamw"  # or "rmsprop"
    similarity = None  # how to search with what was trained, "cosine" or "dot"; None leaves it as it was
    in_batch_negatives = False  # whether the other texts of a batch are a text's negatives
    example = "text"  # what errors call one

    def __init__(self, encoder: SentenceEncoder):
        super().__init__()
        self.encoder = encoder

    def settings(self) -> dict[str, object]:
        """What this objective and its model were made with, for the record of a run: {name: value}, None included."""
        of_torch = vars(nn.Module())
        own = {name: value for name, value in vars(self).items() if name[0] != "_" and name not in of_torch}
        own = {n: v.item() if isinstance(v, np.generic) else v for n, v in own.items()}
        own = {n: v for n, v in own.items() if isinstance(v, bool | int | float | str | list | tuple | dict | None)}
        return {"name": type(self).__name__, **self.encoder.settings(), **own}

    def learning_rate_factors(self) -> dict[nn.Parameter, float]:
        """The weights that learn at another rate than the configuration's, and what that rate is multiplied by."""
        return {}

    def prepare(self, examples: Sequence, max_length: int | None = None) -> list:
        """Do once what need not be done for every batch: tokenise.

        examples: texts, or what `prepare` made of them.
        max_length: texts are cut at this many tokens; by default where the model cuts them.
        Returns one item per example, with a length in tokens.
        """
        return self.encoder.token_ids(examples, max_length)

    def collate(self, examples: Sequence, generator: Generator | None) -> dict[str, Tensor]:
        """Make the batch that `forward` takes, on the CPU.

        Where a GPU trains, this is called on a thread, up to five steps ahead: draw random numbers from `generator`
        alone, and read nothing that `forward` or an evaluation changes.

        examples: texts, or what `prepare` made of them.
        generator: the source of all randomness in the batch.
        Returns {"input_ids", "attention_mask"}, each (B, T), and what else the objective needs.
        """
        return self.encoder.tokenize(examples)

    def check_batch(self, count: int) -> None:
        """Raise ValueError for a batch of so many examples, where it is too small for the loss to mean anything."""
        if count < self.smallest_batch:
            what = f"this batch holds {count} {self.example}(s); {type(self).__name__} compares them and needs"
            raise ValueError(f"{what} at least {self.smallest_batch}. Pass more or raise batch_size")

    def exclusive(self, example) -> Iterable[Hashable]:
        """Keys of a prepared example that must not occur twice in one batch.

        Where the other texts of the batch are negatives this is the example's text, so that no text becomes a negative
        of its equal.
        """
        return (tuple(example),) if self.in_batch_negatives else ()

    def save(self, path: str | os.PathLike) -> None:
        """Write what is kept after training into a folder."""
        self.mark_similarity()
        self.encoder.save(path)

    def mark_similarity(self) -> None:
        """Tell the encoder by which similarity it is trained, so that it is searched by the same."""
        if self.similarity is not None:
            self.encoder.similarity = self.similarity

"""Cropping: two spans of one passage are a pair. What Contriever trains with, on the text alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives.base import Objective
from course_lib.objectives.multiple_negatives_ranking import MultipleNegativesRanking


class Cropping(MultipleNegativesRanking):
    """Pull two random spans of the same passage together, push the spans of the batch's other passages away.

    Examples are passages. Izacard et al. (2022), Contriever, section 3.1: independent cropping.

    encoder, scale: as in MultipleNegativesRanking, whose loss and batches these are.
    shortest, longest: of a span, as shares of the passage's tokens, drawn anew for every span and batch; 0.1 to 0.5,
        0.05 to 0.5 in Contriever.
    Raises ValueError for shares out of range and for a batch of one passage.
    """

    example = "passage"
    prepare, exclusive = Objective.prepare, Objective.exclusive  # of single texts, not of pairs

    def __init__(self, encoder: SentenceEncoder, scale: float = 20.0, shortest: float = 0.1, longest: float = 0.5):
        super().__init__(encoder, scale)
        if not 0 < shortest <= longest <= 1:
            raise ValueError(f"shortest is {shortest} and longest {longest}; take 0 < shortest ≤ longest ≤ 1")
        self.shortest, self.longest = shortest, longest

    def collate(self, examples: Sequence, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Crop each passage twice and make a batch of the pairs; see `Objective.collate`."""
        crops = [(self.crop(ids, generator), self.crop(ids, generator)) for ids in self.prepare(examples)]
        return self.batch(*zip(*crops))

    def crop(self, ids: list[int], generator: torch.Generator | None = None) -> list[int]:
        """A random span of token ids, between the first and the last, which begin and end every text."""
        inner = ids[1:-1]
        share, place = torch.rand(2, generator=generator).tolist()
        length = max(1, round((self.shortest + (self.longest - self.shortest) * share) * len(inner)))
        start = int(place * (len(inner) - length + 1))
        return [ids[0], *inner[start : start + length], ids[-1]]

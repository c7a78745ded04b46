"""Cropping: two spans of one passage are a pair. What Contriever trains with, on the text alone."""

import torch

from course_lib.objectives.multiple_negatives_ranking import MultipleNegativesRanking


class Cropping(MultipleNegativesRanking):
    """Pull two random spans of the same passage together, push the spans of the batch's other passages away.

    shortest, longest: of a span, as shares of the passage's tokens; drawn anew, span by span, for every batch. Izacard et
    al. (2022), Contriever, section 3.1: independent cropping, 0.05 to 0.5 there. scale: as in MultipleNegativesRanking,
    whose loss and batches these are. Raises ValueError for shares that are no shares and a batch of one passage.
    """

    example = "passage"

    def __init__(self, encoder, scale=20.0, shortest=0.1, longest=0.5):
        super().__init__(encoder, scale)
        if not 0 < shortest <= longest <= 1:
            raise ValueError(
                f"shortest is {shortest} and longest {longest}; they are shares of a passage: above 0, at most 1, "
                "and in this order"
            )
        self.shortest, self.longest = shortest, longest

    def prepare(self, texts):
        return self.encoder.token_ids(texts)

    def collate(self, texts, generator):
        queries, positives = zip(
            *((self.crop(ids, generator), self.crop(ids, generator)) for ids in self.prepare(texts))
        )
        return self.batch(queries, positives)

    def crop(self, ids, generator=None):
        """A random span of token ids, between the first and the last, which frame every text."""
        inner = ids[1:-1]
        share, place = torch.rand(2, generator=generator).tolist()
        length = max(1, round((self.shortest + (self.longest - self.shortest) * share) * len(inner)))
        start = int(place * (len(inner) - length + 1))
        return [ids[0], *inner[start : start + length], ids[-1]]

"""SimCSE with repeated words: a method in one file, for notebook 11 and `course compare --method`.

In SimCSE the two views of a sentence have the same length, and most other sentences have another one, so an encoder can
use the length to tell them apart. ESimCSE (Wu et al., 2022) repeats some tokens of the second view. Its other part, a
queue of negatives from a slowly updated copy of the encoder, is left out here.
"""

import torch

from course_lib import functional
from course_lib.objectives import Objective
from course_lib.objectives.examples import add_prefix, strip_prefix

TITLE = "SimCSE, repeated words"  # in tables
RECIPE = {"temperature": 0.05, "rate": 0.32}  # what differs from the profile's recipe of SimCSE


def repeat_tokens(ids, rate, generator):
    """Write some tokens twice: from 0 to `rate` of them, drawn anew each time. ids: one text, [CLS] … [SEP]."""
    inner = len(ids) - 2
    most = min(inner, max(2, int(rate * inner)))
    count = int(torch.randint(most + 1, (), generator=generator))
    twice = set(torch.randperm(inner, generator=generator)[:count].tolist())
    repeated = [token for place, token in enumerate(ids[1:-1]) for token in [token] * (1 + (place in twice))]
    return [ids[0], *repeated, ids[-1]]


class WordRepetition(Objective):
    """Pull a sentence and its copy with repeated tokens together, push the rest of the batch away."""

    smallest_batch = 2
    similarity = "cosine"
    in_batch_negatives = True  # no sentence twice in one batch

    def __init__(self, encoder, temperature=0.05, rate=0.32):
        super().__init__(encoder)
        self.temperature, self.rate = temperature, rate

    def collate(self, examples, generator):
        """Token ids of B sentences → the tensors of both views, on the CPU."""
        rows = self.prepare(examples)
        repeated = [repeat_tokens(ids, self.rate, generator) for ids in rows]
        return self.encoder.tokenize(rows) | add_prefix("repeated", self.encoder.tokenize(repeated))

    def forward(self, batch):
        """The batch → the loss, a scalar: each sentence finds its copy among all copies. Dropout differs, too."""
        first, second = self.encoder(batch), self.encoder(strip_prefix("repeated", batch))  # (B, d)
        return functional.info_nce(first, second, self.temperature)

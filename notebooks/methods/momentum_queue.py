"""SimCSE with a queue of more negatives: a method in one file, for notebook 11 and `course compare --method`.

ESimCSE (Wu et al., 2022) also compares a sentence with sentences of earlier batches. Their vectors come from a second
encoder that follows the trained one slowly, as in MoCo (He et al., 2020), so that vectors of different steps compare.
ESimCSE's other part, repeated words, is in `word_repetition.py`.
"""

import copy

import torch
from torch import nn

from course_lib import functional
from course_lib.objectives import Objective

TITLE = "SimCSE, queue of negatives"  # in tables
RECIPE = {"temperature": 0.05, "momentum": 0.995, "length": 160}  # the paper's: a queue of 2.5 batches


class MomentumQueue(Objective):
    """Pull two dropout views together, push away the rest of the batch and the sentences of the last batches."""

    smallest_batch = 2
    similarity = "cosine"
    in_batch_negatives = True  # no sentence twice in one batch

    def __init__(self, encoder, temperature=0.05, momentum=0.995, length=160):
        super().__init__(encoder)
        self.temperature, self.momentum = temperature, momentum
        self.slow = copy.deepcopy(encoder).requires_grad_(False)
        for layer in self.slow.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0  # as in the paper: the queue holds vectors without dropout
        # buffers, so that a checkpoint holds them
        self.register_buffer("queue", torch.zeros(length, encoder.dimension, device=encoder.device))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long, device=encoder.device))

    def forward(self, batch):
        """The batch → the loss, a scalar: each sentence finds its other view among the batch's and the queue."""
        first, second = self.encoder(batch), self.encoder(batch)  # (B, d); dropout makes the difference
        candidates = torch.cat([second, self.queue[: int(self.filled)].to(second.dtype)])
        loss = functional.info_nce(first, candidates, self.temperature)
        if self.training:
            self.follow(batch)
        return loss

    @torch.no_grad()
    def follow(self, batch):
        """Move the slow encoder a little towards the trained one, and put its vectors of this batch into the queue."""
        for slow, fast in zip(self.slow.parameters(), self.encoder.parameters()):
            slow.lerp_(fast, 1 - self.momentum)
        newest = torch.cat([self.slow(batch).to(self.queue.dtype), self.queue])  # the oldest fall out at the end
        self.queue.copy_(newest[: len(self.queue)])
        self.filled.add_(len(batch["input_ids"])).clamp_(max=len(self.queue))

"""What every objective has: an encoder, a way to make a batch, and a loss."""

from torch import nn


class Objective(nn.Module):
    """A training signal made from text alone.

    `collate(texts, generator)` makes a batch of CPU tensors; calling the objective with that batch on its device gives
    the loss, a scalar; `encoder` is what is kept after training. Texts are strings, or what `prepare` made of them.
    """

    smallest_batch = 1  # texts that a batch needs for the loss to mean anything

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def prepare(self, texts):
        """Do once what need not be done for every batch: tokenise. Returns one item a text, with a length."""
        return self.encoder.token_ids(texts)

    def collate(self, texts, generator):
        """A batch for `forward`: {"input_ids", "attention_mask"}, each (B, T)."""
        return self.encoder.tokenize(texts)

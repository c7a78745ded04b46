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

    def settings(self):
        """What this objective and its encoder were made with, for the record of a run: {name: value}."""
        own = {k: v for k, v in vars(self).items() if isinstance(v, (bool, int, float, str)) and not k.startswith("_")}
        own.pop("training")  # torch's: whether dropout is on just now
        encoder = {"pooling": self.encoder.pooling, "max_length": self.encoder.max_length}
        return {"name": type(self).__name__, **own, **encoder}

    def prepare(self, texts):
        """Do once what need not be done for every batch: tokenise. Returns one item a text, with a length."""
        return self.encoder.token_ids(texts)

    def collate(self, texts, generator):
        """A batch for `forward`: {"input_ids", "attention_mask"}, each (B, T)."""
        return self.encoder.tokenize(texts)

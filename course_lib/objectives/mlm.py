"""Masked language modelling: hide tokens, predict them from their surroundings."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from course_lib import functional
from course_lib.models.encoder import SentenceEncoder
from course_lib.models.language_head import MaskedLanguageHead
from course_lib.objectives.base import Objective


class MaskedLanguageModel(Objective):
    """Predict hidden tokens; logits are computed only where a token is hidden.

    Examples are texts.

    encoder: the model that is trained and kept. The head is read from its checkpoint where that has one; otherwise it
        starts random, with a warning.
    mask_probability: of hiding a token; 0.15, as in Devlin et al. (2019). Of the hidden ones 80 % become [MASK], 10 %
        a random token and 10 % stay as they are.
    whole_word: choose words instead of tokens, and hide all pieces of a chosen word.

    Batch: input_ids, attention_mask, labels, each (B, T); labels are −100 where nothing is hidden. Loss: scalar, nats.
    Raises ValueError for a probability out of range, a tokenizer without a mask token and, with whole_word, a tokenizer
    that does not mark where words begin.
    """

    def __init__(self, encoder: SentenceEncoder, mask_probability: float = 0.15, whole_word: bool = False):
        super().__init__(encoder)
        if not 0 < mask_probability < 1:
            raise ValueError(f"mask_probability is {mask_probability}; it must lie between 0 and 1")
        if encoder.tokenizer.mask_token_id is None:
            raise ValueError("this tokenizer has no mask token to hide others with; take one that has, such as BERT's")
        self.mask_probability, self.whole_word = mask_probability, whole_word
        self._continues = continuations(encoder.tokenizer) if whole_word else None
        self.head = MaskedLanguageHead(encoder.transformer).to(encoder.device)
        self.head.load(encoder.source)

    def collate(self, examples: Sequence, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Make the batch that the class describes; see `Objective.collate`."""
        batch = self.encoder.tokenize(examples)
        ids, tokenizer = batch["input_ids"], self.encoder.tokenizer
        special = functional.special_mask(ids, tokenizer.all_special_ids)
        noise = (tokenizer.mask_token_id, len(tokenizer), generator)
        if self.whole_word:  # one draw per word, shared by its pieces
            words = word_numbers(self._continues, ids)
            chosen = (functional.draw(ids.shape, generator) < self.mask_probability).gather(1, words)
            ids, labels = functional.replace_tokens(ids, chosen & ~special, *noise)
        else:
            ids, labels = functional.mask_tokens(ids, special, self.mask_probability, *noise)
        return {**batch, "input_ids": ids, "labels": labels}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The loss of a batch, a scalar."""
        hidden = self.encoder.token_embeddings(batch)  # (B, T, d)
        masked = functional.answered(batch)
        return functional.masked_lm_loss(self.head(hidden[masked]), batch["labels"][masked])


def continuations(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """For every token of the vocabulary, whether it continues the word before it: (V,) bool.

    Raises ValueError for a tokenizer that does not mark where words begin.
    """
    pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    if any(p.startswith("##") for p in pieces):  # WordPiece marks the pieces inside a word
        return torch.tensor([p.startswith("##") for p in pieces])
    for mark in ("Ġ", "▁"):  # byte-level BPE and SentencePiece mark the first
        if any(p.startswith(mark) for p in pieces):
            special = set(tokenizer.all_special_tokens)
            return torch.tensor([not p.startswith(mark) and p not in special for p in pieces])
    raise ValueError("whole_word=True needs a tokenizer that marks where words begin (##, Ġ, ▁); pass whole_word=False")


def word_numbers(continues: Tensor, ids: Tensor) -> Tensor:
    """The number of each token's word in its row: what `continuations` returned, (B, T) → (B, T), from 0."""
    return (~continues[ids]).cumsum(1).sub(1).clamp(min=0)

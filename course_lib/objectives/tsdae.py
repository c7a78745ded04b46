"""TSDAE: rebuild a sentence from the one vector that an encoder makes of what is left of it."""

from collections.abc import Sequence

from torch import Generator, Tensor, nn

from course_lib import functional
from course_lib.models.checks import check_positive
from course_lib.models.decoder import Decoder, Layers
from course_lib.models.encoder import SentenceEncoder
from course_lib.models.language_head import MaskedLanguageHead
from course_lib.objectives.base import Objective
from course_lib.objectives.mlm import continuations, word_numbers


class DenoisingAutoEncoder(Objective):
    """Encode what deletion leaves of a text; let a decoder that sees only this vector rebuild the whole text.

    Examples are texts. The bottleneck is the encoder's own pooling; the paper's is "cls".

    encoder: the model that is trained and kept. The head is read from its checkpoint where that has one; otherwise it
        starts random, with a warning.
    deletion_probability: of a word; 0.6, as in Wang et al. (2021), section 3. Drawn anew for every batch.
    tie_weights: the decoder is made of the encoder's own layers and embeddings, as in the paper; False gives it copies.
    decoder_layers: use only the first so many layers; None means all.
    whole_word: delete words, as the paper does, instead of tokens.
    cross_attention: "linear", the linear map that attention to a single vector is, or "attention", with the query and
        key that never learn anything; both give the same loss.
    new_weights_rate: multiplies the learning rate of the weights that no checkpoint has.

    Batch: input_ids and attention_mask (B, T') of the damaged texts, decoder_input_ids and labels (B, T − 1) of the
    whole ones. Loss: scalar, nats per token; logits are computed only where there is a token to predict.
    Raises ValueError for settings out of range, a model with other layers, and a batch that is padded on the left.
    """

    def __init__(
        self,
        encoder: SentenceEncoder,
        deletion_probability: float = 0.6,
        tie_weights: bool = True,
        decoder_layers: Layers = None,
        whole_word: bool = True,
        cross_attention: str = "linear",
        new_weights_rate: float = 1.0,
    ):
        super().__init__(encoder)
        if not 0 <= deletion_probability < 1:
            raise ValueError(f"deletion_probability is {deletion_probability}; it must be at least 0 and below 1")
        check_positive(new_weights_rate=new_weights_rate)
        self.deletion_probability, self.tie_weights, self.whole_word = deletion_probability, tie_weights, whole_word
        self.cross_attention, self.new_weights_rate = cross_attention, new_weights_rate
        self._continues = continuations(encoder.tokenizer) if whole_word else None
        self._special, self._asked = _framing_tokens(encoder.tokenizer), False
        self.decoder = Decoder(encoder.transformer, decoder_layers, cross_attention, tie_weights)
        self.decoder_layers = len(self.decoder.layers)
        self.head = MaskedLanguageHead(self.decoder.transformer).to(encoder.device)
        self._head_is_new = not self.head.load(encoder.source)

    def collate(self, examples: Sequence, generator: Generator | None) -> dict[str, Tensor]:
        """Make the batch that the class describes; see `Objective.collate`."""
        whole = self.encoder.tokenize(examples)
        ids, mask = whole["input_ids"], whole["attention_mask"]
        words = word_numbers(self._continues, ids) if self.whole_word else None  # (B, T)
        noise = (self.deletion_probability, generator, self.encoder.tokenizer.pad_token_id, words)
        decoder_input_ids, labels = functional.next_token_targets(ids, mask)
        ids, mask = functional.delete_tokens(ids, self._special, *noise)
        return {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": decoder_input_ids, "labels": labels}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The loss of a batch, a scalar."""
        # on a GPU only once: the program waits for the answer
        asks, self._asked = batch["attention_mask"].device.type == "cpu" or not self._asked, True
        if asks and not batch["attention_mask"][:, 0].all():
            why = "the decoder reads from the left without looking ahead, which hides padding only on the right"
            raise ValueError(f"this batch is padded on the left; {why}. Make batches with `collate`")
        sentence = self.encoder(batch)  # (B, d): all that the decoder knows about the damaged text
        hidden = self.decoder(batch["decoder_input_ids"], sentence)  # (B, T − 1, d)
        answered = functional.answered(batch)
        return functional.masked_lm_loss(self.head(hidden[answered]), batch["labels"][answered])

    def new_weights(self) -> list[nn.Parameter]:
        """The weights that no checkpoint has: those of the cross-attention, and the head's if it started random."""
        parts = [part for layer in self.decoder.layers for part in (layer.cross_attention, layer.cross_norm)]
        weights = [weight for part in parts for weight in part.parameters()]
        if self._head_is_new:
            weights += [*self.head.dense.parameters(), *self.head.norm.parameters(), self.head.bias]
        return weights

    def learning_rate_factors(self) -> dict[nn.Parameter, float]:
        """The new weights learn at a rate of their own."""
        return dict.fromkeys(self.new_weights(), self.new_weights_rate)


def _framing_tokens(tokenizer):
    """The special tokens that no noise may delete; the unknown token is not one of them: it stands for a word."""
    framing = {getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep", "bos", "eos")}
    return sorted((set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}) | (framing - {None}))

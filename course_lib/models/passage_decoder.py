"""A decoder that reads a passage: causal layers with attention to all of its tokens, and a pointer that copies them."""

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from course_lib.models.decoder import Decoder, Layers, split_heads


class Read(NamedTuple):
    """What a layer has made of the passages, once for all tokens: key, value (B, heads, T, d / heads), mask (B, T)."""

    key: Tensor
    value: Tensor
    mask: Tensor


class PassageDecoder(Decoder):
    """A decoder like TSDAE's, but every layer attends to all token vectors of a passage instead of one vector.

    transformer, layers, tie: as in `Decoder`.
    """

    def __init__(self, transformer: PreTrainedModel, layers: Layers = None, tie: bool = True):
        super().__init__(transformer, layers, tie=tie)
        for layer in self.layers:
            layer.cross_attention = PassageAttention(layer)

    def read(self, states: Tensor, mask: Tensor) -> list[Read]:
        """Every layer's Read of the passages: token vectors (B, T, d), mask (B, T)."""
        return [layer.cross_attention.read(states, mask) for layer in self.layers]

    def step(self, ids: Tensor, passages: list[Read], past: list) -> Tensor:
        """The hidden vectors of the last tokens, given the keys and values of those before.

        ids: token ids (N, T), N a multiple of the B passages.
        passages: what `read` returned.
        past: one (key, value) per layer of the tokens before, None at first; updated in place.
        Returns (N, d).
        """
        hidden = self.transformer.embeddings(input_ids=ids)  # all, because some families count positions by the tokens
        bias = self._position_bias(hidden)
        hidden, bias = hidden[:, -1:], None if bias is None else bias[..., -1:, :]
        for number, (layer, passage) in enumerate(zip(self.layers, passages)):
            hidden, past[number] = attend_last(layer, hidden, past[number], bias)
            hidden = layer.feed_forward(layer.cross_norm(hidden + layer.cross_attention(hidden, passage)))
        return hidden[:, 0]


def attend_last(layer: nn.Module, hidden: Tensor, past: tuple | None, bias: Tensor | None = None) -> tuple:
    """`DecoderLayer.attend` for one token, given the keys and values of those before it.

    layer: a DecoderLayer.
    hidden: (N, 1, d).
    past: (key, value), each (N, heads, T − 1, d / heads), or None for the first token.
    bias: (1, heads, 1, T), or None.
    Returns (N, 1, d) and the past, one token longer.
    """
    query, key, value = (split_heads(part(hidden), layer.heads) for part in (layer.query, layer.key, layer.value))
    if past is not None:
        key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return layer.attention_norm(hidden + layer.out(mixed.transpose(1, 2).flatten(2))), (key, value)


class PassageAttention(nn.Module):
    """Attention of every token of a query to all tokens of its passage.

    layer: the DecoderLayer whose own attention it starts as a copy of, because that already knows which tokens are
        related to each other.
    """

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.heads, self.dropout = layer.heads, layer.attention_dropout
        for name in ("query", "key", "value", "out"):
            setattr(self, name, copy.deepcopy(getattr(layer, name)))

    def read(self, states: Tensor, mask: Tensor) -> Read:
        """The passages' keys and values: (B, T, d), (B, T) → Read."""
        return Read(split_heads(self.key(states), self.heads), split_heads(self.value(states), self.heads), mask)

    def forward(self, hidden: Tensor, passage: Read | tuple[Tensor, Tensor]) -> Tensor:
        """hidden (N, T', d), N a multiple of B; passage a Read, or its (states, mask) → (N, T', d)."""
        key, value, mask = passage if isinstance(passage, Read) else self.read(*passage)
        # queries about one passage stand side by side, so that its keys need not be copied for each
        query = split_heads(self.query(hidden).reshape(len(key), -1, hidden.shape[-1]), self.heads)
        dropout = self.dropout.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, mask[:, None, None].bool(), dropout)
        return self.out(mixed.transpose(1, 2).reshape(hidden.shape))


class Pointer(nn.Module):
    """Which token of the passage to copy next, and whether to copy at all (See et al., 2017).

    A copy mostly continues where the last token left off. The key of a place in the passage is therefore made of its
    token vector and of the word embedding of the token *before* it, which is what the decoder has just written.

    size: the length d of a vector.
    """

    def __init__(self, size: int):
        super().__init__()
        self.query, self.key, self.before = (nn.Linear(size, size) for _ in range(3))
        self.gate = nn.Linear(size, 1)

    def read(self, states: Tensor, embedded: Tensor) -> Tensor:
        """The key of every place: token vectors (B, T, d), word embeddings (B, T, d) → (B, T, d)."""
        before = F.layer_norm(embedded, embedded.shape[-1:])[:, :-1]  # as long as token vectors are
        return self.key(states) + self.before(F.pad(before, (0, 0, 1, 0)))

    def forward(self, hidden: Tensor, key: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Where each token of a query points, and whether it writes a word of its own instead.

        hidden: (N, T', d), N a multiple of B.
        key: what `read` returned, (B, T, d).
        mask: (B, T).
        Returns attention to the places (N, T', T) and the logit (N, T') of writing.
        """
        query = self.query(hidden).reshape(len(key), -1, hidden.shape[-1])
        scores = (query @ key.transpose(1, 2)).float() / hidden.shape[-1] ** 0.5
        attention = scores.masked_fill(mask[:, None] == 0, float("-inf")).softmax(-1)
        return attention.reshape(*hidden.shape[:-1], -1), self.gate(hidden).squeeze(-1).float()

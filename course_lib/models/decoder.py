"""A decoder made of an encoder's own layers: causal, with cross-attention to one vector."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN

from course_lib.models.checks import check_choice
from course_lib.models.encoder import evaluation_mode
from course_lib.models.language_head import setting

Layers = int | None  # how many of an encoder's layers a decoder uses; None means all

# Where the families of encoders keep the parts of a layer: BERT and RoBERTa, MPNet, DistilBERT. The names are also
# those of the weights in a checkpoint, so no release can change them.
_PARTS = {
    "query": ("attention.self.query", "attention.attn.q", "attention.q_lin"),
    "key": ("attention.self.key", "attention.attn.k", "attention.k_lin"),
    "value": ("attention.self.value", "attention.attn.v", "attention.v_lin"),
    "out": ("attention.output.dense", "attention.attn.o", "attention.out_lin"),
    "attention_norm": ("attention.output.LayerNorm", "attention.LayerNorm", "sa_layer_norm"),
    "up": ("intermediate.dense", "intermediate.dense", "ffn.lin1"),
    "down": ("output.dense", "output.dense", "ffn.lin2"),
    "output_norm": ("output.LayerNorm", "output.LayerNorm", "output_layer_norm"),
}


class Decoder(nn.Module):
    """An encoder's embeddings and layers, made to read from left to right and to attend to one vector.

    transformer: the encoder's.
    layers: use only the first so many; None means all.
    cross_attention: "linear" or "attention", see `CrossAttention`.
    tie: whether the encoder's weights are used; False copies them.
    Raises ValueError for settings out of range and where the layers do not compute what this decoder computes.
    """

    def __init__(
        self, transformer: PreTrainedModel, layers: Layers = None, cross_attention: str = "linear", tie: bool = True
    ):
        super().__init__()
        check_choice(("linear", "attention"), cross_attention=cross_attention)
        self.transformer = transformer if tie else copy.deepcopy(transformer)
        stack, config, full = encoder_layers(self.transformer), transformer.config, cross_attention == "attention"
        if layers is not None and not 1 <= layers <= len(stack):
            raise ValueError(f"decoder_layers is {layers}; this encoder has 1 to {len(stack)}")
        self.layers = nn.ModuleList(DecoderLayer(layer, config, full) for layer in stack[:layers])
        self.to(transformer.device)
        self._check_against_encoder()
        if not tie:
            del stack[len(self.layers) :]  # of the copy: nothing uses them

    def forward(self, ids: Tensor, sentence: Tensor) -> Tensor:
        """Hidden vectors of tokens, none of which sees a later token.

        ids: token ids (B, T).
        sentence: the vectors that all tokens attend to, (B, d).
        Returns (B, T, d).
        """
        hidden = self.transformer.embeddings(input_ids=ids)
        bias = self._position_bias(hidden)
        for layer in self.layers:
            hidden = layer(hidden, sentence, bias)
        return hidden

    def _position_bias(self, hidden):
        """MPNet's bias by distance with the causal mask added, (1, heads, T, T); None for models without one."""
        compute = getattr(getattr(self.transformer, "encoder", None), "compute_position_bias", None)
        if compute is None:
            return None
        bias = compute(hidden[:1])
        later = torch.ones(bias.shape[-2:], dtype=torch.bool, device=bias.device).triu(1)
        return bias.masked_fill(later, float("-inf"))

    @torch.no_grad()
    def _check_against_encoder(self):
        """Raise ValueError unless the layers, without cross-attention, compute what the encoder computes.

        The last token sees all others in a causal layer too, so both must agree there, layer by layer.
        """
        ids = torch.arange(4, 12, device=self.transformer.device)[None] % self.transformer.config.vocab_size
        with evaluation_mode(self):
            states = self.transformer(ids, torch.ones_like(ids), output_hidden_states=True).hidden_states
            pairs = [(self.transformer.embeddings(input_ids=ids), states[0])]
            for layer, before, after in zip(self.layers, states, states[1:]):
                ours = layer.feed_forward(layer.attend(before, self._position_bias(before)))
                pairs.append((ours[:, -1], after[:, -1]))
        if not all(a.shape == b.shape and torch.allclose(a, b, atol=1e-3, rtol=1e-3) for a, b in pairs):
            raise ValueError(_unknown_layers(self.transformer))


class DecoderLayer(nn.Module):
    """One layer of an encoder with causal attention, and cross-attention between attention and feed-forward.

    layer: the encoder's; its parts are used, not copied. Cross-attention and its norm are new.
    config: the encoder's.
    with_query_and_key: as in `CrossAttention`.
    """

    def __init__(self, layer: nn.Module, config: PretrainedConfig, with_query_and_key: bool = False):
        super().__init__()
        for name, part in _parts(layer).items():
            setattr(self, name, part)
        self.heads = config.num_attention_heads
        self.activation = ACT2FN[setting(config, "hidden_act", "activation", default="gelu")]
        self.dropout = nn.Dropout(setting(config, "hidden_dropout_prob", "dropout"))
        self.attention_dropout = nn.Dropout(setting(config, "attention_probs_dropout_prob", "attention_dropout"))
        self.cross_attention = CrossAttention(config, self.attention_dropout, with_query_and_key)
        self.cross_norm = nn.LayerNorm(config.hidden_size, eps=self.attention_norm.eps)

    def forward(self, hidden: Tensor, sentence: Tensor, bias: Tensor | None = None) -> Tensor:
        """hidden (B, T, d), sentence (B, d), bias (1, heads, T, T) or None → (B, T, d)."""
        hidden = self.attend(hidden, bias)
        hidden = self.cross_norm(hidden + self.dropout(self.cross_attention(hidden, sentence)))
        return self.feed_forward(hidden)

    def attend(self, hidden: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attention of each token to itself and those before it, with its norm; a bias has the causal mask in it."""
        query, key, value = (split_heads(part(hidden), self.heads) for part in (self.query, self.key, self.value))
        dropout = self.attention_dropout.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, bias, dropout, is_causal=bias is None)
        return self.attention_norm(hidden + self.dropout(self.out(mixed.transpose(1, 2).flatten(2))))

    def feed_forward(self, hidden: Tensor) -> Tensor:
        """The layer's feed-forward network with its norm: (B, T, d) → (B, T, d)."""
        return self.output_norm(hidden + self.dropout(self.down(self.activation(self.up(hidden)))))


class CrossAttention(nn.Module):
    """Attention of every token to one vector.

    A softmax over one key is 1 whatever the query, so the result is the same linear map of the sentence at every token.

    config: the encoder's.
    attention_dropout: the layer's dropout of attention weights.
    with_query_and_key: also compute query and key, as attention is written; without, only the linear map is computed,
        and the loss and its gradients are the same.
    """

    def __init__(self, config: PretrainedConfig, attention_dropout: nn.Dropout, with_query_and_key: bool = False):
        super().__init__()
        size = config.hidden_size
        self.heads, self.dropout = config.num_attention_heads, attention_dropout
        if with_query_and_key:
            self.query, self.key = nn.Linear(size, size), nn.Linear(size, size)
        self.value, self.out = nn.Linear(size, size), nn.Linear(size, size)
        for linear in self.children():
            if isinstance(linear, nn.Linear):
                nn.init.normal_(linear.weight, std=getattr(config, "initializer_range", 0.02))
                nn.init.zeros_(linear.bias)

    def forward(self, hidden: Tensor, sentence: Tensor) -> Tensor:
        """hidden (B, T, d), sentence (B, d) → (B, T, d)."""
        value = split_heads(self.value(sentence[:, None]), self.heads)  # (B, heads, 1, d / heads)
        if not hasattr(self, "query") and not (self.training and self.dropout.p):
            return self.out(value.transpose(1, 2).flatten(2)).expand_as(hidden)
        # dropout of attention removes a head's whole answer from a token, so here each token needs an answer of its own
        return self.out((self.dropout(self._weights(hidden, sentence)) * value).transpose(1, 2).flatten(2))

    def _weights(self, hidden, sentence):
        """How much each head of each token attends to the one vector: (B, heads, T, 1), all of it."""
        if not hasattr(self, "query"):
            return hidden.new_ones(len(hidden), self.heads, hidden.shape[1], 1)
        query = split_heads(self.query(hidden), self.heads)  # (B, heads, T, d / heads)
        key = split_heads(self.key(sentence[:, None]), self.heads)  # (B, heads, 1, d / heads)
        return (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(-1)


def split_heads(hidden: Tensor, heads: int) -> Tensor:
    """(B, T, d) → (B, heads, T, d / heads)."""
    return hidden.unflatten(-1, (heads, -1)).transpose(1, 2)


# --------------------------------------------------------------------------- any family of encoders


def encoder_layers(transformer: PreTrainedModel) -> nn.ModuleList:
    """The list of a transformer's layers. Raises ValueError where it has none whose parts are known."""
    for module in transformer.modules():
        if isinstance(module, nn.ModuleList) and len(module):
            _parts(module[0])
            return module
    raise ValueError(_unknown_layers(transformer))


def _parts(layer):
    """{part: module} of an encoder's layer, whatever its family calls them."""
    for names in zip(*_PARTS.values()):
        try:
            return {part: layer.get_submodule(name) for part, name in zip(_PARTS, names)}
        except AttributeError:
            continue
    raise ValueError(_unknown_layers(layer))


def _unknown_layers(module):
    return f"{type(module).__name__} has layers that cannot be turned into a decoder; take an encoder like BERT"

"""The head of a language model: from hidden vectors to logits over the vocabulary."""

import torch
from safetensors import safe_open
from torch import nn
from transformers.activations import ACT2FN

from course_lib.models.encoder import saved_file

# where the families of checkpoints keep the parts of their head: BERT, RoBERTa and MPNet, DistilBERT
_HEADS = {
    "dense": ("cls.predictions.transform.dense", "lm_head.dense", "vocab_transform"),
    "norm": ("cls.predictions.transform.LayerNorm", "lm_head.layer_norm", "vocab_layer_norm"),
    "bias": ("cls.predictions.bias", "lm_head.bias", "vocab_projector.bias"),
}


class MaskedLanguageHead(nn.Module):
    """Hidden vectors to vocabulary logits: (M, d) → (M, V); the output matrix is the word embedding itself."""

    def __init__(self, transformer):
        super().__init__()
        config = transformer.config
        self.embeddings = transformer.get_input_embeddings()  # tied: one matrix reads and writes words
        size = self.embeddings.embedding_dim
        self.dense = nn.Linear(config.hidden_size, size)
        self.activation = ACT2FN[getattr(config, "hidden_act", None) or getattr(config, "activation", "gelu")]
        self.norm = nn.LayerNorm(size, eps=getattr(config, "layer_norm_eps", 1e-12))
        self.bias = nn.Parameter(torch.zeros(self.embeddings.num_embeddings))
        nn.init.normal_(self.dense.weight, std=getattr(config, "initializer_range", 0.02))
        nn.init.zeros_(self.dense.bias)

    def forward(self, hidden):
        hidden = self.norm(self.activation(self.dense(hidden)))
        return nn.functional.linear(hidden, self.embeddings.weight, self.bias)

    def load(self, source):
        """Take the head's weights from the checkpoint that the encoder came from; True if it carries them all."""
        path = saved_file(source, "model.safetensors") if source else None
        if path is None:
            return False
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())

            def find(part, old=None, suffix=""):
                """The tensor under any family's name; `old` is what BERT's first checkpoints call it."""
                for stem in _HEADS[part]:
                    for name in (f"{stem}{suffix}", f"{stem}{old}"):
                        if name in names:
                            return file.get_tensor(name)

            found = [
                find("dense", suffix=".weight"),
                find("dense", suffix=".bias"),
                find("norm", ".gamma", ".weight"),
                find("norm", ".beta", ".bias"),
                find("bias"),
            ]
        mine = [self.dense.weight, self.dense.bias, self.norm.weight, self.norm.bias, self.bias]
        if any(theirs is None or theirs.shape != own.shape for theirs, own in zip(found, mine)):
            return False
        with torch.no_grad():
            for own, theirs in zip(mine, found):
                own.copy_(theirs)
        return True

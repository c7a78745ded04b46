"""The head of a language model: from hidden vectors to logits over the vocabulary."""

import warnings

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN

from course_lib.models.folders import saved_file

# Where the families of checkpoints keep the dense layer, the norm and the bias of their head.
_HEADS = (
    ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"),  # BERT, DeBERTa
    ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),  # RoBERTa, MPNet
    ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),  # DistilBERT
    ("predictions.dense", "predictions.LayerNorm", "predictions.bias"),  # ALBERT
    ("generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head.bias"),  # ELECTRA's generator
    ("lm_predictions.lm_head.dense", "lm_predictions.lm_head.LayerNorm", "lm_predictions.lm_head.bias"),  # DeBERTa
    ("head.dense", "head.norm", "decoder.bias"),  # ModernBERT
)


class MaskedLanguageHead(nn.Module):
    """Hidden vectors to vocabulary logits; the output matrix is the word embedding itself.

    transformer: gives the word embedding, which is shared, not copied. The rest starts random; `load` fills it.
    """

    def __init__(self, transformer: PreTrainedModel):
        super().__init__()
        config = transformer.config
        self.embeddings = transformer.get_input_embeddings()  # tied: one matrix reads and writes words
        size = self.embeddings.embedding_dim
        self.dense = nn.Linear(config.hidden_size, size)
        self.activation = ACT2FN[setting(config, "classifier_activation", "hidden_act", "activation", default="gelu")]
        self.norm = nn.LayerNorm(size, eps=setting(config, "layer_norm_eps", "norm_eps", default=1e-12))
        self.bias = nn.Parameter(torch.zeros(self.embeddings.num_embeddings))
        nn.init.normal_(self.dense.weight, std=getattr(config, "initializer_range", 0.02))
        nn.init.zeros_(self.dense.bias)
        self._family = config.model_type
        self._tied = getattr(config, "tie_word_embeddings", True)  # another output matrix is not read

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden vectors to logits: (M, d) → (M, V)."""
        hidden = self.norm(self.activation(self.dense(hidden)))
        return nn.functional.linear(hidden, self.embeddings.weight, self.bias)

    def load(self, source: str | None) -> bool:
        """Take the head's weights from the checkpoint that the encoder came from.

        source: a folder or a hub name; None for an encoder that came from no checkpoint.
        Returns True if the checkpoint has them all. If it has not, the head stays as it is, and a warning says so.
        """
        if not source:
            return False
        try:
            path = saved_file(source, "model.safetensors") if self._tied else None
        except OSError:
            path = None
        found = None if path is None else _read_head(path)
        mine = [self.dense.weight, self.norm.weight, self.bias, self.dense.bias, self.norm.bias]
        if found is None or any(t is not None and t.shape != own.shape for t, own in zip(found, mine)):
            what = f"no masked-language head for this {self._family} model was found in {source}"
            warnings.warn(f"{what}: it starts random; a checkpoint of a masked language model has one", stacklevel=3)
            return False
        with torch.no_grad():
            for own, theirs in zip(mine, found):
                own.zero_() if theirs is None else own.copy_(theirs)
        return True


def _read_head(path):
    """Dense weight, norm weight, bias, dense bias and norm bias in a weights file; None where it has no known head.

    The last two are None in families without them.
    """
    with safe_open(path, framework="pt") as file:
        # BERT's first checkpoints call a norm's weights gamma and beta
        names = {name.replace(".gamma", ".weight").replace(".beta", ".bias"): name for name in file.keys()}
        for dense, norm, bias in _HEADS:
            wanted = [f"{dense}.weight", f"{norm}.weight", bias, f"{dense}.bias", f"{norm}.bias"]
            if all(name in names for name in wanted[:3]):
                return [file.get_tensor(names[name]) if name in names else None for name in wanted]
    return None


def setting(config: PretrainedConfig, *names: str, default: object = None) -> object:
    """A setting that the families' configurations call by different names: the first of them that is set."""
    return next((getattr(config, name) for name in names if getattr(config, name, None) is not None), default)

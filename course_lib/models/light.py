"""An encoder that begins at once: BERT in NumPy for a few texts, SentenceEncoder for many.

Importing torch and Transformers takes longer than a search in embeddings that are kept already.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from course_lib.models.layout import check_finished, read_settings

FEW = 100  # texts; above, what torch saves is more than what its import takes
_AT_ONCE = 16  # texts in a batch
# what vectors depend on, of the files in a model's folder
_FILES = ("config.json", "modules.json", "sentence_bert_config.json", "tokenizer.json", "model.safetensors")


class LightEncoder:
    """Embeds as SentenceEncoder does, and takes torch and Transformers only for many texts or other models.

    Few texts have its vectors to 1e-5. Many are embedded in bf16 where the hardware multiplies it, which takes half the
    time; cosines then differ by up to 0.005, and nDCG@10 of all-MiniLM-L6-v2 on the validation tasks stays the same
    (769 summaries: -0.001 to +0.000).

    folder: a Sentence Transformers folder, or a hub name.
    Raises FileNotFoundError and ValueError as `SentenceEncoder.from_pretrained`, and ValueError for an interrupted
    training.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        check_finished(folder)
        self._source, self._bert = str(folder), _Bert.read(self.folder)
        self.similarity = self._bert.similarity if self._bert else self.full.similarity

    @cached_property
    def full(self):
        """The SentenceEncoder."""
        from course_lib.models.encoder import SentenceEncoder

        return SentenceEncoder.from_pretrained(self._source)

    @property
    def tokenizer(self):
        """The `tokenizers.Tokenizer`."""
        return self._bert.tokenizer if self._bert else self.full.tokenizer.backend_tokenizer

    def encode(self, texts: Sequence[str], batch_size: int = 64, progress: bool = False) -> np.ndarray:
        """As `SentenceEncoder.encode`."""
        if self._bert and len(texts) <= FEW:
            return self._bert.encode(list(texts))
        from course_lib.models.precision import autocast, choose_precision

        device = self.full.device
        with autocast(device, choose_precision("auto", device)):
            return self.full.encode(texts, batch_size, progress=progress)

    @cached_property
    def key(self) -> str:
        """What its vectors depend on, in 16 digits."""
        if not self._bert:
            from course_lib.storage import fingerprint

            return fingerprint(self.full)
        digest = hashlib.sha256()
        for name in (*_FILES, *(p.relative_to(self.folder) for p in sorted(self.folder.glob("*_Pooling/config.json")))):
            path = self.folder / name
            digest.update(path.read_bytes() if path.is_file() else b"")
        return digest.hexdigest()[:16]


class _Bert:
    """A BERT's forward pass in NumPy, as notebook 01 builds it, without dropout."""

    def __init__(self, config, settings, weights, tokenizer):
        self.heads, self.layers = config["num_attention_heads"], config["num_hidden_layers"]
        self.epsilon, self.weights, self.tokenizer = config["layer_norm_eps"], weights, tokenizer
        self.pooling, self.normalize = settings["pooling"], settings["normalize"]
        self.similarity = settings["similarity"]

    @classmethod
    def read(cls, folder: Path) -> "_Bert | None":
        """The model in a folder; None where it is another kind than this class computes."""
        if not (folder / "model.safetensors").is_file():
            return None
        read = lambda name: json.loads((folder / name).read_text("utf-8")) if (folder / name).is_file() else None  # noqa: E731
        try:
            config, settings = read("config.json") or {}, read_settings(folder, read)
        except ValueError:
            return None  # SentenceEncoder says what is wrong
        plain = config.get("model_type") == "bert" and config.get("hidden_act", "gelu") == "gelu"
        plain = plain and config.get("position_embedding_type", "absolute") == "absolute"
        if not plain or {"pooling", "max_length"} - set(settings) or settings["do_lower_case"]:
            return None
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        try:
            weights = load_file(folder / "model.safetensors")
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception:  # tokenizers raises nothing more special; SentenceEncoder says what is wrong
            return None
        weights = {name.removeprefix("bert."): w.astype(np.float32, copy=False) for name, w in weights.items()}
        tokenizer.no_padding()
        tokenizer.enable_truncation(min(settings["max_length"], config["max_position_embeddings"]))
        return cls(config, settings, weights, tokenizer)

    def encode(self, texts: list[str]) -> np.ndarray:
        """(len(texts), d) float32."""
        rows = [read.ids for read in self.tokenizer.encode_batch([str(text) for text in texts])]
        vectors = np.zeros((len(rows), self.weights["embeddings.word_embeddings.weight"].shape[1]), dtype=np.float32)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for start in range(0, len(order), _AT_ONCE):
            chosen = order[start : start + _AT_ONCE]
            vectors[chosen] = self._embed([rows[i] for i in chosen])
        return vectors

    def _embed(self, rows):
        width = max(map(len, rows))
        mask = np.arange(width) < np.array([len(row) for row in rows])[:, None]  # (B, T)
        ids = np.zeros(mask.shape, dtype=np.int64)
        ids[mask] = np.concatenate(rows)
        x = self._embeddings(ids)
        hidden = np.where(mask, np.float32(0), np.float32(-1e30))[:, None, None]
        for number in range(self.layers):
            x = self._layer(x, hidden, f"encoder.layer.{number}")
        mask = mask[:, :, None]
        if self.pooling == "mean":
            pooled = (x * mask).sum(1) / mask.sum(1)
        else:
            pooled = x[:, 0] if self.pooling == "cls" else np.where(mask, x, -np.inf).max(1)
        return pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12) if self.normalize else pooled

    def _embeddings(self, ids):
        table = {
            kind: self.weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")
        }
        x = table["word"][ids] + table["position"][: ids.shape[1]] + table["token_type"][0]
        return self._norm(x, "embeddings.LayerNorm")

    def _layer(self, x, hidden, name):
        query, key, value = (
            self._split(self._linear(x, f"{name}.attention.self.{of}")) for of in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(2, 3) / np.float32(query.shape[-1] ** 0.5) + hidden  # (B, heads, T, T)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        seen = (weights / weights.sum(-1, keepdims=True)) @ value
        seen = seen.swapaxes(1, 2).reshape(x.shape)
        x = self._norm(x + self._linear(seen, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        inner = _gelu(self._linear(x, f"{name}.intermediate.dense"))
        return self._norm(x + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _split(self, x):
        """(B, T, d) → (B, heads, T, d / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)

    def _linear(self, x, name):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _norm(self, x, name):
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(self.epsilon))
        return centred / scale * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def _gelu(x):
    from scipy.special import erf

    return x * (erf(x * np.float32(0.5**0.5)) + 1) * np.float32(0.5)

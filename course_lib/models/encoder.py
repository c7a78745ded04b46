"""SentenceEncoder: tokenizer + transformer + pooling, from text to one vector a text."""

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from torch import nn
from tqdm.auto import tqdm
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from course_lib import functional
from course_lib.storage import write_atomically
from course_lib.texts.checks import check_texts

POOLING = {"mean": functional.mean_pool, "cls": functional.cls_pool, "max": functional.max_pool}
LONGEST = 512  # tokens, where neither tokenizer nor model names a limit


class SentenceEncoder(nn.Module):
    """A transformer whose token vectors are pooled into one vector a text.

    transformer: any Transformers encoder. tokenizer: its fast tokenizer. pooling: "mean", "cls" or "max".
    max_length: texts are cut at this many tokens, special tokens included; by default what the tokenizer was saved
    with, at most 512. Raises ValueError for another pooling, a length that the model has no positions for, and a model
    that is no encoder.
    """

    def __init__(self, transformer, tokenizer, pooling="mean", max_length=None, source=None):
        super().__init__()
        if pooling not in POOLING:
            raise ValueError(f"pooling is {pooling!r}; choose one of {', '.join(POOLING)}")
        if getattr(transformer.config, "is_encoder_decoder", False) or tokenizer.pad_token_id is None:
            raise ValueError(
                f"a {transformer.config.model_type} model is no encoder that can be padded; take one "
                "such as BERT, RoBERTa, DistilBERT or MPNet"
            )
        limit = _positions(transformer.config)
        if max_length is not None and not 3 <= max_length <= limit:
            raise ValueError(f"max_length is {max_length}; this model takes 3 to {limit} tokens")
        self.transformer = transformer
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.max_length = max_length or min(limit, LONGEST, tokenizer.model_max_length)
        self.source = source  # where the weights came from: a folder or a hub name

    @classmethod
    def from_pretrained(cls, name_or_path, pooling=None, max_length=None, device=None):
        """Load a hub name, a Transformers folder or a Sentence Transformers folder.

        pooling: "mean", "cls" or "max"; by default what a Sentence Transformers folder says, else "mean".
        max_length: tokens; by default what the folder says. device: by default CUDA, else Apple's MPS, else the CPU.
        A normalising layer at the end of a Sentence Transformers model is left to `encode(normalize=True)`.
        Raises FileNotFoundError where there is no such model, ValueError where it is damaged or has other layers.
        """
        if not isinstance(name_or_path, (str, os.PathLike)):
            raise TypeError(f"name_or_path is {name_or_path!r:.60}; pass a folder or a hub name")
        source = str(name_or_path)
        _check_folder(Path(source))
        with _quiet():
            saved = _sentence_transformers_settings(source)
        with _quiet(), _explained(source):
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            transformer, report = AutoModel.from_pretrained(
                source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
        absent = sorted(k for k in report["missing_keys"] if not k.startswith("pooler."))
        if absent:
            raise ValueError(
                f"the weights in {source} are incomplete: {len(absent)} are missing, first {absent[0]}; "
                "copy or download the model again"
            )
        if getattr(transformer, "pooler", None) is not None:
            transformer.pooler = None  # BERT's next-sentence head: unused here, and random in most checkpoints
        if pooling is None:
            pooling = saved.get("pooling", "mean")
        if max_length is None and "max_length" in saved:
            max_length = min(saved["max_length"], _positions(transformer.config))
        encoder = cls(transformer, tokenizer, pooling, max_length, source)
        return encoder.eval().to(device or best_device())

    # ------------------------------------------------------------------ text in

    def token_ids(self, texts, max_length=None):
        """Tokenise: a list of lists of ids, special tokens included, each at most `max_length` long (the encoder's own
        by default; a training run may cut its texts shorter).

        Texts that are lists of ids already pass through, so that a training run tokenises only once.
        """
        if isinstance(texts, list) and texts and all(isinstance(t, list) for t in texts):
            return texts
        check_texts(texts)
        texts = list(texts)
        if not texts:
            return []
        return self.tokenizer(
            texts,
            truncation=True,
            max_length=max_length or self.max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]

    def tokenize(self, texts):
        """Tokenise and pad on the right: {"input_ids", "attention_mask"}, each (B, T) int64, on the CPU."""
        rows = self.token_ids(texts)
        lengths = torch.tensor([len(r) for r in rows])
        ids = torch.full((len(rows), max(lengths.tolist(), default=0)), self.tokenizer.pad_token_id)
        for row, tokens in zip(ids, rows):
            row[: len(tokens)] = torch.tensor(tokens)
        return {"input_ids": ids, "attention_mask": (torch.arange(ids.shape[1]) < lengths[:, None]).long()}

    # ------------------------------------------------------------------ vectors out

    def token_embeddings(self, batch):
        """The last layer's vector of every token: {"input_ids", "attention_mask"} (B, T) → (B, T, d)."""
        return self.transformer(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state

    def forward(self, batch):
        """One vector a text, with gradients: {"input_ids", "attention_mask"} (B, T) → (B, d)."""
        return POOLING[self.pooling](self.token_embeddings(batch), batch["attention_mask"])

    @torch.inference_mode()
    def encode(self, texts, batch_size=64, normalize=False, progress=False):
        """Embed texts, in the order given, without dropout.

        texts: a list of strings. batch_size: texts at once. normalize: scale each vector to length 1.
        Returns a float32 array (len(texts), dim); an empty list gives (0, dim). Raises TypeError for what is no text.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        rows = self.token_ids(texts)
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))  # longest first: memory runs out at once or never
        vectors = np.zeros((len(rows), self.dimension), dtype=np.float32)
        training = [m for m in self.modules() if m.training]
        self.eval()
        try:
            for start in tqdm(range(0, len(rows), batch_size), desc="Encoding", unit="batch", disable=not progress):
                chosen = order[start : start + batch_size]
                batch = self.tokenize([rows[i] for i in chosen])
                embedded = self({k: v.to(self.device) for k, v in batch.items()}).float()
                vectors[chosen] = (nn.functional.normalize(embedded, dim=-1) if normalize else embedded).cpu().numpy()
        finally:
            for module in training:
                module.training = True
        return vectors

    @property
    def dimension(self):
        """The length d of an embedding."""
        return self.transformer.config.hidden_size

    @property
    def device(self):
        """Where the weights are."""
        return next(self.parameters()).device

    # ------------------------------------------------------------------ to disk

    def save(self, path):
        """Write the Sentence Transformers layout, in safetensors: `SentenceTransformer(path)` gives the same vectors.

        path: a folder, made if absent; what it held of an earlier model is replaced. Raises ValueError for a file.
        """
        path = Path(path)
        if path.is_file():
            raise ValueError(f"path {str(path)!r} is a file; name a folder")
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path, prefix=".saving-") as unfinished, _quiet():
            self.transformer.save_pretrained(unfinished)
            self.tokenizer.save_pretrained(unfinished)
            for file in Path(unfinished).iterdir():
                os.replace(file, path / file.name)
        modes = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "max": "pooling_mode_max_tokens"}
        settings = {
            "1_Pooling/config.json": {
                "word_embedding_dimension": self.dimension,
                **{flag: name == self.pooling for name, flag in modes.items()},
            },
            "sentence_bert_config.json": {"max_seq_length": self.max_length, "do_lower_case": False},
            "config_sentence_transformers.json": {"prompts": {}, "similarity_fn_name": "cosine"},
            "modules.json": [  # last: where it is, the rest is too
                {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            ],
        }
        for name, content in settings.items():
            write_atomically(path / name, json.dumps(content, indent=2) + "\n")


def best_device():
    """CUDA where there is one, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


# --------------------------------------------------------------------------- reading folders


def saved_file(source, name):
    """The path of a model's file, in its folder or in the hub's cache (fetched if need be); None where it has none."""
    if Path(source).exists():
        path = Path(source) / name
        return path if path.is_file() else None
    try:
        return Path(hf_hub_download(source, name))
    except (OSError, ValueError):  # the model does not have it, or there is no such model: `_explained` says so
        return None


def _positions(config):
    """The most tokens that a model has position embeddings for."""
    positions = getattr(config, "max_position_embeddings", LONGEST)
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        positions -= 2  # their positions begin after the padding index
    return positions


def _sentence_transformers_settings(source):
    """{"pooling", "max_length"} as a Sentence Transformers model says them; {} for any other model."""
    settings = {}
    for module in _saved_json(source, "modules.json") or []:
        kind = module["type"].rpartition(".")[2]
        if kind == "Pooling":
            settings["pooling"] = _saved_pooling(source, _saved_json(source, f"{module['path']}/config.json") or {})
        elif kind not in ("Transformer", "Normalize"):
            raise ValueError(
                f"{source} has a {kind} layer, which SentenceEncoder does not know; "
                "load it with sentence_transformers.SentenceTransformer"
            )
    if settings and (length := (_saved_json(source, "sentence_bert_config.json") or {}).get("max_seq_length")):
        settings["max_length"] = length
    return settings


def _saved_pooling(source, config):
    """The pooling in a Sentence Transformers pooling file: a flag each before version 6, then a name."""
    names = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}
    flags = [names.get(k, k) for k, v in config.items() if k.startswith("pooling_mode_") and v]
    chosen = config.get("pooling_mode", flags)
    chosen = [chosen] if isinstance(chosen, str) else chosen
    if len(chosen) != 1 or chosen[0] not in POOLING:
        raise ValueError(
            f"{source} pools by {' and '.join(map(str, chosen)) or 'nothing'}; SentenceEncoder knows "
            f"{', '.join(POOLING)}. Load it with sentence_transformers.SentenceTransformer"
        )
    return chosen[0]


def _saved_json(source, name):
    path = saved_file(source, name)
    try:
        return None if path is None else json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); copy or download the model again") from error


def _check_folder(path):
    """Raise FileNotFoundError where a path exists but is no model folder."""
    if path.is_file():
        raise FileNotFoundError(f"{path} is a file; name the folder that holds the model")
    if path.is_dir() and not ((path / "config.json").is_file() and any(path.glob("model*.safetensors"))):
        held = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
        raise FileNotFoundError(
            f"{path} is not a model folder: it needs config.json, a tokenizer and model.safetensors, and holds {held}"
        )


@contextmanager
def _quiet():
    """No loading report and no progress bar from Transformers."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def _explained(source):
    """Turn what can go wrong while loading into an error that says what to do."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        if Path(source).is_dir():
            raise ValueError(
                f"the model in {source} is damaged or of an unknown kind ({reason}); copy or download it again"
            ) from error
        raise FileNotFoundError(
            f"there is no folder {source!r}, and no model of that name could be fetched from the hub ({reason}). "
            "Check the name, or, without a network, give the path of a local copy; the course's own encoder is in "
            "data/base-encoder"
        ) from error

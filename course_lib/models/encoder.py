"""SentenceEncoder: tokenizer + transformer + pooling, from text to one vector per text."""

import os
import warnings
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.errors import HFValidationError
from tokenizers import normalizers
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from course_lib import functional
from course_lib.models import folders
from course_lib.models.checks import check_choice, check_positive
from course_lib.models.folders import Device, StrPath
from course_lib.texts.checks import check_texts

POOLING = {"mean": functional.mean_pool, "cls": functional.cls_pool, "max": functional.max_pool}
SIMILARITIES = ("cosine", "dot")
TAKES_SQUARE_MASK = ("bert", "roberta", "xlm-roberta", "distilbert", "electra")  # of Transformers' models
LONGEST = 512  # tokens, where neither tokenizer nor model names a limit


class Model(nn.Module):
    """A module that knows where its weights are."""

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device


class SentenceEncoder(Model):
    """A transformer whose token vectors are pooled into one vector per text.

    transformer: any Transformers encoder.
    tokenizer: its fast tokenizer.
    pooling: "mean", "cls" or "max".
    max_length: texts are cut at this many tokens, special tokens included; by default what the tokenizer was saved
        with, at most 512.
    source: where the weights came from, a folder or a hub name; None for weights that no checkpoint holds.
    similarity: "cosine" or "dot", how the vectors are meant to be compared; stored with the model.
    normalize: whether `forward` and `encode` scale every vector to length 1, as a Normalize layer does.
    Raises ValueError for another pooling or similarity, a length that the model has no positions for, and a model that
    is not an encoder.
    """

    def __init__(
        self,
        transformer: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pooling: str = "mean",
        max_length: int | None = None,
        source: str | None = None,
        similarity: str = "cosine",
        normalize: bool = False,
    ):
        super().__init__()
        check_choice(POOLING, pooling=pooling)
        check_choice(SIMILARITIES, similarity=similarity)
        if getattr(transformer.config, "is_encoder_decoder", False) or tokenizer.pad_token_id is None:
            raise ValueError(f"a {transformer.config.model_type} model is no encoder with padding; take one like BERT")
        limit = _positions(transformer.config)
        if max_length is not None and not 3 <= max_length <= limit:
            raise ValueError(f"max_length is {max_length}; this model takes 3 to {limit} tokens")
        self.transformer, self.tokenizer, self.source = transformer, tokenizer, source
        self.pooling, self.similarity, self.normalize = pooling, similarity, normalize
        self.max_length = max_length or min(limit, LONGEST, tokenizer.model_max_length)

    @classmethod
    def from_pretrained(
        cls, name_or_path: StrPath, pooling: str | None = None, max_length: int | None = None, device: Device = None
    ) -> "SentenceEncoder":
        """Load a hub name, a Transformers folder or a Sentence Transformers folder.

        name_or_path: the folder or the hub name.
        pooling: "mean", "cls" or "max"; by default what a Sentence Transformers model says, else "mean" with a
            warning.
        max_length: in tokens; by default what the model says.
        device: by default CUDA, else Apple's MPS, else the CPU.
        Similarity, normalisation and lower-casing of a Sentence Transformers model are kept.
        Returns the encoder in evaluation mode.
        Raises FileNotFoundError where there is no such model; ValueError where it is damaged, has other layers or needs
        prompts.
        """
        if not isinstance(name_or_path, (str, os.PathLike)):
            raise TypeError(f"name_or_path is {name_or_path!r:.60}; pass a folder or a hub name")
        source = str(name_or_path)
        folders.check_folder(source)
        try:
            with folders.quiet():
                saved, unknown = folders.read_sentence_transformers(source), "it has no modules.json with a pooling"
        except (OSError, HFValidationError) as error:  # if there is no such model at all, the next lines say so
            saved, unknown = {}, f"its modules.json could not be fetched ({type(error).__name__})"
        transformer, tokenizer, missing = folders.load(AutoModel, source)
        if absent := [name for name in missing if not name.startswith("pooler.")]:
            raise ValueError(f"{source} lacks {len(absent)} weights, first {absent[0]}; copy or download it again")
        if getattr(transformer, "pooler", None) is not None:
            transformer.pooler = None  # BERT's next-sentence head: unused here, and random in most checkpoints
        if saved.pop("do_lower_case", False):
            _lower_case(tokenizer)
        if pooling is None and "pooling" not in saved:
            advice = 'choose with pooling="mean", "cls" or "max"'
            warnings.warn(f"{source} is pooled by the mean, because {unknown}; {advice}", stacklevel=2)
        if "max_length" in saved:
            saved["max_length"] = min(saved["max_length"], _positions(transformer.config))
        given = {"pooling": pooling, "max_length": max_length}
        saved |= {name: value for name, value in given.items() if value is not None}
        return cls(transformer, tokenizer, source=source, **saved).eval().to(device or folders.best_device())

    # ------------------------------------------------------------------ text in

    def token_ids(self, texts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
        """Tokenise texts, special tokens included.

        texts: strings. Lists of ids pass through unchanged, so that a training run tokenises only once.
        max_length: texts are cut at this many tokens; by default the encoder's own limit.
        Returns one list of ids per text.
        """
        if isinstance(texts, list) and texts and all(isinstance(t, list) for t in texts):
            return texts
        check_texts(texts)
        if not len(texts):
            return []
        options = {"truncation": True, "max_length": max_length or self.max_length, "return_attention_mask": False}
        return self.tokenizer(list(texts), return_token_type_ids=False, **options)["input_ids"]

    def tokenize(self, texts: Sequence[str] | list[list[int]]) -> dict[str, Tensor]:
        """Tokenise and pad on the right.

        texts: as in `token_ids`.
        Returns {"input_ids", "attention_mask"}, each (B, T) int64, on the CPU.
        """
        return pad(self.token_ids(texts), self.tokenizer.pad_token_id)

    # ------------------------------------------------------------------ vectors out

    def token_embeddings(self, batch: dict[str, Tensor]) -> Tensor:
        """The last layer's vector of every token: {"input_ids", "attention_mask"} (B, T) → (B, T, d)."""
        mask = batch["attention_mask"]
        if mask.is_cuda and takes_square_mask(self.transformer):
            mask = square_mask(mask)
        return self.transformer(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """One vector per text, with gradients: {"input_ids", "attention_mask"} (B, T) → (B, d)."""
        vectors = POOLING[self.pooling](self.token_embeddings(batch), batch["attention_mask"])
        return nn.functional.normalize(vectors, dim=-1) if self.normalize else vectors

    @torch.inference_mode()
    def encode(
        self, texts: Sequence[str], batch_size: int = 64, normalize: bool = False, progress: bool = False
    ) -> np.ndarray:
        """Embed texts, in the order given, without dropout.

        texts: a list of strings.
        batch_size: texts per forward pass.
        normalize: scale each vector to length 1, also where the model itself does not.
        progress: show a progress bar.
        Returns a float32 array (len(texts), d); an empty list gives (0, d).
        Raises TypeError for anything but a sequence of strings, ValueError for a batch size below 1.
        """
        rows = self.token_ids(texts)
        vectors = np.zeros((len(rows), self.dimension), dtype=np.float32)

        def embed(chosen):
            batch = self.tokenize([rows[i] for i in chosen])
            embedded = self({k: v.to(self.device) for k, v in batch.items()}).float()
            return nn.functional.normalize(embedded, dim=-1) if normalize else embedded

        with evaluation_mode(self):
            sent = ((chosen, embed(chosen)) for chosen in longest_first(rows, batch_size, "Encoding", progress))
            # a batch is fetched after the next one was sent, so that a GPU does not wait for the CPU
            for (chosen, embedded), _ in pairwise(chain(sent, [None])):
                vectors[chosen] = embedded.cpu().numpy()
        return vectors

    @property
    def dimension(self) -> int:
        """The length d of an embedding."""
        return self.transformer.config.hidden_size

    def settings(self) -> dict[str, object]:
        """What training depends on besides weights and tokenizer, for the record of a run: {name: value}."""
        source = self.source and Path(self.source).name  # a record tells nobody's folders
        return {"pooling": self.pooling, "max_length": self.max_length, "normalize": self.normalize, "source": source}

    # ------------------------------------------------------------------ to disk

    def save(self, path: str | os.PathLike) -> None:
        """Write the Sentence Transformers layout, in safetensors: `SentenceTransformer(path)` gives the same vectors.

        path: a folder, created if absent; an earlier model in it is replaced.
        Raises ValueError where `path` is a file.
        """
        how = (self.dimension, self.max_length, self.pooling, self.normalize, self.similarity)
        with folders.model_folder(path) as folder, folders.quiet():
            self.transformer.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            folders.write_sentence_transformers(folder, *how)


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> dict[str, Tensor]:
    """Pad lists of token ids on the right with `pad_id`: {"input_ids", "attention_mask"}, each (B, T) int64."""
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(max(lengths.tolist(), default=0)) < lengths[:, None]
    ids = torch.full(mask.shape, pad_id)
    ids[mask] = torch.tensor(list(chain.from_iterable(rows)), dtype=torch.long)
    return {"input_ids": ids, "attention_mask": mask.long()}


def takes_square_mask(transformer: PreTrainedModel) -> bool:
    """Whether `square_mask` is what a model's attention takes; other implementations than "sdpa" take other masks."""
    config = transformer.config
    return config.model_type in TAKES_SQUARE_MASK and config._attn_implementation == "sdpa"


def square_mask(mask: Tensor) -> Tensor:
    """The mask that Transformers makes of (B, T): (B, 1, T, T) bool.

    Transformers first checks whether there is any padding, and the program would wait for the GPU's answer.
    """
    return mask.bool()[:, None, None].expand(-1, -1, mask.shape[1], -1)


def longest_first(items: Sequence[Sized], batch_size: int, description: str, progress: bool) -> Iterator[list[int]]:
    """Batches of the numbers of items, longest items first: memory runs out at once or never.

    items: have a length, such as texts or lists of token ids; a batch holds items of similar length.
    batch_size: items per batch.
    description, progress: of the progress bar, and whether to show it.
    Raises ValueError for a batch size below 1.
    """
    check_positive(batch_size=batch_size)
    order = sorted(range(len(items)), key=lambda i: -len(items[i]))
    for start in tqdm(range(0, len(order), batch_size), desc=description, unit="batch", disable=not progress):
        yield order[start : start + batch_size]


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Switch dropout off, and afterwards put every part of the module back into the mode it was in."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _positions(config):
    """The most tokens that a model has position embeddings for."""
    positions = getattr(config, "max_position_embeddings", LONGEST)
    # the positions of these begin after the padding index
    return positions - 2 if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else positions


def _lower_case(tokenizer):
    """Make a fast tokenizer lower-case its texts first, as Sentence Transformers does for `do_lower_case`."""
    backend = tokenizer.backend_tokenizer
    own = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])

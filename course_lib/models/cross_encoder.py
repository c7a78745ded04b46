"""The cross-encoder: read a query and a text together and score how well the text answers. The teacher in GPL."""

import copy
import os
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from course_lib.models.encoder import Model, SentenceEncoder, evaluation_mode, longest_first, pad
from course_lib.models.folders import Device, StrPath, best_device, check_folder, load, model_folder, quiet
from course_lib.texts.checks import check_texts

Pairs = Sequence[tuple[str, str]]


class CrossEncoder(Model):
    """Score a query and a text, read as one sequence, with one raw logit.

    encoder: gives the tokenizer, `max_length` (of the pair, in tokens) and, where no classifier is given, the weights
        to start from. All are copied; the encoder stays as it is.
    classifier: a sequence classifier of Transformers with one label; by default a new one around a copy of the
        encoder's weights, whose upper part starts random. Train it with `objectives.Relevance`.
    Raises ValueError for an encoder whose family has no such classifier.
    """

    def __init__(self, encoder: SentenceEncoder, classifier: PreTrainedModel | None = None):
        super().__init__()
        self.model = _classifier_of(encoder.transformer) if classifier is None else classifier
        self.tokenizer = copy.deepcopy(encoder.tokenizer)
        self.max_length = encoder.max_length
        if getattr(self.model.config, "type_vocab_size", 0) > 1:  # also where the tokenizer's own file leaves them out
            self.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
            self.tokenizer.init_kwargs["model_input_names"] = self.tokenizer.model_input_names
        self.to(encoder.device)

    @classmethod
    def from_pretrained(cls, name_or_path: StrPath, device: Device = None, max_length: int | None = None) -> Self:
        """Load a cross-encoder with one label.

        name_or_path: a folder, or a hub name such as cross-encoder/ms-marco-MiniLM-L6-v2. The activation that the model
            was saved with does not matter: scores are raw logits.
        device: by default CUDA, else Apple's MPS, else the CPU.
        max_length: of the pair, in tokens; by default what the tokenizer was saved with.
        Returns the cross-encoder in evaluation mode.
        Raises FileNotFoundError where there is no such model, ValueError where it is damaged or gives no single score.
        """
        source = str(name_or_path)
        check_folder(source)
        model, tokenizer, missing = load(AutoModelForSequenceClassification, source)
        if missing or model.config.num_labels != 1:
            what = "has no trained classifier" if missing else f"gives {model.config.num_labels} labels"
            raise ValueError(f"{source} {what}; take another, or train CrossEncoder(…) with objectives.Relevance")
        encoder = SentenceEncoder(model.base_model, tokenizer, max_length=max_length)
        return cls(encoder, model).eval().to(device or best_device())

    # ------------------------------------------------------------------ scoring

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The score of every pair of a batch, with gradients.

        batch: {"input_ids", "attention_mask"} and, where the model tells two texts apart by it, "token_type_ids",
            each (N, T).
        Returns (N,).
        """
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
        return self.model(**inputs).logits.squeeze(-1)

    @torch.inference_mode()
    def predict(self, pairs: Pairs, batch_size: int = 64, progress: bool = False) -> np.ndarray:
        """Score pairs (query, text), in the order given, without dropout.

        pairs: a list of (query, text).
        batch_size: pairs per forward pass.
        progress: show a progress bar.
        Returns raw logits, float32 (len(pairs),).
        Raises TypeError or ValueError for anything but pairs of strings, ValueError for a batch size below 1.
        """
        ids, types = self.pair_ids(pairs)
        scores = np.zeros(len(ids), dtype=np.float32)
        with evaluation_mode(self):
            for chosen in longest_first(ids, batch_size, "Scoring", progress):
                batch = self.pad([ids[i] for i in chosen], [types[i] for i in chosen])
                scores[chosen] = self({k: v.to(self.device) for k, v in batch.items()}).float().cpu().numpy()
        return scores

    # ------------------------------------------------------------------ pairs of texts as tokens

    def pair_ids(self, pairs: Pairs, max_length: int | None = None) -> tuple[list[list[int]], list[list[int] | None]]:
        """Tokenise pairs (query, text); the longer of the two is cut first.

        pairs: a list of (query, text).
        Returns the token ids of each pair and its token types, which are None where the model has none.
        Raises TypeError or ValueError that names the first bad pair.
        """
        if isinstance(pairs, str) or not hasattr(pairs, "__len__"):
            raise TypeError(f"`pairs` is a {type(pairs).__name__}; pass a list of (query, text)")
        wrong = next((i for i, p in enumerate(pairs) if isinstance(p, str) or len(p) != 2), None)
        if wrong is not None:
            raise ValueError(f"`pairs`[{wrong}] is {pairs[wrong]!r:.60}; each must be (query, text)")
        if not len(pairs):
            return [], []
        queries, texts = (list(column) for column in zip(*pairs))
        check_texts(queries, "query")
        check_texts(texts, "text")
        options = {"truncation": "longest_first", "max_length": max_length or self.max_length}
        encoded = self.tokenizer(queries, texts, return_attention_mask=False, **options)
        return encoded["input_ids"], encoded.get("token_type_ids", [None] * len(queries))

    def pad(self, ids: list[list[int]], types: list[list[int] | None]) -> dict[str, Tensor]:
        """Pad what `pair_ids` returned to the batch that `forward` takes."""
        batch = pad(ids, self.tokenizer.pad_token_id)
        if types[0] is not None:
            batch["token_type_ids"] = pad(types, 0)["input_ids"]
        return batch

    def settings(self) -> dict[str, object]:
        """What training depends on besides weights and tokenizer, for the record of a run: {name: value}."""
        return {"max_length": self.max_length}

    # ------------------------------------------------------------------ to disk

    def save(self, path: str | os.PathLike, dtype: torch.dtype = torch.float32) -> None:
        """Write the layout that `sentence_transformers.CrossEncoder` and `from_pretrained` load, with equal scores.

        path: a folder, created if absent; an earlier model in it is replaced.
        dtype: of the weights on disk; torch.float16 halves them.
        Raises ValueError where `path` is a file.
        """
        model = self.model if dtype == torch.float32 else copy.deepcopy(self.model).to(dtype)
        # without a stored activation the library would put the score of a single label through a sigmoid
        model.config.sentence_transformers = {"activation_fn": "torch.nn.modules.linear.Identity"}
        tokenizer = copy.deepcopy(self.tokenizer)
        tokenizer.model_max_length = self.max_length
        with model_folder(path) as folder, quiet():
            tokenizer.save_pretrained(folder)
            model.save_pretrained(folder)


def _classifier_of(transformer):
    """A sequence classifier with one label around a copy of the encoder's weights; what is above them starts random."""
    config = copy.deepcopy(transformer.config)
    config.num_labels = 1
    with quiet():
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    absent, _ = model.base_model.load_state_dict(transformer.state_dict(), strict=False)
    if absent := [name for name in absent if not name.startswith("pooler.")]:
        raise ValueError(f"this {config.model_type} encoder lacks the classifier's {absent[0]}; take one such as BERT")
    return model

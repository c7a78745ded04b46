"""The cross-encoder: read a query and a text together, say how well the text answers. The judge of GPL."""

import copy
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from course_lib.models.encoder import SentenceEncoder, _explained, _quiet, best_device
from course_lib.objectives.base import Objective
from course_lib.texts.checks import check_texts

LOSSES = ("binary", "softmax")


class CrossEncoder(Objective):
    """Give a query and a text, read as one sequence, a score: one raw logit, never squashed.

    encoder: the judge starts from a copy of its weights and of its tokenizer; it stays as it is.
    Texts are (query, positive, negative, …), all with the same number of negatives, best mined. loss: "binary", each pair
    on its own is right or wrong, so that logits of different queries can be compared; or "softmax", the positive is to be
    the best of its query.
    Batch: input_ids, attention_mask and, where the model tells two texts apart by it, token_type_ids, each (B · (1 + k), T);
    labels (B, 1 + k), 1 for the positive. Loss: scalar, nats a pair or a query. Raises ValueError for another loss and
    examples of mixed sizes.
    """

    def __init__(self, encoder, loss="binary"):
        if loss not in LOSSES:
            raise ValueError(f"loss is {loss!r}; choose one of {', '.join(LOSSES)}")
        self._adopt(_classifier_of(encoder.transformer), copy.deepcopy(encoder.tokenizer), encoder.max_length)
        self.loss = loss
        self.to(encoder.device)

    def _adopt(self, model, tokenizer, max_length=None):
        if getattr(model.config, "type_vocab_size", 0) > 1:  # also where the tokenizer's own file leaves them out
            tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
            tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names
        super().__init__(SentenceEncoder(model.base_model, tokenizer, "cls", max_length))
        self.model = model
        self.loss = LOSSES[0]

    @classmethod
    def from_pretrained(cls, name_or_path, device=None, max_length=None):
        """Load a cross-encoder with one label, a folder or a hub name such as cross-encoder/ms-marco-MiniLM-L6-v2.

        max_length: of the pair, in tokens; by default what the tokenizer was saved with. What activation the model was
        saved with does not matter: scores are raw logits.
        Raises FileNotFoundError where there is no such model, ValueError where it is damaged or gives no single score.
        """
        source = str(name_or_path)
        with _quiet(), _explained(source):
            labels = AutoConfig.from_pretrained(source, trust_remote_code=False).num_labels
            model, report = AutoModelForSequenceClassification.from_pretrained(
                source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        if report["missing_keys"] or labels != 1:
            what = f"gives {labels} labels" if not report["missing_keys"] else "has no trained classifier"
            raise ValueError(
                f"{source} {what}; take a cross-encoder with one score, or train "
                "CrossEncoder(SentenceEncoder.from_pretrained(…)) on (query, positive, negative, …)"
            )
        judge = cls.__new__(cls)
        judge._adopt(model, tokenizer, max_length)
        return judge.eval().to(device or best_device())

    # ------------------------------------------------------------------ training

    def prepare(self, texts):
        if all(isinstance(example, _Candidates) for example in texts):
            return list(texts)
        sizes = {len(example) if isinstance(example, (tuple, list)) else 0 for example in texts}
        if len(sizes) > 1 or min(sizes) < 3:
            raise ValueError(
                f"`texts` holds examples of {sorted(sizes)} texts; each must be (query, positive, negative, …)"
                ", all of the same number"
            )
        ids, types = self._pair_ids([(query, text) for query, *rest in texts for text in rest])
        count = min(sizes) - 1
        return [_Candidates(ids[i : i + count], types[i : i + count]) for i in range(0, len(ids), count)]

    def collate(self, texts, generator):
        examples = self.prepare(texts)
        labels = torch.zeros(len(examples), len(examples[0].ids))
        labels[:, 0] = 1
        return {
            **self._padded(
                [ids for example in examples for ids in example.ids],
                [types for example in examples for types in example.types],
            ),
            "labels": labels,
        }

    def forward(self, batch):
        logits = self.logits(batch).float().view_as(batch["labels"])  # (B, 1 + k)
        if self.loss == "softmax":
            return F.cross_entropy(logits, batch["labels"].argmax(1))
        return F.binary_cross_entropy_with_logits(logits, batch["labels"])

    # ------------------------------------------------------------------ scoring

    def logits(self, batch):
        """The score of every pair of a batch, with gradients: (N, T) → (N,)."""
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
        return self.model(**inputs).logits.squeeze(-1)

    @torch.inference_mode()
    def predict(self, pairs, batch_size=64, progress=False):
        """Score pairs (query, text), without dropout: raw logits, float32 (len(pairs),), in the order given.

        batch_size: pairs at once. Raises TypeError or ValueError for what is no pair of texts.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        ids, types = self._pair_ids(pairs)
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        scores = np.zeros(len(ids), dtype=np.float32)
        training = [m for m in self.modules() if m.training]
        self.eval()
        try:
            for start in tqdm(range(0, len(ids), batch_size), desc="Judging", unit="batch", disable=not progress):
                chosen = order[start : start + batch_size]
                batch = self._padded([ids[i] for i in chosen], [types[i] for i in chosen])
                logits = self.logits({k: v.to(self.encoder.device) for k, v in batch.items()})
                scores[chosen] = logits.float().cpu().numpy()
        finally:
            for module in training:
                module.training = True
        return scores

    # ------------------------------------------------------------------ pairs of texts as tokens

    def _pair_ids(self, pairs):
        """The token ids of each pair, and its token types, None where the model knows none."""
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
        encoded = self.encoder.tokenizer(
            queries, texts, truncation="longest_first", max_length=self.encoder.max_length, return_attention_mask=False
        )
        return encoded["input_ids"], encoded.get("token_type_ids", [None] * len(queries))

    def _padded(self, ids, types):
        batch = self.encoder.tokenize(ids)
        if types[0] is not None:
            batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
            for row, own in zip(batch["token_type_ids"], types):
                row[: len(own)] = torch.tensor(own)
        return batch

    # ------------------------------------------------------------------ to disk

    def save(self, path, dtype=torch.float32):
        """Write the layout that `sentence_transformers.CrossEncoder(path)` and `from_pretrained` load, with equal scores.

        dtype: of the weights on disk; torch.float16 halves them. The identity is stored as activation: without one the
        library would squash the scores of a single label with a sigmoid.
        """
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        model = self.model if dtype == torch.float32 else copy.deepcopy(self.model).to(dtype)
        model.config.sentence_transformers = {"activation_fn": "torch.nn.modules.linear.Identity"}
        tokenizer = copy.deepcopy(self.encoder.tokenizer)
        tokenizer.model_max_length = self.encoder.max_length
        with tempfile.TemporaryDirectory(dir=path, prefix=".saving-") as unfinished, _quiet():
            tokenizer.save_pretrained(unfinished)
            model.save_pretrained(unfinished)
            for file in sorted(Path(unfinished).iterdir()):
                os.replace(file, path / file.name)


@dataclass(frozen=True)
class _Candidates:
    """One query's pairs with its candidates, the positive first: token ids and types of each; as long as all together."""

    ids: list
    types: list

    def __len__(self):
        return sum(map(len, self.ids))


def _classifier_of(transformer):
    """A sequence classifier with one label around a copy of the encoder's weights; what is above them starts random."""
    config = copy.deepcopy(transformer.config)
    config.num_labels = 1
    with _quiet():
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    absent, _ = model.base_model.load_state_dict(transformer.state_dict(), strict=False)
    absent = [name for name in absent if not name.startswith("pooler.")]
    if absent:
        raise ValueError(
            f"a {config.model_type} classifier has weights that this encoder lacks, first {absent[0]}; take "
            "an encoder such as BERT, RoBERTa, DistilBERT or MPNet"
        )
    return model

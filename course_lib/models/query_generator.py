"""The query generator: read a passage, write a query that it answers. The first step of GenQ and GPL."""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer

from course_lib import functional
from course_lib.models.decoder import Layers
from course_lib.models.encoder import SentenceEncoder
from course_lib.models.folders import Device, StrPath, best_device, check_folder, explained, model_folder, quiet
from course_lib.models.hub_query_generator import HubQueryGenerator
from course_lib.models.language_head import MaskedLanguageHead
from course_lib.models.passage_decoder import PassageDecoder, Pointer
from course_lib.models.sampling import QueryWriter, sample

SETTINGS = "query_generator.json"


class QueryGenerator(QueryWriter):
    """Encode a passage; let a decoder that looks at all of its token vectors write a query, from left to right.

    encoder: reads the passage; used, not copied. The head is read from its checkpoint where that has one.
    tie_weights: the decoder is made of the encoder's own layers and embeddings, and only its cross-attention is new,
        which Rothe et al. (2020) found to work as well as separate weights; False gives it copies.
    decoder_layers: use only the first so many layers; None means all. The decoder runs once for every token it writes,
        so that fewer layers save most of the time.
    pointer: whether it can also copy tokens of the passage (See et al., 2017), which a small model learns long before
        it learns to write about what it has read.
    Train it with `objectives.QueryGeneration`. Raises ValueError for more layers than the encoder has.
    """

    def __init__(
        self, encoder: SentenceEncoder, tie_weights: bool = True, decoder_layers: Layers = None, pointer: bool = True
    ):
        super().__init__()
        self.encoder, self.tokenizer, self.tie_weights = encoder, encoder.tokenizer, tie_weights
        self.decoder = PassageDecoder(encoder.transformer, decoder_layers, tie_weights)
        self.decoder_layers = len(self.decoder.layers)
        self.head = MaskedLanguageHead(self.decoder.transformer).to(encoder.device)
        self.head.load(encoder.source)
        self.pointer = Pointer(encoder.dimension).to(encoder.device) if pointer else None
        self.begin_id, self.end_id = encoder.token_ids([""])[0]  # [CLS] and [SEP], which begin and end a query too

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Score every token of the vocabulary at each place where the batch has a label.

        batch: {"input_ids", "attention_mask"} (B, T) of passages, {"decoder_input_ids", "labels"} (B, T') of queries;
            labels are -100 where there is nothing to predict.
        Returns (M, V), for a softmax; M is the number of labels.
        """
        states = self.encoder.token_embeddings(batch)  # (B, T, d)
        hidden = self.decoder(batch["decoder_input_ids"], (states, batch["attention_mask"]))  # (B, T', d)
        return self._scores(hidden, batch, self._places(states, batch), functional.answered(batch))

    def _places(self, states, batch):
        """What the pointer makes of the passages, once for all tokens: (B, T, d), or None without a pointer."""
        if self.pointer is not None:
            return self.pointer.read(states, self.decoder.transformer.get_input_embeddings()(batch["input_ids"]))

    def _scores(self, hidden, batch, places, chosen=...):
        """Scores of the token after each of hidden (N, T', d), N a multiple of B: (N, T', V), or (M, V) of `chosen`."""
        logits = self.head(hidden[chosen])
        if self.pointer is None:
            return logits
        attention, gate = self.pointer(hidden, places, batch["attention_mask"])  # (N, T', T), (N, T')
        ids = batch["input_ids"].repeat_interleave(len(hidden) // len(places), 0)[:, None].expand_as(attention)
        mixed = functional.copy_or_write(logits, gate[chosen], attention[chosen], ids[chosen])
        return mixed.clamp_min(torch.finfo(mixed.dtype).tiny).log()

    # ------------------------------------------------------------------ writing queries

    @contextmanager
    def _writer(self, passages, queries_per_passage, top_p, temperature, max_new_tokens, generator, top_k):
        """See `QueryWriter`. The random numbers are drawn here, so that they do not depend on the batches."""
        uniform = torch.rand(len(passages), queries_per_passage, max_new_tokens, generator=generator)
        if self.device.type == "cuda":  # Apple's MPS has no double precision: there, tokens are drawn on the CPU
            uniform = uniform.to(self.device)

        def write(chosen):
            step = self.start([passages[i] for i in chosen], queries_per_passage)
            return sample(self, step, uniform[chosen].flatten(0, 1), top_p, temperature, top_k)

        yield write

    def start(self, texts: Sequence[str], copies: int) -> Callable[[Tensor], Tensor]:
        """Read the passages, to write `copies` queries for each; returns the `step` that `sampling.sample` calls."""
        batch = {k: v.to(self.device) for k, v in self.encoder.tokenize(list(texts)).items()}
        states = self.encoder.token_embeddings(batch)
        passages, places = self.decoder.read(states, batch["attention_mask"]), self._places(states, batch)
        past = [None] * len(passages)
        return lambda ids: self._scores(self.decoder.step(ids, passages, past)[:, None], batch, places)[:, 0]

    @property
    def max_length(self) -> int:
        """Passages and queries are cut at this many tokens."""
        return self.encoder.max_length

    # ------------------------------------------------------------------ to disk

    def settings(self) -> dict[str, object]:
        """What the generator was made with besides weights, for its folder and for the record of a run."""
        decoder = {"tie_weights": self.tie_weights, "decoder_layers": self.decoder_layers}
        encoder = {"pooling": self.encoder.pooling, "max_length": self.encoder.max_length}
        return {**decoder, "pointer": self.pointer is not None, **encoder}

    def save(self, path: str | os.PathLike, dtype: torch.dtype = torch.float32) -> None:
        """Write weights, configuration and tokenizer into a folder, for `from_pretrained`.

        path: a folder, created if absent; an earlier model in it is replaced. The encoder's weights have the names that
            they have in an encoder's own folder, so that `SentenceEncoder.from_pretrained` reads them from here too.
        dtype: of the weights on disk; torch.float16 halves them.
        Raises ValueError where `path` is a file.
        """
        tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in self._weights().items()}
        with model_folder(path) as folder, quiet():
            self.tokenizer.save_pretrained(folder)
            self.encoder.transformer.config.save_pretrained(folder)
            (folder / SETTINGS).write_text(json.dumps(self.settings(), indent=2) + "\n", encoding="utf-8")
            save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    def _weights(self):
        """Every weight once: the encoder's under their own names, then those that only the generator has."""
        own = {k: v for k, v in self.named_parameters() if not k.startswith("encoder.")}
        return {**dict(self.encoder.transformer.named_parameters()), **{f"generator.{k}": v for k, v in own.items()}}

    @classmethod
    def from_pretrained(cls, name_or_path: StrPath, device: Device = None) -> "QueryGenerator | HubQueryGenerator":
        """Load what `save` wrote, or a sequence-to-sequence model such as T5.

        name_or_path: a folder or a hub name.
        device: by default CUDA, else Apple's MPS, else the CPU.
        Returns a QueryGenerator in evaluation mode, or a HubQueryGenerator, which has the same `generate` and cannot be
        trained here.
        Raises FileNotFoundError where there is no such model, ValueError where it is damaged or of another kind.
        """
        path = Path(name_or_path)
        check_folder(path)
        if not (path / SETTINGS).is_file():
            return HubQueryGenerator.from_pretrained(name_or_path, device)
        with quiet(), explained(str(path)):
            settings = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
            transformer = AutoModel.from_config(AutoConfig.from_pretrained(path), dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            weights = load_file(path / "model.safetensors")
        if getattr(transformer, "pooler", None) is not None:
            transformer.pooler = None
        encoder = SentenceEncoder(transformer, tokenizer, settings["pooling"], settings["max_length"])
        generator = cls(encoder, settings["tie_weights"], settings["decoder_layers"], settings["pointer"])
        own = generator._weights()
        if own.keys() != weights.keys() or any(own[k].shape != v.shape for k, v in weights.items()):
            raise ValueError(f"the weights in {path} are not those of its configuration; copy the generator again")
        with torch.no_grad():
            for name, weight in own.items():
                weight.copy_(weights[name])
        return generator.eval().to(device or best_device())

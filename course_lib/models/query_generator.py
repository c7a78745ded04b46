"""The query generator: read a passage, write a query that it answers. The first step of GenQ and GPL."""

import copy
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as safetensors_bytes
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer

from course_lib import functional
from course_lib.models.decoder import encoder_layers
from course_lib.models.encoder import SentenceEncoder, _explained, _quiet, best_device
from course_lib.models.language_head import MaskedLanguageHead
from course_lib.models.passage_decoder import PassageDecoder, Pointer
from course_lib.models.sampling import generate_texts
from course_lib.objectives.base import Objective
from course_lib.objectives.examples import tokenize_examples
from course_lib.storage import write_atomically

SETTINGS = "query_generator.json"


class QueryGenerator(Objective):
    """Encode a passage; let a decoder that looks at all of its token vectors write a query, from left to right.

    encoder: reads the passage. tie_weights: the decoder is made of the encoder's own layers and embeddings, and only its
    cross-attention is new, which Rothe et al. (2020) found to work as well as separate weights; False gives it copies.
    decoder_layers: the first so many layers; None means all. The decoder runs once for every token it writes, so that
    fewer save most of the time. pointer: whether it can also copy tokens of the passage (See et al., 2017), which a small
    model learns long before it learns to write about what it has read. Texts are (passage, query); the head is read from
    the encoder's checkpoint where that carries one.

    Batch: input_ids and attention_mask (B, T) of the passages, decoder_input_ids and labels (B, T') of the queries.
    Loss: scalar, nats a token. Raises ValueError for examples of another kind and for layers that the encoder has not.
    """

    def __init__(self, encoder, tie_weights=True, decoder_layers=None, pointer=True):
        super().__init__(encoder)
        self.tie_weights = tie_weights
        transformer = encoder.transformer if tie_weights else copy.deepcopy(encoder.transformer)
        self.decoder = PassageDecoder(transformer, decoder_layers)
        self.decoder_layers = len(self.decoder.layers)
        if not tie_weights:
            del encoder_layers(transformer)[self.decoder_layers :]  # of the copy: nothing uses them
        self.head = MaskedLanguageHead(transformer).to(encoder.device)
        self.head.load(encoder.source)
        self.pointer = Pointer(encoder.dimension).to(encoder.device) if pointer else None
        self.begin_id, self.end_id = encoder.token_ids([""])[0]  # [CLS] and [SEP], which frame a query too

    def settings(self):
        return {**super().settings(), "pointer": self.pointer is not None}

    def prepare(self, texts):
        return tokenize_examples(self.encoder, texts, ("passage", "query"))

    def collate(self, texts, generator):
        passages, queries = (list(column) for column in zip(*(example.texts for example in self.prepare(texts))))
        queries = self.encoder.tokenize(queries)
        decoder_input_ids, labels = functional.next_token_targets(queries["input_ids"], queries["attention_mask"])
        return {**self.encoder.tokenize(passages), "decoder_input_ids": decoder_input_ids, "labels": labels}

    def forward(self, batch):
        states = self.encoder.token_embeddings(batch)  # (B, T, d)
        hidden = self.decoder(batch["decoder_input_ids"], (states, batch["attention_mask"]))  # (B, T', d)
        answered = batch["labels"] != -100
        scores = self._scores(hidden, batch, self._places(states, batch), answered)
        return functional.masked_lm_loss(scores, batch["labels"][answered])

    def _places(self, states, batch):
        """What the pointer makes of the passages, once for all tokens: (B, T, d), or None without a pointer."""
        if self.pointer is not None:
            return self.pointer.read(states, self.decoder.transformer.get_input_embeddings()(batch["input_ids"]))

    def _scores(self, hidden, batch, places, chosen=...):
        """Scores, for a softmax, of the token after each of hidden (N, T', d), N a multiple of B: (N, T', V), or (M, V) of
        the `chosen` (N, T')."""
        logits = self.head(hidden[chosen])
        if self.pointer is None:
            return logits
        attention, gate = self.pointer(hidden, places, batch["attention_mask"])  # (N, T', T), (N, T')
        ids = batch["input_ids"].repeat_interleave(len(hidden) // len(places), 0)[:, None].expand_as(attention)
        mixed = functional.copy_or_write(logits, gate[chosen], attention[chosen], ids[chosen])
        return mixed.clamp_min(torch.finfo(mixed.dtype).tiny).log()

    # ------------------------------------------------------------------ writing queries

    def generate(
        self,
        passages,
        queries_per_passage=3,
        top_p=0.95,
        temperature=1.0,
        max_new_tokens=24,
        generator=None,
        batch_size=32,
        progress=False,
    ):
        """Write queries for passages: a list of lists of strings, in the order given.

        top_p 0.95, temperature 1 and 3 queries a passage as in GPL (Wang et al., 2022); temperature 0 is greedy.
        The rest as in `sampling.generate_texts`.
        """
        training = [m for m in self.modules() if m.training]
        self.eval()
        try:
            return generate_texts(
                self, passages, queries_per_passage, top_p, temperature, max_new_tokens, generator, batch_size, progress
            )
        finally:
            for module in training:
                module.training = True

    def start(self, texts, copies):
        """Read the passages; returns the step that `sampling.generate_texts` calls."""
        batch = {k: v.to(self.device) for k, v in self.encoder.tokenize(list(texts)).items()}
        states = self.encoder.token_embeddings(batch)
        passages, places = self.decoder.read(states, batch["attention_mask"]), self._places(states, batch)
        past = [None] * len(passages)
        return lambda ids: self._scores(self.decoder.step(ids, passages, past)[:, None], batch, places)[:, 0]

    @property
    def tokenizer(self):
        return self.encoder.tokenizer

    @property
    def device(self):
        """Where the weights are."""
        return self.encoder.device

    # ------------------------------------------------------------------ to disk

    def save(self, path, dtype=torch.float32):
        """Write weights, configuration and tokenizer into a folder, for `from_pretrained`.

        dtype: of the weights on disk; torch.float16 halves them. The encoder's weights have the names that they have in
        an encoder's own folder, so that `SentenceEncoder.from_pretrained` reads them from here too.
        """
        path = Path(path)
        with _quiet():
            self.encoder.tokenizer.save_pretrained(path)
            self.encoder.transformer.config.save_pretrained(path)
        settings = {
            "tie_weights": self.tie_weights,
            "decoder_layers": self.decoder_layers,
            "pointer": self.pointer is not None,
            "pooling": self.encoder.pooling,
            "max_length": self.encoder.max_length,
        }
        write_atomically(path / SETTINGS, json.dumps(settings, indent=2) + "\n")
        tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in self._weights().items()}
        write_atomically(path / "model.safetensors", safetensors_bytes(tensors, {"format": "pt"}))

    def _weights(self):
        """Every weight once: the encoder's under their own names, then what is the generator's alone."""
        own = {k: v for k, v in self.named_parameters() if not k.startswith("encoder.")}
        return {**dict(self.encoder.transformer.named_parameters()), **{f"generator.{k}": v for k, v in own.items()}}

    @classmethod
    def from_pretrained(cls, name_or_path, device=None):
        """Load what `save` wrote, or a sequence-to-sequence model such as T5, as a folder or a hub name.

        Both have the same `generate`; the second is a HubQueryGenerator and cannot be trained here.
        Raises FileNotFoundError where there is no such model, ValueError where it is damaged or of another kind.
        """
        path = Path(name_or_path)
        if not (path / SETTINGS).is_file():
            return HubQueryGenerator.from_pretrained(name_or_path, device)
        with _quiet(), _explained(str(path)):
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


class HubQueryGenerator(nn.Module):
    """A sequence-to-sequence model of Transformers, such as docT5query, that writes queries as QueryGenerator does.

    max_length: passages are cut at this many tokens; 350 as in GPL.
    """

    def __init__(self, model, tokenizer, max_length=350):
        super().__init__()
        self.model, self.tokenizer, self.max_length = model, tokenizer, max_length
        self.begin_id, self.end_id = model.config.decoder_start_token_id, tokenizer.eos_token_id

    @classmethod
    def from_pretrained(cls, name_or_path, device=None, max_length=350):
        """Load a folder or a hub name. Raises as `QueryGenerator.from_pretrained`."""
        source = str(name_or_path)
        with _quiet(), _explained(source):
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            if not config.is_encoder_decoder:
                raise ValueError(
                    f"a {config.model_type} model writes no text; for a query generator of its own kind, "
                    "train QueryGenerator(SentenceEncoder.from_pretrained(…)) on (passage, query)"
                )
            model = AutoModelForSeq2SeqLM.from_pretrained(
                source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
            )
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        return cls(model, tokenizer, max_length).eval().to(device or best_device())

    generate = QueryGenerator.generate

    def start(self, texts, copies):
        """Read the passages; returns the step that `sampling.generate_texts` calls."""
        batch = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        ).to(self.device)
        states = self.model.get_encoder()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        states.last_hidden_state = states.last_hidden_state.repeat_interleave(copies, 0)
        mask, past = batch["attention_mask"].repeat_interleave(copies, 0), [None]

        def step(ids):
            out = self.model(
                encoder_outputs=states,
                attention_mask=mask,
                decoder_input_ids=ids[:, -1:],
                past_key_values=past[0],
                use_cache=True,
            )
            past[0] = out.past_key_values
            return out.logits[:, -1]

        return step

    @property
    def device(self):
        """Where the weights are."""
        return self.model.device

"""A query generator from the hub: a sequence-to-sequence model of Transformers, such as docT5query."""

import os
from collections.abc import Sequence

import torch
from torch import nn
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from course_lib.models.encoder import evaluation_mode
from course_lib.models.folders import best_device, check_folder, explained, quiet
from course_lib.models.sampling import check_settings
from course_lib.texts.checks import check_texts


class HubQueryGenerator(nn.Module):
    """A sequence-to-sequence model that writes queries by the same call as QueryGenerator.

    model: a Transformers model with an encoder and a decoder.
    tokenizer: its fast tokenizer.
    max_length: passages are cut at this many tokens; 350 as in GPL.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int = 350):
        super().__init__()
        self.model, self.tokenizer, self.max_length = model, tokenizer, max_length

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike, device: str | torch.device | None = None, max_length: int = 350
    ) -> "HubQueryGenerator":
        """Load a folder or a hub name; arguments and errors as for `QueryGenerator.from_pretrained`."""
        source = str(name_or_path)
        check_folder(source)
        with quiet(), explained(source):
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            if not config.is_encoder_decoder:
                raise ValueError(
                    f"a {config.model_type} model writes no text; for a query generator of its own kind, train "
                    "QueryGenerator(SentenceEncoder.from_pretrained(…)) with objectives.QueryGeneration"
                )
            model = AutoModelForSeq2SeqLM.from_pretrained(
                source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
            )
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        return cls(model, tokenizer, max_length).eval().to(device or best_device())

    @torch.inference_mode()
    def generate(
        self,
        passages: Sequence[str],
        queries_per_passage: int = 3,
        top_p: float = 0.95,
        temperature: float = 1.0,
        max_new_tokens: int = 24,
        generator: torch.Generator | None = None,
        batch_size: int = 32,
        progress: bool = False,
    ) -> list[list[str]]:
        """Write queries for passages with Transformers' own `generate`.

        Arguments, result and errors as for `QueryGenerator.generate`, except that what is drawn for a passage also
        depends on `batch_size`. No special token is written, and no query is empty of tokens.
        generator: on the CPU; gives the seed.
        """
        check_texts(passages)
        check_settings(queries_per_passage, top_p, temperature, max_new_tokens, batch_size)
        seed = int(torch.randint(2**62, (), generator=generator))
        order = sorted(range(len(passages)), key=lambda i: -len(passages[i]))
        written = [None] * len(passages)
        with evaluation_mode(self), torch.random.fork_rng(), quiet():
            torch.manual_seed(seed)
            for start in tqdm(range(0, len(order), batch_size), desc="Generating", unit="batch", disable=not progress):
                chosen = order[start : start + batch_size]
                rows = self._generate(
                    [passages[i] for i in chosen], queries_per_passage, top_p, temperature, max_new_tokens
                )
                for i, queries in zip(chosen, rows):
                    written[i] = queries
        return written

    def _generate(self, passages, copies, top_p, temperature, max_new_tokens):
        """One list of `copies` queries for each passage of a batch."""
        tokenizer = self.tokenizer
        inputs = tokenizer(passages, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt").to(
            self.device
        )
        # top_k and num_beams are set, because the model's own generation_config may say otherwise
        sampling = {"do_sample": True, "top_p": top_p, "top_k": 0, "temperature": temperature}
        drawn = 1 if temperature == 0 else copies
        ids = self.model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            **({"do_sample": False} if temperature == 0 else sampling),
            num_beams=1,
            num_return_sequences=drawn,
            min_new_tokens=1,
            max_new_tokens=max_new_tokens,
            suppress_tokens=[i for i in tokenizer.all_special_ids if i != tokenizer.eos_token_id],
        )
        texts = [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
        return [texts[start : start + drawn] * (copies // drawn) for start in range(0, len(texts), drawn)]

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.device

"""A query generator from the hub: a sequence-to-sequence model of Transformers, such as docT5query."""

import os
from collections.abc import Sequence

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from course_lib.models.encoder import evaluation_mode
from course_lib.models.folders import best_device, check_folder, explained, quiet
from course_lib.models.sampling import check_settings, write_in_batches
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
        # top_k and num_beams are set, because the model's own generation_config may say otherwise
        options = {"num_beams": 1, "min_new_tokens": 1, "max_new_tokens": max_new_tokens, "do_sample": temperature > 0}
        if temperature > 0:
            options |= {"top_p": top_p, "top_k": 0, "temperature": temperature}
        special = [i for i in self.tokenizer.all_special_ids if i != self.tokenizer.eos_token_id]

        def write(chosen):
            inputs = self.tokenizer(
                [passages[i] for i in chosen],
                padding=True,
                truncation=True,
                max_length=self.max_length,
                return_token_type_ids=False,
                return_tensors="pt",
            ).to(self.device)
            copies = queries_per_passage if temperature > 0 else 1
            ids = self.model.generate(**inputs, **options, num_return_sequences=copies, suppress_tokens=special)
            return ids.repeat_interleave(queries_per_passage // copies, 0)

        seed = int(torch.randint(2**62, (), generator=generator))
        with evaluation_mode(self), torch.random.fork_rng(range(torch.cuda.device_count())), quiet():
            torch.manual_seed(seed)
            return write_in_batches(self.tokenizer, passages, queries_per_passage, batch_size, progress, write)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.device

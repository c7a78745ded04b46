"""A query generator from the hub: a sequence-to-sequence model of Transformers, such as docT5query."""

from contextlib import contextmanager

import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM, PreTrainedModel, PreTrainedTokenizerBase

from course_lib.models.folders import Device, StrPath, best_device, check_folder, explained, load, quiet
from course_lib.models.sampling import QueryWriter


class HubQueryGenerator(QueryWriter):
    """A sequence-to-sequence model that writes queries by the same call as QueryGenerator.

    What is drawn for a passage also depends on `batch_size`; the generator gives the seed. No special token is written,
    and no query is empty of tokens.

    model: a Transformers model with an encoder and a decoder.
    tokenizer: its fast tokenizer.
    max_length: passages are cut at this many tokens; 350 as in GPL.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int = 350):
        super().__init__()
        self.model, self.tokenizer, self.max_length = model, tokenizer, max_length

    @classmethod
    def from_pretrained(
        cls, name_or_path: StrPath, device: Device = None, max_length: int = 350
    ) -> "HubQueryGenerator":
        """Load a folder or a hub name; arguments and errors as for `QueryGenerator.from_pretrained`."""
        source = str(name_or_path)
        check_folder(source)
        with quiet(), explained(source):
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            if not config.is_encoder_decoder:
                raise ValueError(f"a {config.model_type} model writes no text; train a QueryGenerator around it")
        model, tokenizer, _ = load(AutoModelForSeq2SeqLM, source)
        return cls(model, tokenizer, max_length).eval().to(device or best_device())

    @contextmanager
    def _writer(self, passages, queries_per_passage, top_p, temperature, max_new_tokens, generator, top_k):
        """See `QueryWriter`; Transformers' own `generate` writes."""
        # top_k and num_beams are set, because the model's own generation_config may say otherwise
        options = {"num_beams": 1, "min_new_tokens": 1, "max_new_tokens": max_new_tokens, "do_sample": temperature > 0}
        if temperature > 0:
            options |= {"top_p": top_p, "top_k": top_k or 0, "temperature": temperature}
        copies = queries_per_passage if temperature > 0 else 1
        options["num_return_sequences"] = copies
        options["suppress_tokens"] = [i for i in self.tokenizer.all_special_ids if i != self.tokenizer.eos_token_id]
        reading = {"padding": True, "truncation": True, "max_length": self.max_length, "return_token_type_ids": False}

        def write(chosen):
            inputs = self.tokenizer([passages[i] for i in chosen], return_tensors="pt", **reading).to(self.device)
            return self.model.generate(**inputs, **options).repeat_interleave(queries_per_passage // copies, 0)

        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(range(torch.cuda.device_count())), quiet():
            torch.manual_seed(seed)
            yield write

"""Speed on a GPU, ours and sentence-transformers', in whole runs with the corpus's own lengths."""

import tempfile
import time
from dataclasses import dataclass
from itertools import chain

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import BertConfig, BertModel, TrainerCallback

from course_lib import objectives
from course_lib.models.encoder import SentenceEncoder
from course_lib.training import TrainingConfig, train

WARM_UP = 20  # steps that do not count, on either side
SHAPES = {  # layers, dimensions, heads, dimensions inside
    "tiny": (1, 64, 2, 128),
    "base encoder": (6, 384, 12, 1536),
    "bert-base": (12, 768, 12, 3072),
}


@dataclass
class Row:
    """One row of the table: an objective, the shape of the model, and the batch.

    tokens: of packed texts; None for the corpus's own sentences.
    peer: whether sentence-transformers is measured as well.
    compiled: whether our side is compiled.
    """

    objective: str
    shape: str
    batch: int
    tokens: int | None = None
    peer: bool = False
    compiled: bool = False

    @property
    def title(self):
        texts = f", {self.tokens}-token texts" if self.tokens else ""
        compiled = ", compiled" if self.compiled else ""
        return f"{self.objective}, {self.shape} shape, batch {self.batch}{texts}{compiled}"


ROWS = (
    Row("SimCSE", "base encoder", 64, peer=True),
    Row("SimCSE", "base encoder", 512, peer=True),
    Row("SimCSE", "bert-base", 64, peer=True),
    Row("SimCSE", "bert-base", 512, peer=True),
    Row("SimCSE", "bert-base", 512, tokens=128),
    Row("SimCSE", "bert-base", 512, tokens=128, compiled=True),
    Row("MaskedLanguageModel", "base encoder", 768, tokens=128),
    Row("MaskedLanguageModel", "base encoder", 768, tokens=128, compiled=True),
    Row("MaskedLanguageModel", "bert-base", 64),
    Row("DenoisingAutoEncoder", "bert-base", 8),
    Row("DenoisingAutoEncoder", "bert-base", 8, compiled=True),
    Row("DenoisingAutoEncoder", "bert-base", 64),
    Row("ContrastiveTension", "bert-base", 16),
    Row("ContrastiveTension", "bert-base", 16, compiled=True),
    Row("InBatchContrastiveTension", "bert-base", 128),
)


def encoder_of(shape, tokenizer, device):
    """A SentenceEncoder of a shape, with random weights: speed does not depend on them."""
    layers, size, heads, inside = SHAPES[shape]
    sizes = {
        "num_hidden_layers": layers,
        "hidden_size": size,
        "num_attention_heads": heads,
        "intermediate_size": inside,
    }
    config = BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)
    torch.manual_seed(0)
    model = BertModel(config, add_pooling_layer=False)
    return SentenceEncoder(model, tokenizer, max_length=128).to(device)


def packed(rows, tokens):
    """Lists of token ids, joined and cut into pieces of one length."""
    ids = list(chain.from_iterable(row[1:] for row in rows))
    return [[rows[0][0], *ids[i : i + tokens - 1]] for i in range(0, len(ids) - tokens, tokens - 1)]


def ours(row, sentences, tokenizer, device, steps):
    """(texts per second, tokens per second, steps per second) of `train`, after the warm-up."""
    encoder = encoder_of(row.shape, tokenizer, device)
    texts = packed(encoder.token_ids(sentences), row.tokens) if row.tokens else sentences
    objective = getattr(objectives, row.objective)(encoder)
    config = TrainingConfig(steps=WARM_UP + steps, batch_size=row.batch, precision="bf16", compile=row.compiled)
    done = train(objective, texts, config, progress=False).steps
    seconds = done[-1]["seconds"] - done[WARM_UP - 1]["seconds"]
    counted = done[WARM_UP:]
    return tuple(sum(s[what] for s in counted) / seconds for what in ("texts", "tokens")) + (len(counted) / seconds,)


class _Clock(TrainerCallback):
    """When the warm-up was over."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == WARM_UP:
            _wait(args.device)
            self.began = time.perf_counter()


def peers(row, sentences, tokenizer, device, steps):
    """Texts per second of sentence-transformers' trainer: (s, s) pairs, as its documentation trains SimCSE."""
    with tempfile.TemporaryDirectory() as folder:
        encoder_of(row.shape, tokenizer, "cpu").save(folder)
        model = SentenceTransformer(folder, device=str(device))
        arguments = SentenceTransformerTrainingArguments(
            folder,
            max_steps=WARM_UP + steps,
            per_device_train_batch_size=row.batch,
            bf16=True,
            use_cpu=device.type == "cpu",
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        clock, pairs = _Clock(), Dataset.from_dict({"a": sentences, "b": sentences})
        trainer = SentenceTransformerTrainer(
            model, arguments, train_dataset=pairs, loss=MultipleNegativesRankingLoss(model), callbacks=[clock]
        )
        trainer.train()
        _wait(device)
        return steps * row.batch / (time.perf_counter() - clock.began)


def encoding(shape, sentences, tokenizer, device):
    """(ours, sentence-transformers'): sentences embedded per second, in fp32."""
    encoder = encoder_of(shape, tokenizer, device)
    with tempfile.TemporaryDirectory() as folder:
        encoder.save(folder)
        model = SentenceTransformer(folder, device=str(device))
        rates = []
        for encode in (encoder.encode, model.encode):
            encode(sentences[:512], batch_size=64)
            began = time.perf_counter()
            encode(sentences, batch_size=64)
            rates.append(len(sentences) / (time.perf_counter() - began))
    return tuple(rates)


def matrix_rate(device, size=8192):
    """FLOP/s of a square matrix product in bf16: what the device can do at best."""
    size = size if device.type == "cuda" else 256
    a = torch.randn(size, size, dtype=torch.bfloat16, device=device)
    best = float("inf")
    for _ in range(10):
        _wait(device)
        began = time.perf_counter()
        for _ in range(10):
            a @ a
        _wait(device)
        best = min(best, (time.perf_counter() - began) / 10)
    return 2 * size**3 / best


def flops_a_token(row, tokenizer):
    """Floating-point operations that training needs per token for the model's matrices; SimCSE reads a text twice."""
    weights = sum(
        p.numel() for p in encoder_of(row.shape, tokenizer, "cpu").transformer.encoder.parameters() if p.ndim == 2
    )
    return 6 * weights * (2 if row.objective == "SimCSE" else 1)


def _wait(device):
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()

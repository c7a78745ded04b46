"""The small language models of notebook 03, recorded with three seeds: with right labels and with overwritten ones.

`python -m course_lib.recipes.small_language_models` trains those that have no record yet.
"""

from dataclasses import replace

import torch
from transformers import BertConfig, BertModel, PreTrainedTokenizerBase

from course_lib.models import SentenceEncoder
from course_lib.objectives import MaskedLanguageModel
from course_lib.recipes import kept
from course_lib.recipes.base_encoder import FOLDER, held_out_loss
from course_lib.storage import DATA
from course_lib.texts import python_docs
from course_lib.training import TrainingConfig, train

RECORD = DATA / "recorded-runs" / "small-language-models.json"
SEEDS = (0, 1, 2)
LONGEST = 32  # tokens of a text
# the settings of the notebook's loop, which has neither a schedule nor clipping
CONFIG = TrainingConfig(
    steps=400,
    batch_size=64,
    learning_rate=1e-3,
    warmup_ratio=0.0,
    schedule="constant",
    max_gradient_norm=1e9,
    precision="fp32",
    group_by_length=False,
)


class OverwrittenLabels(MaskedLanguageModel):
    """Wrong on purpose: the labels are read after the tokens were hidden, so most of them are [MASK]."""

    def collate(self, examples, generator):
        """A batch as `MaskedLanguageModel` makes it, with labels that hold the damaged tokens."""
        batch = super().collate(examples, generator)
        return {**batch, "labels": torch.where(batch["labels"] == -100, -100, batch["input_ids"])}


KINDS = {"right": MaskedLanguageModel, "overwritten": OverwrittenLabels}


def small_encoder(tokenizer: PreTrainedTokenizerBase) -> SentenceEncoder:
    """A BERT of two layers and 128 dimensions with random weights, without dropout.

    tokenizer: gives the size of the vocabulary.
    """
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        max_position_embeddings=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return SentenceEncoder(BertModel(config, add_pooling_layer=False), tokenizer)


def record_one(kind: str, seed: int, docs: python_docs.PythonDocs, config: TrainingConfig = CONFIG) -> dict:
    """Train one model from random weights.

    kind: a key of KINDS.
    seed: of the weights, the order of the texts and the noise.
    docs: trained on its training passages; every ninth validation passage is measured.
    config: its seed is replaced.
    Returns {"losses": one per step, "held_out": the loss on hidden tokens, with the right labels}.
    """
    tokenizer = SentenceEncoder.from_pretrained(FOLDER, device="cpu").tokenizer
    torch.manual_seed(seed)
    model = KINDS[kind](small_encoder(tokenizer))
    encoder = model.encoder
    config = replace(config, seed=seed)
    record = train(model, encoder.token_ids(docs.train.passages, LONGEST), config, progress=False)
    judged = MaskedLanguageModel(encoder)
    judged.head = model.head
    held_out = held_out_loss(judged, encoder.token_ids(docs.validation.passages[::9], LONGEST))
    return {"losses": [round(loss, 3) for loss in record.losses], "held_out": round(held_out, 4)}


def load() -> dict[str, dict[str, dict]]:
    """What is recorded: {kind: {seed: what `record_one` returned}}."""
    return kept.load(RECORD)


def main() -> None:
    """Train the models that have no record yet; each is written as soon as it is finished."""
    docs = python_docs.load()
    kept.make_missing(
        RECORD,
        KINDS,
        SEEDS,
        lambda kind, seed: record_one(kind, seed, docs),
        lambda found: f"held-out loss {found['held_out']}",
    )


if __name__ == "__main__":
    main()

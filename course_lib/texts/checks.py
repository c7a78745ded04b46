"""What every layer knows about texts: the check for a list of them, and scripts that are written without blanks."""

from collections.abc import Mapping, Sequence

# characters for a regular expression: Thai, Lao, Burmese, Khmer, kana, Chinese
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"


def check_texts(texts: Sequence[str], name: str = "texts", ids: Sequence | None = None) -> None:
    """Check that `texts` is a sequence of strings.

    texts: the value to check.
    name: the name of the argument in the error message; default "texts".
    ids: one id per text for the error message; by default its position.
    Raises TypeError, which names the first text that is not a string.
    """
    if isinstance(texts, (str, bytes, Mapping)) or not hasattr(texts, "__getitem__"):
        raise TypeError(f"`{name}` is a {type(texts).__name__}; pass a list of strings, [text] for a single one")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            where = f"`{name}`[{position if ids is None else ids[position]!r}]"
            raise TypeError(f"{where} is {text!r:.60}, a {type(text).__name__}; every text must be a string")

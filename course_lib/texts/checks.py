"""What a list of texts must be, asked everywhere in the same words."""

from collections.abc import Mapping


def check_texts(texts, name="texts", ids=None):
    """Raise TypeError, naming the first offender by its id or position, unless `texts` is a sequence of strings.

    name: what the error calls them. ids: one for each text, where they have any.
    """
    if isinstance(texts, (str, bytes, Mapping)) or not hasattr(texts, "__getitem__"):
        raise TypeError(f"`{name}` is a {type(texts).__name__}; pass a list of strings, [text] for a single one")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            where = f"`{name}`[{position if ids is None else ids[position]!r}]"
            raise TypeError(f"{where} is {text!r:.60}, a {type(text).__name__}; every text must be a string")

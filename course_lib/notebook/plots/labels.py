"""Words and numbers as labels of figures."""

import re
import textwrap

METRICS = {"ndcg": "nDCG", "map": "MAP", "mrr": "MRR", "recall": "Recall", "spearman": "Spearman", "pearson": "Pearson"}
METRIC = re.compile(rf"(?<!\S)({'|'.join(METRICS)})(?=@\d+$|$)")  # at the end of a name


def words(text: object, width: int, lines: int | None = None) -> str:
    """A text as a label of a figure.

    width: characters after which a line is wrapped.
    lines: the most lines, after which the text is cut; None for as many as it takes.
    Returns the label; matplotlib would leave out one that begins with an underscore, so a thin space goes before it.
    """
    wrapped = textwrap.wrap(plain(text), width, max_lines=lines, placeholder=" …", break_on_hyphens=False)
    label = "\n".join(wrapped)
    return "\u200a" + label if label.startswith("_") else label


def plain(text: object) -> str:
    """A text on one line, with single spaces."""
    return " ".join(str(text).split())


def quote(text: object) -> str:
    """A text in quotation marks, cut after 60 characters."""
    return f"“{textwrap.shorten(str(text), 60, placeholder=' …')}”"


def short(value: float) -> str:
    """A number with about three significant digits, never with a power of ten."""
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 100 else 0
    return f"{value:.{digits}f}"


def measure(text: object) -> str:
    """The name of a result as a label, with its metric as the papers write it: `ndcg@10` becomes nDCG@10."""
    return METRIC.sub(lambda found: METRICS[found[0]], plain(text))

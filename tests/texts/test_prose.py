"""Sections told apart, markup removed, sentences cut; then the same looked for in the whole corpus."""

import json
import re
from pathlib import Path

import pytest

from course_lib.texts.prose import is_prose, parse_docstring, plain, split_sentences

REVIEWED = Path(__file__).parents[1] / "data" / "reviewed_sentences.jsonl"

NUMPYDOC = """
    Sort the rows of a table by one of its columns.

    The order of equal rows is kept, which makes ``sort`` *stable* [1]_.

    .. note:: A missing value is placed at the end of the result.

    .. seealso:: The page of the guide that is about the order of rows.

    Parameters
    ----------
    by : str or list of str, default None
        The name of the column that decides the order.
    ascending : bool, default True
        Whether the smallest value comes first, see :func:`numpy.sort`.

    Returns
    -------
    DataFrame
        A new table with the same rows in order.

    See Also
    --------
    DataFrame.rank : The position of every row in that order.
    :func:`~numpy.argsort`, lexsort

    Notes
    -----
    The algorithm is a merge of runs that are found in the data.

    Examples
    --------
    The example below is not for a reader of this text.

    >>> table.sort("a")
    1  2
    """

GOOGLE = """Load a model from a folder on the disk.

    ```python
    model = load("the folder of the model")
    ```

    Args:
        path (`str`, *optional*): The folder that holds the model and its tokenizer.
        strict (bool): Whether an unknown weight in the file is an error.
            It is a warning otherwise, and the weight is left out.

    Returns:
        Model: The model with all of its weights.
    """

PLAIN = """return the number of words in a text

    Words are what `str.split` gives, so a hyphen is a part of a word:

        count("well-known")  # this is not prose, and it is cut

    e.g. an empty text has none of them.
    """


def texts(paragraphs):
    return [s for paragraph in paragraphs for s in paragraph]


def test_numpydoc():
    doc = parse_docstring(NUMPYDOC)
    assert doc.summary == ["Sort the rows of a table by one of its columns."]
    assert texts(doc.description) == [
        "The order of equal rows is kept, which makes sort stable.",
        "A missing value is placed at the end of the result.",
        "The algorithm is a merge of runs that are found in the data.",
    ]
    assert texts(doc.details) == [
        "The name of the column that decides the order.",
        "Whether the smallest value comes first, see numpy.sort.",
        "A new table with the same rows in order.",
    ]
    assert doc.see_also == ["DataFrame.rank", "numpy.argsort", "lexsort"]


def test_google_style():
    doc = parse_docstring(GOOGLE)
    assert doc.summary == ["Load a model from a folder on the disk."]
    assert doc.description == []
    assert texts(doc.details) == [
        "The folder that holds the model and its tokenizer.",
        "Whether an unknown weight in the file is an error.",
        "It is a warning otherwise, and the weight is left out.",
        "The model with all of its weights.",
    ]


def test_a_plain_docstring():
    doc = parse_docstring(PLAIN)
    assert doc.summary == ["Return the number of words in a text."]  # given its capital and its full stop
    assert not any("well-known" in s for s in texts(doc.description))


def test_a_title_is_a_summary_where_there_is_no_other():
    doc = parse_docstring("""
        Singular Value Decomposition.

        Parameters
        ----------
        a : array
            The matrix that is to be decomposed.
        """)
    assert doc.summary == ["Singular Value Decomposition."]


@pytest.mark.parametrize(
    "markup, expected",
    [
        ("see :class:`~torch.nn.Linear` for it", "see Linear for it"),
        ("the ``axis`` of `a` is **kept**", "the axis of a is kept"),
        ("[the guide](some/page.html) says so", "the guide says so"),
        ("`the guide <page.html>`_ says so [2]_.", "the guide says so."),
    ],
)
def test_markup_is_removed(markup, expected):
    assert plain(markup) == expected


def test_sentences_are_cut_at_their_ends_only():
    text = "It uses e.g. a B. Smith's tree. The default is 0.5 here. In a graph G. The edges follow."
    assert split_sentences(text) == [
        "It uses e.g. a B. Smith's tree.",
        "The default is 0.5 here.",
        "In a graph G.",
        "The edges follow.",
    ]


@pytest.mark.parametrize(
    "rejected",
    [
        "Int The order of the spline that is used.",
        "Bool, default True If true, the rows are sorted.",
        "List of strings Names of the columns that are read.",
        "TODO: the name of this should be changed.",
        "Use f(x, y=2) for the value of it.",
        "It is a|b|c for all of the rows.",
        "See the documentation of np.random.generator for it.",
        "An implementation of the algorithm that is defined in which is fast.",
        "These are the values that are produced by.",
        "The rank is full. pivot: the pivot of the matrix.",
        "Key (tuple): A tuple of the parameters of the input.",
        "Returns: a list of all the loggers that there are.",
        "Too short it is",
    ],
)
def test_what_is_not_prose(rejected):
    assert not is_prose(rejected)


def test_what_is_prose():
    assert is_prose("A sentence of the kind that the corpus is made of.")
    assert is_prose("The model is downloaded by from_pretrained when the folder is not on this machine.", names=1)
    assert not is_prose("The model is downloaded by from_pretrained when the folder is not on this machine.")


# --------------------------------------------------------------------------- the whole corpus


def test_a_reader_finds_hardly_any_sentence_that_is_not_prose(docs):
    """Verdicts of a reader on 200 sentences drawn with a fixed seed: at most two in fifty are not English prose."""
    rows = [json.loads(line) for line in REVIEWED.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 200
    assert sum(not r["english"] for r in rows) <= 200 * 2 / 50
    corpus = set(docs.sentences)
    assert sum(r["sentence"] in corpus for r in rows) > 150, "the sample is of another corpus: draw and read a new one"


MARKUP = re.compile(r"[`{}|<>=_\\*\[\]]|:\w+:\S|>>>|https?:|www\.|\w\((?!e?s\))|\.\. |-{3}")


def test_markup_and_code_left_over(docs):
    left = [s for s in docs.sentences if MARKUP.search(s)]
    assert len(left) < 0.011 * len(docs.sentences), left[:20]  # 0.99 % when measured: identifiers in summaries
    assert not [s for s in docs.sentences if re.search(r"[`{}|<>=\\*\[\]]|>>>|https?:|www\.", s)]


def test_no_section_heading_is_left(docs):
    heading = re.compile(r"^(Parameters|Returns|See Also|Examples|Notes|References)\s*(:|--)")
    assert not [s for s in docs.sentences if heading.match(s)]

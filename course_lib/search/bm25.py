"""BM25: search by the words that query and text share, the baseline that every encoder has to beat."""

import re
import sys
import unicodedata
from typing import Any

import numpy as np

from course_lib.search.exact import Hit, Hits, Texts, check_k, ids_and_texts, top
from course_lib.storage import uncollected
from course_lib.texts.checks import UNSPACED, check_texts

# what bm25s and Lucene leave out of English by default
STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then "
    "there these they this to was will with".split()
)
_BETWEEN_WORDS = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")  # splits identifiers too: random_state, DataFrame
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_RUNS = re.compile(f"[{UNSPACED}]+|[^{UNSPACED}]+")


class _Separated(dict):
    """For `str.translate`: what stands between words becomes a blank. An accent or a vowel sign is part of its word."""

    def __missing__(self, code):
        kind = unicodedata.category(chr(code))
        self[code] = code if kind[0] in "LMN" else None if kind == "Cf" else " "
        return self[code]


_SEPARATED = _Separated()


class BM25Search:
    """Find the texts that share most words with the query; rare words count more (Robertson and Zaragoza, 2009).

    texts: a list, or a dict of id → text.
    k1: ≥ 0; the larger, the more a repeated word counts. 1.2 as in Lucene, like the formula.
    b: 0 to 1; the larger, the more long texts are held back. 0.75 as in Lucene.
    Raises ValueError where no text holds a word, TypeError for a text that is not a string.
    """

    def __init__(self, texts: Texts, k1: float = 1.2, b: float = 0.75):
        bm25s = _library()
        self.ids, self.texts = ids_and_texts(texts)
        self.k1, self.b = k1, b
        self.index = bm25s.BM25(k1=k1, b=b, method="lucene")
        with uncollected():  # of 300,000 texts, looking for garbage took a quarter of the time
            words = [tokenize(text) for text in self.texts]
            if not any(words):
                raise ValueError(
                    f"none of the {len(words)} `texts` holds a word other than stop words for BM25 to compare"
                )
            self.index.index(words, show_progress=False)

    def __len__(self) -> int:
        return len(self.texts)

    def scores(self, query: str) -> np.ndarray:
        """The BM25 score of every text, (N,) float32; 0 for a text that shares no word with the query."""
        words = tokenize(query)
        return self.index.get_scores(words) if words else np.zeros(len(self.texts), dtype=np.float32)

    def search(self, query: str | list[str], k: int = 10) -> Hits:
        """Find the best texts for a query, or for each of several.

        query: a text, or a list of texts.
        k: how many Hits to return; fewer, or none, where fewer texts share a word with the query.
        Returns a list of Hits, best first, equal scores in the order of the texts; for a list of queries a list of such
            lists.
        Raises ValueError for k < 1.
        """
        check_k(k)
        if isinstance(query, str):
            scores = self.scores(query)
            return [Hit(self.ids[i], float(scores[i]), self.texts[i]) for i in _matching(scores, k)]
        check_texts(query, "query")
        return [self.search(q, k) for q in query]

    def cache_key(self) -> dict[str, Any]:
        """What the results depend on, for `storage.fingerprint`.

        The index is left out: it numbers the words in the order of a set, which is different in every process.
        """
        return {"ids": self.ids, "texts": self.texts, "k1": self.k1, "b": self.b}


def rank_bm25(queries: dict[str, str], corpus: dict[str, str], depth: int | None = None) -> dict[str, list[str]]:
    """Rank a corpus for each query by BM25, for `evaluate_retrieval(rank_bm25, …)`.

    queries, corpus: dicts of id → text.
    depth: how many texts to rank per query; None for all.
    Returns {query id: [corpus ids, best first]}, without texts that share no word with the query, as in Lucene.
    """
    search = BM25Search(corpus)
    return {i: [search.ids[j] for j in _matching(search.scores(query), depth)] for i, query in queries.items()}


def matched_words(query: str, text: str) -> list[str]:
    """The words of the query that BM25 finds in `text`, spelled and ordered as they first occur there."""
    wanted, found = set(tokenize(query)), {}
    for word in _words(text):
        if _singular(word.lower()) in wanted:
            found.setdefault(_singular(word.lower()), word)
    return list(found.values())


def tokenize(text: str) -> list[str]:
    """The words that BM25 compares: lower case, no stop words, identifiers split into parts, plurals made singular.

    Of Chinese, Japanese, Thai and other scripts without blanks, pairs of characters, as in Lucene's CJK analyser.
    """
    return [_singular(word) for word in map(str.lower, _words(text)) if word not in STOP_WORDS]


def _library():
    """Import bm25s, which takes a second, only when a search by words is built.

    bm25s imports JAX where it is installed, as on Colab, and JAX then reserves three quarters of the GPU's memory; and
    Numba, which takes another second. BM25 needs neither, so both are hidden during the import, unless the caller has
    imported them already.
    """
    hidden = [name for name in ("jax", "numba") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        import bm25s
    finally:
        for name in hidden:
            del sys.modules[name]
    return bm25s


def _words(text):
    if text.isascii():
        return [word for word in _BETWEEN_WORDS.split(text) if word]
    parts = unicodedata.normalize("NFC", text).translate(_SEPARATED).split()
    return [word for part in parts for run in _RUNS.findall(part) for word in _words_of_run(run) if word]


def _words_of_run(run):
    """The words of a run of letters: of a script without blanks, every two characters that follow each other."""
    if not _UNSPACED.match(run):
        return _CAMEL_CASE.split(run)
    return [run[n : n + 2] for n in range(max(len(run) - 1, 1))]


def _singular(word):
    """Harman's S stemmer (1991): the weakest stemmer, but it leaves technical terms as they are."""
    if len(word) < 3 or not word.endswith("s"):
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    return word if word.endswith(("us", "ss")) else word[:-1]


def _matching(scores, k):
    best = top(scores, k)
    return best[scores[best] > 0].tolist()

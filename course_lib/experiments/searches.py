"""Searches with what was trained, by the names that `course search` takes."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from course_lib.experiments.comparison import COMPARISON
from course_lib.experiments.profiles import Profile
from course_lib.experiments.runs import Run, as_run
from course_lib.experiments.stages import load_docs
from course_lib.models import SentenceEncoder
from course_lib.models.layout import check_finished
from course_lib.search import BM25Search, CachedEncoder, ExactSearch, HybridSearch
from course_lib.search.exact import Hits
from course_lib.texts.own_text import unread
from course_lib.texts.own_text.unread import UNREAD

# the encoders that `make course` leaves behind, the best on the validation split first
BEST_FIRST = ("cropping", "simcse")
ADAPTED = {"source": ("source",), "genq": ("source", "genq"), "gpl": ("source", "gpl")}  # what notebooks 08, 09 train


def named_run(name: str, profile: Profile) -> Run | None:
    """The Run that a name stands for: a row of the comparison, or a key of ADAPTED; None for any other name."""
    if name in COMPARISON:
        return as_run(name, profile, profile.seeds[0])
    return as_run(ADAPTED[name], profile, domain="target") if name in ADAPTED else None


def searcher(name: str, texts: list[str] | dict, profile: Profile, progress: bool = True):
    """A search over texts.

    name: "bm25", a row of the comparison, "source", "genq" or "gpl" once notebooks 08 and 09 have trained them,
        "hybrid" (BM25 and the best trained encoder, merged by rank), or the folder or hub name of a model.
    texts: a list, or {id: text}. Embeddings of large corpora are kept in the cache.
    profile: in which the encoder was trained.
    progress: whether to show a bar while texts are embedded.
    Raises FileNotFoundError for a method that has not been trained and for a model that is not there.
    """
    if name == "bm25":
        return BM25Search(texts)
    if name == "hybrid":
        return HybridSearch([searcher(n, texts, profile, progress) for n in (best_trained(profile), "bm25")])
    run = named_run(name, profile)
    if run is None:
        check_finished(name)
        encoder = SentenceEncoder.from_pretrained(name)
    else:
        if run.stages:
            _check_trained(name, run, profile)
        encoder = run.encoder(progress)
    warn_of_unread_text(encoder, list(texts.values()) if isinstance(texts, dict) else texts)
    return ExactSearch(CachedEncoder(encoder), texts, progress=progress)


def trained_folder(name: str, profile: Profile) -> Path | None:
    """The folder of an encoder that was trained under a name of `searcher`; None for a name that stands for none.

    Raises FileNotFoundError for a method that has not been trained.
    """
    run = named_run(name, profile)
    if run is None or not run.stages:
        return None
    _check_trained(name, run, profile)
    return run.folder / "encoder"


def _check_trained(name, run, profile):
    if not run.is_trained():
        how = "notebooks 08 and 09 do" if name in ADAPTED else f"run: course compare {name}"
        raise FileNotFoundError(f"{name!r} has not been trained in the {profile.name} profile yet; {how}")


def warn_of_unread_text(encoder: SentenceEncoder, texts: Sequence[str], most: float = UNREAD) -> None:
    """Warn where an encoder cannot read its texts, as one trained on English cannot read Russian.

    encoder: whose tokenizer is asked.
    texts: as it would read them.
    most: the share of its word pieces that may be unknown or single letters; see `texts.own_text.unread`.
    """
    said = unread.warning(encoder.tokenizer.backend_tokenizer, texts, most)
    if said:
        warnings.warn(said, stacklevel=3)


class DocumentationSearch:
    """A search in the documentation of the installed packages, as `course search` shows it.

    names: as `searcher` takes them; of several the rankings are merged. By default `default_search`.
    profile, progress: as in `searcher`.

    passages: the texts.
    title, hint: for the lines above the results.
    """

    def __init__(self, names: Sequence[str], profile: Profile, progress: bool = True):
        self.passages, chosen = load_docs().search_texts, list(names) or [default_search(profile)]
        searches = [searcher(name, self.passages, profile, progress) for name in chosen]
        self._found_by = HybridSearch(searches) if len(searches) > 1 else searches[0]
        self.title = " and ".join(search_title(name, profile) for name in chosen)
        alone = "BM25 compares words alone. A search by meaning needs a trained encoder; run: course compare"
        self.hint = alone if not names and chosen == ["bm25"] else ""

    def search(self, query: str | list[str], k: int = 10) -> Hits:
        """As `ExactSearch.search`."""
        return self._found_by.search(query, k)

    def best_sentences(self, query: str, texts: Sequence[str]) -> list[str]:
        """The texts as they are: they are short."""
        return list(texts)


def trained_searchers(texts: list[str] | dict, profile: Profile) -> dict[str, Callable]:
    """Every search that needs no further training here, as {name: a function that makes it}, for `widgets.search_box`.

    BM25 and the base encoder come first, "hybrid" last.
    """
    names = [n for n in (*COMPARISON, *ADAPTED) if n in ("bm25", "base") or named_run(n, profile).is_trained()]
    return {search_title(n, profile): lambda n=n: searcher(n, texts, profile) for n in (*names, "hybrid")}


def search_title(name: str, profile: Profile) -> str:
    """What a search is called in tables and lists, by its name in `searcher`."""
    if name == "hybrid":
        return f"BM25 and {search_title(best_trained(profile), profile)}, merged"
    run = named_run(name, profile)
    return run.title if run else name


def best_trained(profile: Profile) -> str:
    """The first encoder of BEST_FIRST that has been trained, by its name in `searcher`; else the base encoder."""
    return next((name for name in BEST_FIRST if named_run(name, profile).is_trained()), "base")


def default_search(profile: Profile) -> str:
    """The search that nobody chose: hybrid once an encoder of BEST_FIRST has been trained, and BM25 until then.

    Hybrid was best on the validation split (nDCG@10 of summary → description and See also: BM25 0.622 and 0.832,
    cropping 0.605 and 0.737, hybrid 0.666 and 0.798). The base encoder alone is far behind BM25.
    """
    return "bm25" if best_trained(profile) == "base" else "hybrid"

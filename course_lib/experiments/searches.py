"""Searches with what was trained, by the names that `course search` takes."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from course_lib.experiments.profiles import Profile
from course_lib.experiments.runs import COMPARISON, Run, as_run
from course_lib.models import SentenceEncoder
from course_lib.search import BM25Search, CachedEncoder, ExactSearch, HybridSearch
from course_lib.training import CHECKPOINT

BEST_FIRST = (
    "cropping",
    "simcse",
)  # the best encoders that `make course` leaves behind, chosen on the validation split
MULTILINGUAL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
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
        if (Path(name) / CHECKPOINT).is_file():
            raise ValueError(
                f"the training in {name} was interrupted; finish it, or delete {CHECKPOINT} to use it as it is"
            )
        encoder = SentenceEncoder.from_pretrained(name)
    elif run.stages and not run.is_trained():
        how = "notebooks 08 and 09 do" if name in ADAPTED else f"run: course compare {name}"
        raise FileNotFoundError(f"{name!r} has not been trained in the {profile.name} profile yet; {how}")
    else:
        encoder = run.encoder(progress)
    warn_of_unknown_words(encoder, list(texts.values()) if isinstance(texts, dict) else texts)
    return ExactSearch(CachedEncoder(encoder), texts, progress=progress)


def warn_of_unknown_words(encoder: SentenceEncoder, texts: Sequence[str], most: float = 0.1) -> None:
    """Warn where an encoder cannot read its texts, as one trained on English cannot read Russian.

    encoder: whose tokenizer is asked.
    texts: as it would read them.
    most: the share of unknown word pieces that is accepted; default 0.1.
    """
    share = encoder.unknown_share(texts)
    if share > most:
        warnings.warn(
            f"{share:.0%} of the word pieces of these texts are unknown to the encoder. It reads all of them alike, so "
            "its scores mean little. Search by words, with --encoder bm25, or take an encoder that was trained on this "
            f"language, such as {MULTILINGUAL} from the hub",
            stacklevel=3,
        )


def trained_searchers(texts: list[str] | dict, profile: Profile) -> dict[str, Callable]:
    """Every search that needs no further training here, as {name: a function that makes it}, for `widgets.search_box`.

    BM25 and the base encoder come first, "hybrid" last.
    """
    runs = {name: named_run(name, profile) for name in (*COMPARISON, *ADAPTED)}
    names = {n: run.title for n, run in runs.items() if n in ("bm25", "base") or run.is_trained()}
    names["hybrid"] = f"BM25 and {runs[best_trained(profile)].title}, merged"
    return {title: lambda n=n: searcher(n, texts, profile) for n, title in names.items()}


def best_trained(profile: Profile) -> str:
    """The first encoder of BEST_FIRST that has been trained, by its name in `searcher`; else the base encoder."""
    return next((name for name in BEST_FIRST if named_run(name, profile).is_trained()), "base")

"""Labelled data from the Hugging Face hub, or from local copies in the same layout (COURSE_DATA=/path)."""

import os
from collections import defaultdict
from pathlib import Path

from course_lib.texts.own_text.tables import read_rows

STSB = "sentence-transformers/stsb"
ASK_UBUNTU = "mteb/askubuntudupquestions-reranking"
# the last revision with one row per query, with its positives and negatives
_REVISIONS = {ASK_UBUNTU: "2000358ca161889fa9c082cb41daa8dcfb161a54"}
_SPLITS = ("train", "validation", "dev", "test")
_FILES = ("corpus.jsonl", *(split + suffix for split in _SPLITS for suffix in (".csv", ".jsonl")))


BeirSet = tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]  # queries, corpus, judgements


def load_sts(name: str | Path = STSB, split: str = "test") -> tuple[list[str], list[str], list[float]]:
    """Load sentence pairs with the similarity that people gave them.

    name: a hub set with columns sentence1, sentence2 and score, or a folder with `{split}.csv`; see `local_copy`.
    split: name of the split; default "test".
    Returns (sentences1, sentences2, scores), lists of equal length; the scale of the scores is the set's own.
    Raises FileNotFoundError where the set is neither here nor on the hub, ValueError where a column is missing.
    """
    folder = local_copy(name)
    rows = _rows(folder / f"{split}.csv") if folder else _from_hub(name, split=split)
    _require(rows, ("sentence1", "sentence2", "score"), name)
    return [r["sentence1"] for r in rows], [r["sentence2"] for r in rows], [_number(r["score"], name) for r in rows]


def load_beir(name: str | Path = "mteb/scifact", split: str = "test") -> BeirSet:
    """Load queries, the corpus they search, and the judgements of relevance.

    name: a hub set with the configurations corpus, queries and default, as mteb keeps them, or a folder with
        corpus.jsonl, queries.jsonl and qrels/{split}.tsv, as BEIR distributes them; see `local_copy`.
    split: name of the split; default "test".
    Returns (queries, corpus, qrels): {id: text}, {id: title and text}, {query id: {corpus id: grade}}; only queries
        that were judged.
    Raises FileNotFoundError where the set is neither here nor on the hub, ValueError where something is missing in it.
    """
    folder = local_copy(name)
    if folder:
        corpus, queries = (_rows(folder / f"{part}.jsonl") for part in ("corpus", "queries"))
        judgements = _rows(folder / "qrels" / f"{split}.tsv")
    else:
        corpus, queries = (_from_hub(name, part) for part in ("corpus", "queries"))
        judgements = _from_hub(name, "default", split)
    _require(corpus, ("_id", "text"), name)
    _require(queries, ("_id", "text"), name)
    _require(judgements, ("query-id", "corpus-id", "score"), name)
    qrels = defaultdict(dict)
    for row in judgements:
        qrels[str(row["query-id"])][str(row["corpus-id"])] = int(_number(row["score"], name))
    texts = {str(r["_id"]): r["text"] for r in queries}
    unknown = sorted(set(qrels) - set(texts))
    if unknown:
        raise ValueError(f"{name!r}: {len(unknown)} judged queries have no text in queries, such as {unknown[0]!r}")
    documents = {str(r["_id"]): f"{r.get('title') or ''} {r['text']}".strip() for r in corpus}
    return {i: texts[i] for i in qrels}, documents, dict(qrels)


def load_reranking(name: str | Path = ASK_UBUNTU, split: str = "test") -> list[dict]:
    """Load queries, each with texts that answer it and texts that do not.

    name: a hub set with the columns query, positive and negative, or a folder with `{split}.jsonl`; see `local_copy`.
    split: name of the split; default "test".
    Returns a list of {"query": text, "positive": list of texts, "negative": list of texts}.
    Raises FileNotFoundError where the set is neither here nor on the hub, ValueError where a column is missing.
    """
    folder = local_copy(name)
    rows = _rows(folder / f"{split}.jsonl") if folder else _from_hub(name, split=split)
    _require(rows, ("query", "positive", "negative"), name)
    return [{key: row[key] for key in ("query", "positive", "negative")} for row in rows]


# --------------------------------------------------------------------------- where it is


def local_copy(name: str | Path) -> Path | None:
    """Find the folder of a set on this machine.

    name: a path or a name.
        A path is a Path object, or text that is absolute or starts with "." or "~". It stands for that folder itself.
        A name, such as "sentence-transformers/stsb", stands for a folder in COURSE_DATA with the whole name or its last
        part. Without COURSE_DATA a folder shared/data next to the course is searched, for workshops. A folder of that
        name in the current directory comes first if it holds corpus.jsonl or a table of a split, such as test.csv.
    Returns None where there is no such folder.
    """
    path = Path(name).expanduser()
    if isinstance(name, Path) or path.is_absolute() or name.startswith("."):
        return path if path.is_dir() else None
    if not path.name or ".." in path.parts:  # ".." would lead out of COURSE_DATA
        return None
    if any((path / file).is_file() for file in _FILES):
        return path
    root = Path(os.environ.get("COURSE_DATA") or Path(__file__).parents[3] / "shared" / "data")
    return next((p for p in (root / path, root / path.name) if p.is_dir()), None)


def available(name: str | Path) -> bool:
    """Whether a set is on this machine: as a local copy, or in the cache of `datasets`. Never asks the network.

    name: as for `local_copy`.
    Returns False also for a set that is only on the hub; the `load_*` functions fetch it.
    """
    if local_copy(name):
        return True
    owner, slash, last = str(name).rpartition("/")
    if "/" in owner or not last.strip("."):
        return False
    import datasets
    from datasets.naming import camelcase_to_snakecase

    cached = Path(datasets.config.HF_DATASETS_CACHE) / f"{owner}{slash and '___'}{camelcase_to_snakecase(last)}"
    return any(p.is_dir() and p.suffix != ".incomplete" for p in cached.glob("*/*/*"))  # configuration/version/hash


def _from_hub(name, configuration=None, split=None):
    import datasets

    try:
        found = datasets.load_dataset(name, configuration, split=split, revision=_REVISIONS.get(name))
    except Exception as error:  # the library raises a dozen kinds of errors; the reader has to do the same about each
        raise FileNotFoundError(
            f"{name!r} could not be loaded from the hub ({type(error).__name__}: {str(error).partition(chr(10))[0]}). "
            "It needs a network (and HF_HUB_OFFLINE unset), or a local copy: set COURSE_DATA to the folder that holds "
            f"{Path(name).name}/ (COURSE_DATA is {os.environ.get('COURSE_DATA') or 'not set'})."
        ) from error
    return list(found if split else next(iter(found.values())))


# --------------------------------------------------------------------------- local files


def _rows(path):
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in path.parent.glob("*"))) or "nothing"
        raise FileNotFoundError(f"{path.name!r} is not in {str(path.parent)!r}, which has {there}")
    return [row for _, row in read_rows(path)]


def _require(rows, columns, name):
    if not rows:
        raise ValueError(f"{name!r} is empty")
    for row in rows:
        missing = [c for c in columns if row.get(c) is None]
        if missing:
            raise ValueError(f"{name!r}: a row lacks {', '.join(missing)}; it has {', '.join(str(c) for c in row)}")


def _number(value, name):
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{name!r}: the score {value!r} is not a number") from None

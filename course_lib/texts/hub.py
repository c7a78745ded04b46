"""Labelled data from the Hugging Face hub, or from local copies in the same layout (COURSE_DATA=/path)."""

import os
from collections import defaultdict
from pathlib import Path

from course_lib.texts.own_text import read_rows

STSB = "sentence-transformers/stsb"
ASK_UBUNTU = "mteb/askubuntudupquestions-reranking"
# where the set still is one row a query, with its positives and negatives
_REVISIONS = {ASK_UBUNTU: "2000358ca161889fa9c082cb41daa8dcfb161a54"}


def load_sts(name=STSB, split="test"):
    """Sentence pairs with the similarity that people gave them.

    name: a hub set with columns sentence1, sentence2 and score, or a folder with `{split}.csv`.
    Returns (sentences1, sentences2, scores), lists of equal length; the scale of the scores is the set's own.
    """
    folder = local_copy(name)
    rows = _table(folder, split) if folder else _from_hub(name, split=split)
    _require(rows, ("sentence1", "sentence2", "score"), name)
    return [r["sentence1"] for r in rows], [r["sentence2"] for r in rows], [_number(r["score"], name) for r in rows]


def load_beir(name="mteb/scifact", split="test"):
    """Queries, the collection they search, and which of it is relevant.

    name: a hub set with the configurations corpus, queries and default, as mteb keeps them, or a folder with
    corpus.jsonl, queries.jsonl and qrels/{split}.tsv, as BEIR distributes them. Returns (queries, corpus, qrels):
    {id: text}, {id: title and text}, {query id: {corpus id: grade}}; only queries that were judged.
    """
    folder = local_copy(name)
    if folder:
        corpus, queries = (_jsonl(folder / f"{part}.jsonl") for part in ("corpus", "queries"))
        judgements = _judgements(folder, split)
    else:
        corpus, queries, judgements = (
            _from_hub(name, "corpus"),
            _from_hub(name, "queries"),
            _from_hub(name, "default", split),
        )
    for rows, columns in (
        (corpus, ("_id", "text")),
        (queries, ("_id", "text")),
        (judgements, ("query-id", "corpus-id", "score")),
    ):
        _require(rows, columns, name)
    qrels = defaultdict(dict)
    for row in judgements:
        qrels[str(row["query-id"])][str(row["corpus-id"])] = int(_number(row["score"], name))
    texts = {str(r["_id"]): r["text"] for r in queries}
    unknown = sorted(set(qrels) - set(texts))
    if unknown:
        raise ValueError(
            f"{name!r}: {len(unknown)} judged queries have no text in queries.jsonl, {unknown[0]!r} among them"
        )
    return (
        {i: texts[i] for i in qrels},
        {str(r["_id"]): f"{r.get('title') or ''} {r['text']}".strip() for r in corpus},
        dict(qrels),
    )


def load_reranking(name=ASK_UBUNTU, split="test"):
    """Queries, each with texts that answer it and texts that do not: a list of {"query", "positive", "negative"}.

    name: a hub set with these columns, or a folder with `{split}.jsonl`.
    """
    folder = local_copy(name)
    rows = _jsonl(folder / f"{split}.jsonl") if folder else _from_hub(name, split=split)
    _require(rows, ("query", "positive", "negative"), name)
    return [{key: row[key] for key in ("query", "positive", "negative")} for row in rows]


# --------------------------------------------------------------------------- where it is


def local_copy(name):
    """The folder that holds the set: `name` itself, or its last part (or all of it) under COURSE_DATA; else None.

    Without COURSE_DATA, a folder shared/data next to the course's own is looked into, for workshops and classrooms.
    """
    root = Path(os.environ.get("COURSE_DATA") or Path(__file__).parents[3] / "shared" / "data")
    places = [Path(name), root / name, root / Path(name).name]
    return next((p for p in places if p.is_dir()), None)


def available(name):
    """Whether the set can be loaded here: there is a local copy, `datasets` has it in its cache, or the hub answers."""
    if local_copy(name):
        return True
    import datasets
    import huggingface_hub

    if (Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")).is_dir():
        return True
    try:
        huggingface_hub.HfApi().dataset_info(name, timeout=5)
        return True
    except Exception:  # no network, offline mode, no such set: whatever it is, it cannot be loaded
        return False


def _from_hub(name, configuration=None, split=None):
    import datasets

    try:
        found = datasets.load_dataset(name, configuration, split=split, revision=_REVISIONS.get(name))
    except Exception as error:  # the library raises a dozen kinds; a reader needs to know what to do about any of them
        raise FileNotFoundError(
            f"{name!r} could not be loaded from the Hugging Face hub: "
            f"{type(error).__name__}: {str(error).partition(chr(10))[0]}. "
            "It needs a network (and HF_HUB_OFFLINE unset), or a local copy: set COURSE_DATA to the folder that holds "
            f"{Path(name).name}/ (COURSE_DATA is {os.environ.get('COURSE_DATA') or 'not set'})."
        ) from error
    return list(found if split else next(iter(found.values())))


# --------------------------------------------------------------------------- local files


def _file(path):
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob("*")) if path.parent.is_dir() else []
        raise FileNotFoundError(
            f"{path.name!r} is not in {str(path.parent)!r}, which has {', '.join(there) or 'nothing'}"
        )
    return path


def _table(folder, split):
    return [row for _, row in read_rows(_file(folder / f"{split}.csv"))]


def _jsonl(path):
    return [row for _, row in read_rows(_file(path))]


def _judgements(folder, split):
    return [row for _, row in read_rows(_file(folder / "qrels" / f"{split}.tsv"))]


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

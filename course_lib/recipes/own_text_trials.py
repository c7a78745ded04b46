"""Real collections, adapted and judged: `course adapt` and `course search --corpus` on text of different kinds.

    python -m course_lib.recipes.own_text_trials NAME FOLDER WORK    adapt to a folder, search, write WORK/NAME.json
    python -m course_lib.recipes.own_text_trials --judged WORK       put the judged files into the record that ships

Between the two commands somebody judges: in WORK/NAME.json each hit has "good", null at first, to be set to 0 or 1. The
hits of all searches stand in one list per query, shuffled, without the names of the searches.
"""

import argparse
import json
import random
from pathlib import Path

from course_lib.experiments import PROFILES, Adaptation
from course_lib.models import SentenceEncoder
from course_lib.models.minilm import minilm_folder
from course_lib.search import BM25Search, ExactSearch, HybridSearch
from course_lib.storage import DATA, write_atomically
from course_lib.texts import own_text

TRIALS = DATA / "recorded-runs" / "own-text-trials.json"
HITS = 5  # per search and query
# what is adapted, and ten queries for each as a newcomer would ask them, written before anything was searched
COLLECTIONS = {
    "man": "the manual pages of section 1 of Debian's coreutils 9.1-1, each rendered as text (man -P cat | col -bx)",
    "sqlite": "fifty pages about SQL of Debian's sqlite3-doc 3.40.1-2+deb12u2, HTML",
    "npm": "the folder docs/content of npm 11.19.1, Markdown",
}
QUERIES = {
    "man": (
        "see the end of a log file while it is still being written",
        "how much space is left on my disk",
        "which of my folders take the most room",
        "find files that were changed yesterday",
        "throw away duplicate lines in a text",
        "stop a program that hangs",
        "make a shortcut that points to another file",
        "let everyone read a file but not change it",
        "replace a word everywhere in many files",
        "pack a folder into one compressed file",
    ),
    "sqlite": (
        "insert a row or change it if it is already there",
        "how do I speed up a slow query",
        "can two programs write to the database at the same time",
        "search for words inside long texts",
        "how are dates and times stored",
        "make a copy of a database while it is in use",
        "why does my column of numbers accept letters",
        "what happens to my data if the computer loses power",
        "the file does not get smaller after I delete rows",
        "count the rows of each group",
    ),
    "npm": (
        "keep a library that I only need for testing out of the finished product",
        "run something automatically after the install",
        "is there a newer version of what I use",
        "try out my package in another project without publishing it",
        "take back a version that I published by mistake",
        "find known security holes in what I depend on",
        "what does the little hat in front of a version number mean",
        "install exactly the same versions on a server",
        "several packages in one repository",
        "who is allowed to publish my package",
    ),
}


def try_out(name: str, folder: Path, work: Path, steps: int | None = None) -> Path:
    """Adapt to a collection, measure without labels, and search before and after.

    name: a key of COLLECTIONS.
    folder: with its files.
    work: a folder for the encoder and for the file to be judged.
    steps: of the training; by default the profile's.
    Returns the file.
    """
    passages = own_text.load(folder, progress=False)
    adaptation = Adaptation(passages, work / f"{name}-encoder", PROFILES["cpu"], steps=steps)
    record, gains = adaptation.run()
    encoders = {"before": minilm_folder(), "after": adaptation.folder}
    searches = {which: ExactSearch(SentenceEncoder.from_pretrained(path), passages) for which, path in encoders.items()}
    searches["bm25"] = BM25Search(passages)
    searches["hybrid"] = HybridSearch([searches["before"], searches["bm25"]])
    searches["hybrid_after"] = HybridSearch([searches["after"], searches["bm25"]])
    found = {
        "name": name,
        "kind": COLLECTIONS[name],
        "files": passages.files,
        "passages": len(passages),
        "method": f"{adaptation.method}, {adaptation.how()}",
        "seconds": round(record.seconds, 1),
        "gains": [{**g._asdict(), **g.difference._asdict(), "verdict": g.verdict} for g in gains],
        "queries": [asked(query, searches, random.Random(query)) for query in QUERIES[name]],
    }
    path = work / f"{name}.json"
    write_atomically(path, json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    return path


def asked(query: str, searches: dict, chance: random.Random) -> dict:
    """What is to be judged of one query: {"query", "hits": [{"id", "place", "text", "good"}], "found": {name: ids}}."""
    lists = {name: search.search(query, HITS) for name, search in searches.items()}
    hits = {hit.id: hit.text for of in lists.values() for hit in of}
    order = sorted(hits)
    chance.shuffle(order)
    judged = [{"id": i, "place": own_text.place(hits[i]), "text": str(hits[i]), "good": None} for i in order]
    return {"query": query, "hits": judged, "found": {name: [hit.id for hit in of] for name, of in lists.items()}}


def judged(trial: dict) -> dict:
    """A trial with each search's hits as 0 or 1 in place of the texts, which stay where they are.

    trial: from the file of `try_out`, with every "good" filled in. A search that found fewer hits has zeros at its end.
    Raises ValueError for a hit that has not been judged.
    """
    queries = []
    for of in trial["queries"]:
        good = {hit["id"]: hit["good"] for hit in of["hits"]}
        if missing := [i for i, value in good.items() if value not in (0, 1)]:
            raise ValueError(f"{trial['name']}, {of['query']!r}: {len(missing)} hits have not been judged 0 or 1")
        row = {name: ([good[i] for i in ids] + [0] * HITS)[:HITS] for name, ids in of["found"].items()}
        queries.append({"query": of["query"], **row})
    return trial | {"queries": queries}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=list(COLLECTIONS))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("work", nargs="?", type=Path)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--judged", type=Path)
    options = parser.parse_args()
    if options.judged:
        trials = [json.loads((options.judged / f"{name}.json").read_text("utf-8")) for name in COLLECTIONS]
        write_atomically(TRIALS, json.dumps([judged(t) for t in trials], ensure_ascii=False, indent=1) + "\n")
    elif options.work:
        print(try_out(options.name, options.folder, options.work, options.steps))
    else:
        parser.error("name a collection, its folder and a folder to work in, or --judged FOLDER")


if __name__ == "__main__":
    main()

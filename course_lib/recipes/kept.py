"""Experiments of single notebooks: each kind and seed is made once and kept in a JSON file beside the recorded runs."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from course_lib.storage import write_atomically


def load(path: Path) -> dict:
    """What a file holds; {} where there is none yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write(path: Path, found: dict) -> None:
    """Write the file, whole or not at all."""
    write_atomically(path, json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n")


def make_missing(
    path: Path, kinds: Iterable[str], seeds: Iterable[int], make: Callable[[str, int], dict], say: Callable[[dict], str]
) -> None:
    """Make what the file does not hold, seed by seed; each is written as soon as it is finished.

    path: of a file that holds {kind: {seed: what `make` returned}}.
    kinds, seeds: what it shall hold.
    make: called with a kind and a seed; returns what JSON can hold.
    say: what is printed of one result.
    """
    kinds = list(kinds)
    for seed in seeds:
        for kind in kinds:
            if str(seed) in load(path).get(kind, {}):
                continue
            found = make(kind, seed)
            known = load(path)  # another process may have written meanwhile
            known.setdefault(kind, {})[str(seed)] = found
            write(path, known)
            print(f"{kind}, seed {seed}: {say(found)}", flush=True)


def without_queries(results: Mapping[str, dict]) -> dict[str, dict]:
    """The results of `measure` with values per query as lists, in the order of the task: its queries are known."""
    return {task: {**result, "per_query": list(result["per_query"].values())} for task, result in results.items()}


def with_queries(results: Mapping[str, dict], tasks: Mapping) -> dict[str, dict]:
    """What `without_queries` made, with the queries again.

    tasks: {name: RetrievalTask}.
    """
    return {
        task: {**result, "per_query": dict(zip(tasks[task].queries, result["per_query"], strict=True))}
        for task, result in results.items()
    }

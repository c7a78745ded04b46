"""Where the course keeps files and how it writes them; long work done in chunks, each kept as soon as it is done."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

_INSTALLED = Path(__file__).parent / "data"  # a wheel puts the data here; in a checkout it is at the root
DATA = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[1] / "data"  # what ships with the course


def cache_folder():
    """The course's folder in the user's cache (XDG), made if absent; a temporary one where it cannot be written."""
    if os.environ.get("COURSE_CACHE"):
        folder = Path(os.environ["COURSE_CACHE"])
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "embeddings-course"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    folder = Path(tempfile.gettempdir()) / f"embeddings-course-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_atomically(path, content):
    """Write text or bytes under a temporary name, then rename: a reader sees the old file or the whole new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    mode, encoding = ("wb", None) if isinstance(content, bytes) else ("w", "utf-8")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def in_chunks(stage, items, work, settings, chunk=64, folder=None, progress=True):
    """The result of each item, in order, by `work`, which is called for what is not kept from an earlier call only.

    stage: a name, for the folder and the progress bar. items: what JSON can hold. work: a function of (a list of items,
    the number of the chunk) that returns one result an item, which JSON can hold; whatever chance it needs must come from
    that number, so that a continued run ends as an uninterrupted one. settings: all else that the results depend on, as
    `fingerprint` takes it, models included: other settings or items make another folder, in which nothing is done yet.
    chunk: items at a time, which is what a kill can cost. folder: where the chunks are kept, by default in the cache;
    each is a file, written whole or not at all. The bar tells how many items are done and how long the rest takes.
    Raises ValueError for a chunk below 1 and where `work` returns another number of results.
    """
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1")
    folder = (folder or cache_folder() / "stages") / f"{stage}-{fingerprint([settings, chunk, items])}"
    parts = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    kept = {
        number: results
        for number, part in enumerate(parts)
        if (results := _read(folder / f"{number:05}.jsonl", len(part))) is not None
    }
    done = sum(len(parts[number]) for number in kept)
    with tqdm(total=len(items), initial=done, desc=stage.capitalize(), unit="item", disable=not progress) as bar:
        for number, part in enumerate(parts):
            if number not in kept:
                results = work(part, number)
                if len(results) != len(part):
                    raise ValueError(f"the work of {stage!r} returned {len(results)} results for {len(part)} items")
                # what was just made is read back too, so that a result is the same whether it was kept or not
                lines = [json.dumps(result, ensure_ascii=False) for result in results]
                write_atomically(folder / f"{number:05}.jsonl", "".join(line + "\n" for line in lines))
                kept[number] = [json.loads(line) for line in lines]
                bar.update(len(part))
    return [result for number in range(len(parts)) for result in kept[number]]


def _read(path, count):
    """The results in a chunk's file; None where it is absent, damaged or of another length."""
    try:
        results = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    except (OSError, ValueError):
        return None
    return results if len(results) == count else None


# what a search computes from its texts and its encoder: the last bits of embeddings differ with the number of threads, and
# BM25's index numbers the words in the order of a set, which is another one in every process
_RECOMPUTED = frozenset({"rows", "row_of", "batch_size", "index"})


def fingerprint(thing):
    """A short key of content: equal for what is equal, in every process.

    thing: numbers, texts, lists and dicts of them, arrays, models (by weights and settings) and searches over texts.
    """
    digest = hashlib.sha256()
    for piece in _pieces(thing):
        digest.update(piece if isinstance(piece, bytes) else repr(piece).encode(errors="surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def _pieces(thing):
    if isinstance(thing, (str, int, float, bool, bytes, type(None))):
        yield thing
    elif isinstance(thing, (list, tuple)):
        yield "["
        for member in thing:
            yield from _pieces(member)
        yield "]"
    elif isinstance(thing, (set, frozenset)):
        yield from _pieces(sorted(fingerprint(member) for member in thing))
    elif isinstance(thing, dict):
        yield "{"
        for key, value in thing.items():
            yield from (*_pieces(key), *_pieces(value))
        yield "}"
    elif torch.is_tensor(thing):
        yield from (
            str(thing.dtype),
            tuple(thing.shape),
            thing.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes(),
        )
    elif isinstance(thing, np.ndarray):
        yield from (str(thing.dtype), thing.shape, thing.tobytes())
    elif isinstance(thing, nn.Module):
        yield type(thing).__name__
        for module in thing.modules():
            yield from ((name, getattr(module, name)) for name in ("pooling", "max_length") if hasattr(module, name))
        yield from _pieces({**dict(thing.named_parameters()), **dict(thing.named_buffers())})
    elif hasattr(thing, "__dict__") and not callable(thing):
        yield type(thing).__name__
        yield from _pieces({k: v for k, v in vars(thing).items() if k not in _RECOMPUTED})
    else:
        raise TypeError(f"a {type(thing).__name__} has no fingerprint; pass numbers, texts, models or searches")

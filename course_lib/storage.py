"""Where the course keeps files and how it writes them; long work done in chunks, each kept as soon as it is done."""

import gc
import hashlib
import json
import os
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import platformdirs
from tqdm.auto import tqdm

_INSTALLED = Path(__file__).parent / "data"  # a wheel puts the data here; in a checkout it is at the root
DATA = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[1] / "data"  # what ships with the course
CHECKPOINT = "checkpoint.safetensors"  # in the folder of a training that was interrupted
# what a model's output depends on beside its weights
MODEL_SETTINGS = ("pooling", "max_length", "normalize")


def cache_folder() -> Path:
    """The course's cache folder, made if absent: COURSE_CACHE, else the platform's; a temporary one if read-only.

    Raises PermissionError where the temporary folder belongs to another user.
    """
    chosen = os.environ.get("COURSE_CACHE") or platformdirs.user_cache_path("embeddings-course", appauthor=False)
    folder = Path(chosen)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    user = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir()) / f"embeddings-course-{'user' if user is None else user}"
    folder.mkdir(parents=True, exist_ok=True)
    warnings.warn(
        f"{chosen} cannot be written; using {folder}, which is lost at restart. Set COURSE_CACHE", stacklevel=2
    )
    if user is not None and folder.stat().st_uid != user:
        raise PermissionError(f"{folder} belongs to another user; set COURSE_CACHE to a folder of yours")
    return folder


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path, and rename it to `path` at the end: readers see the old file or the whole new one.

    path: its folder is made if absent; the file gets the permissions of the user's umask.
    After an error nothing is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        temporary.touch()
        permissions = temporary.stat().st_mode
        yield temporary
        temporary.chmod(permissions)  # a library that replaces the file may have made it private
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | Path, content: str | bytes):
    """Write text (as UTF-8) or bytes to a file, whole or not at all; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))


def in_chunks(
    stage: str,
    items: list,
    work: Callable[[list, int], list],
    settings,
    chunk: int = 256,
    folder: Path | None = None,
    progress: bool = True,
) -> list:
    """Do `work` for every item and keep the results chunk by chunk, so that a killed run continues where it was.

    Processes that torchrun started share the chunks, and all of them return all results.

    stage: a name for the folder and the progress bar.
    items: what the work is done for; anything that JSON can hold.
    work: called with a list of items and the number of the chunk; returns one result per item, which JSON can hold.
        Random numbers must be seeded from that number, so that a continued run gives what an uninterrupted one gives.
    settings: everything else that the results depend on, models included, as `fingerprint` takes it. Other settings or
        items are other work.
    chunk: items per file; a kill costs at most one chunk.
    folder: where the files are kept; the cache by default.
    progress: whether to show a bar.
    Returns the results in the order of the items.
    Raises ValueError for a chunk below 1 and where `work` returns another number of results, FileNotFoundError where
        the chunks of the other processes are on another disk.
    """
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1")
    folder = (folder or cache_folder() / "stages") / f"{stage}-{fingerprint([settings, chunk, items])}"
    parts = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    found = [_read(folder / f"{number:05}.jsonl", len(part)) for number, part in enumerate(parts)]
    share, shares = own_share()
    mine = range(share, len(parts), shares)
    done = sum(len(found[number] or ()) for number in mine)
    total = sum(len(parts[number]) for number in mine)
    with tqdm(total=total, initial=done, desc=stage.capitalize(), unit="item", disable=not progress or share) as bar:
        for number in mine:
            if found[number] is not None:
                continue
            part = parts[number]
            results = work(part, number)
            if len(results) != len(part):
                raise ValueError(f"the work of {stage!r} returned {len(results)} results for {len(part)} items")
            # what was just made is read back too, so that a result is the same whether it was kept or not
            lines = [json.dumps(result, ensure_ascii=False) for result in results]
            write_atomically(folder / f"{number:05}.jsonl", "".join(line + "\n" for line in lines))
            found[number] = [json.loads(line) for line in lines]
            bar.update(len(part))
    if shares > 1:
        wait_for_all()
        found = [_read(folder / f"{number:05}.jsonl", len(part)) for number, part in enumerate(parts)]
        if None in found:
            raise FileNotFoundError(f"{folder} does not hold every chunk; set COURSE_CACHE to a disk that all share")
    return [result for results in found for result in results]


def own_share() -> tuple[int, int]:
    """The number of this process among those that torchrun started, from 0, and how many they are; else (0, 1)."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def wait_for_all() -> None:
    """Wait until every process that torchrun started has come here."""
    if own_share()[1] > 1:
        from accelerate import PartialState  # torch, which a single process need not wait for

        PartialState().wait_for_everyone()


def _read(path, count):
    """The results in a chunk's file; None where it is absent, damaged or of another length."""
    try:
        results = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    except (OSError, ValueError):
        return None
    return results if len(results) == count else None


def fingerprint(thing) -> str:
    """A short key of content: equal for equal content, in every process.

    thing: numbers, texts, lists and dicts of them, arrays, models (by weights and settings), and whatever has a
        `cache_key()`, such as a search.
    Raises TypeError for anything else.
    """
    digest = hashlib.sha256()
    for piece in _pieces(thing):
        digest.update(piece if isinstance(piece, bytes) else repr(piece).encode(errors="surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def _pieces(thing):
    if isinstance(thing, str | int | float | bool | bytes | type(None)):
        yield thing
    elif isinstance(thing, list | tuple):
        yield "["
        for member in thing:
            yield from _pieces(member)
        yield "]"
    elif isinstance(thing, set | frozenset):
        yield from _pieces(sorted(fingerprint(member) for member in thing))
    elif isinstance(thing, dict):
        yield "{"
        for key in sorted(thing, key=repr):
            yield from (*_pieces(key), *_pieces(thing[key]))
        yield "}"
    elif isinstance(thing, np.ndarray):
        yield from (str(thing.dtype), thing.shape, thing.tobytes())
    elif hasattr(thing, "cache_key"):
        yield from (type(thing).__name__, *_pieces(thing.cache_key()))
    else:
        yield from _pieces_of_model(thing)


def _pieces_of_model(thing):
    import torch  # seconds, which a search in kept embeddings need not wait for
    from torch import nn

    if torch.is_tensor(thing):
        content = thing.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
        yield from (str(thing.dtype), tuple(thing.shape), content)
    elif isinstance(thing, nn.Module):
        yield type(thing).__name__
        if hasattr(thing, "tokenizer"):
            tokenizer = json.loads(thing.tokenizer.backend_tokenizer.to_str())
            yield json.dumps(tokenizer | {"truncation": None, "padding": None})  # these change with every call
        for module in thing.modules():
            yield from ((name, getattr(module, name)) for name in MODEL_SETTINGS if hasattr(module, name))
        yield from _pieces({**dict(thing.named_parameters()), **dict(thing.named_buffers())})
    else:
        raise TypeError(f"a {type(thing).__name__} has no fingerprint; pass numbers, texts, models or searches")


@contextmanager
def uncollected():
    """Look for no garbage meanwhile: each look visits all objects made so far, so time would outgrow their number."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()

"""Embeddings that are kept: in the cache, in a file of any size, and passage by passage for a text that changes."""

import contextlib
import shutil
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from tqdm.auto import tqdm

from course_lib.search.exact import similarity_of
from course_lib.storage import cache_folder, fingerprint, own_share, replacing, wait_for_all, write_atomically
from course_lib.texts.checks import check_texts


def encode_to_file(
    encoder,
    texts: Sequence[str],
    folder: str | Path | None = None,
    batch_size: int = 64,
    normalize: bool = True,
    chunk: int = 8192,
    progress: bool = True,
) -> np.ndarray:
    """Embed texts into a file that may be larger than the memory; a killed run continues where it was.

    Processes that torchrun started share the chunks, and all of them return the whole.

    encoder: a SentenceEncoder; the file is known by its weights and settings and by the texts.
    texts: N of them. In memory are the texts, and the vectors of one chunk.
    folder: where the file is kept; the cache by default.
    batch_size, normalize: as in `SentenceEncoder.encode`; cosines need vectors of length 1.
    chunk: texts per file while the work lasts; a kill costs at most one chunk.
    progress: whether to show a bar.
    Returns (N, d) float32, mapped from the file for reading.
    Raises ValueError for no texts and for a chunk below 1, FileNotFoundError where the chunks of the other processes
        are on another disk.
    """
    check_texts(texts, "texts")
    if not len(texts) or chunk < 1:
        raise ValueError(f"{len(texts)} texts and a chunk of {chunk}; both must be at least 1")
    folder = Path(folder or cache_folder() / "embeddings")
    path = folder / f"{fingerprint([encoder, normalize, list(texts)])}.npy"
    if not path.is_file():
        parts = [path.with_suffix(f".{chunk}") / f"{number:05}.npy" for number in range(-(-len(texts) // chunk))]
        share, shares = own_share()
        for number in tqdm(range(share, len(parts), shares), "Encoding", unit="chunk", disable=not progress or share):
            if not parts[number].is_file():
                rows = encoder.encode(texts[number * chunk : (number + 1) * chunk], batch_size, normalize)
                with replacing(parts[number]) as temporary, temporary.open("wb") as file:
                    np.save(file, rows)
        wait_for_all()
        if share == 0:
            _join(parts, path, len(texts))
        wait_for_all()
    return np.load(path, mmap_mode="r")


def _join(parts, path, count):
    """Write the rows of several .npy files into one, part by part, and remove the parts."""
    if missing := [part for part in parts if not part.is_file()]:
        raise FileNotFoundError(f"{missing[0]} is missing; set COURSE_CACHE to a disk that all processes share")
    first = np.load(parts[0], mmap_mode="r")
    with replacing(path) as temporary, temporary.open("wb") as file:
        kind = {"descr": first.dtype.str, "fortran_order": False, "shape": (count, first.shape[1])}
        np.lib.format.write_array_header_1_0(file, kind)
        for part in parts:
            file.write(np.load(part).tobytes())
    shutil.rmtree(parts[0].parent)


class CachedEncoder:
    """An encoder whose embeddings of large sets of texts are written to the cache and read from there.

    encoder: a SentenceEncoder; its weights and settings are part of what the embeddings are known by.
    smallest: fewer texts are embedded each time.
    """

    def __init__(self, encoder, smallest: int = 500):
        self.encoder, self.smallest = encoder, smallest
        self.similarity = similarity_of(encoder)

    def encode(self, texts, batch_size: int = 64, normalize: bool = False, progress: bool = False):
        """As `SentenceEncoder.encode`."""
        if len(texts) < self.smallest:
            return self.encoder.encode(texts, batch_size, normalize, progress)
        key = fingerprint([self.encoder, normalize, list(texts)])
        path = cache_folder() / "embeddings" / f"{key}.safetensors"
        if path.is_file():
            try:
                return load_file(path)["embeddings"]
            except SafetensorError:
                pass  # damaged: made again below
        embeddings = self.encoder.encode(texts, batch_size, normalize, progress)
        write_atomically(path, save({"embeddings": embeddings}))
        return embeddings

    def cache_key(self):
        """What the embeddings depend on, for `storage.fingerprint`."""
        return self.encoder


class KeptEmbeddings:
    """An encoder that keeps the embeddings of a changing set of texts, and embeds only those that are new.

    encoder: has `encode(texts, batch_size, progress=…)` and `similarity`.
    path: the file in which they are kept; texts that are not asked for the next time leave it. Queries, which are
        asked for one by one, are not kept.
    at_once: so many texts are embedded between two times of writing, so that an interruption costs no more.
    """

    def __init__(self, encoder, path: str | Path, at_once: int = 8192):
        self.encoder, self.path, self.at_once = encoder, Path(path), at_once
        self.similarity = similarity_of(encoder)

    def encode(self, texts, batch_size: int = 64, progress: bool = False) -> np.ndarray:
        """As `SentenceEncoder.encode`."""
        if len(texts) < 2:
            return self.encoder.encode(texts, batch_size)
        keys = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        known = self._read()
        new = [n for n, key in enumerate(keys) if key not in known]
        for start in range(0, len(new), self.at_once):
            part = new[start : start + self.at_once]
            rows = self.encoder.encode([texts[n] for n in part], batch_size, progress=progress)
            known.update(zip((keys[n] for n in part), rows))
            self._write({key: known[key] for key in keys if key in known})
        if not new and len(known) > len(set(keys)):
            self._write({key: known[key] for key in keys})
        return np.stack([known[key] for key in keys])

    def _read(self):
        try:
            held = load_file(self.path)
            return dict(zip((key.tobytes() for key in held["keys"]), held["embeddings"]))
        except (OSError, SafetensorError, KeyError):
            return {}  # absent or damaged

    def _write(self, known):
        keys = np.frombuffer(b"".join(known), dtype=np.uint8).reshape(-1, 16)
        with contextlib.suppress(OSError):  # a cache that cannot be written is no reason to stop
            write_atomically(self.path, save({"keys": keys, "embeddings": np.stack(list(known.values()))}))

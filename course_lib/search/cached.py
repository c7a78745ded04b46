"""Embeddings that are kept: of large corpora in the cache, of a reader's own text passage by passage."""

import contextlib
from hashlib import blake2b
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from course_lib.search.exact import similarity_of
from course_lib.storage import cache_folder, fingerprint, write_atomically


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

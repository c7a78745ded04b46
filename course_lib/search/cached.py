"""Embeddings of large corpora, kept in the cache."""

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

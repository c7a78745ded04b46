"""Sentence embeddings without labels: the building blocks of the course."""

import os

# oneDNN keeps kernels for the last 1024 shapes that it met, about a megabyte each. Batches of like lengths and the
# varying number of hidden tokens bring new shapes all the time: a long run on a CPU grew to 7 GB. With 32 it stays below
# 2 GB, at the same speed. The setting is read at the first matrix product, so it is made here, before any.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")

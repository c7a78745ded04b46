"""Sentence embeddings without labels: the building blocks of the course."""

import os
from importlib import import_module

# oneDNN keeps the kernels of the last 1024 shapes, about a megabyte each. Batches of similar lengths and the varying
# number of hidden tokens bring new shapes all the time: a long run on a CPU grew to 7 GB. With 32 it stays below 2 GB,
# at the same speed. oneDNN reads the setting at the first matrix product, so it is set here, before any.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")

_MODULE_OF = {"SentenceEncoder": "models.encoder", "TrainingConfig": "training", "train": "training"}
__all__ = ["SentenceEncoder", "TrainingConfig", "objectives", "train"]


def __getattr__(name: str):
    """Import what `__all__` offers at its first use (PEP 562), because torch takes seconds to import."""
    if name == "objectives":
        return import_module("course_lib.objectives")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"course_lib.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

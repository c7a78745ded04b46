"""The models: SentenceEncoder embeds a text, CrossEncoder scores a pair of texts, QueryGenerator writes a query."""

from importlib import import_module

_MODULE_OF = {"CrossEncoder": "cross_encoder", "SentenceEncoder": "encoder", "QueryGenerator": "query_generator"}
__all__ = [*_MODULE_OF]


def __getattr__(name: str):
    """Import a model at its first use (PEP 562): Transformers takes seconds, and a search in kept embeddings none."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)

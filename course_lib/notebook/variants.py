"""What the recorded variants of Contrastive Tension show, as tables of a notebook."""

from collections.abc import Mapping, Sequence
from statistics import mean

from IPython.display import Markdown

from course_lib.evaluation import bootstrap_interval, paired_bootstrap, verdict
from course_lib.notebook.differences import with_interval
from course_lib.notebook.tables import table

LAST = 8  # steps over which losses and scores are averaged


def variants_table(recorded: Mapping[str, Mapping[str, dict]], start: Mapping[str, dict]) -> Markdown:
    """How each variant ended: one row each, the means over its seeds.

    recorded: {title: {seed: what `contrastive_variants.record_one` returned}}.
    start: {seed: …} of the base encoder, of which only "ndcg" is read.
    Returns a table.
    """
    headings = ["", "loss", "score, same text", "different texts", "cosine of the means", "within the kept tower"]
    rows = [["base encoder", *["–"] * 5, _with_interval(start)]]
    for title, seeds in recorded.items():
        loss = mean(mean(found["losses"][-LAST:]) for found in seeds.values())
        same, different = (mean(mean(s[i] for s in f["scores"][-LAST:]) for f in seeds.values()) for i in (0, 1))
        cosines = [mean(found["geometry"][name] for found in seeds.values()) for name in ("means", "within second")]
        rows.append([title, loss, *(f"{score:.1f}" for score in (same, different)), *cosines, _with_interval(seeds)])
    seeds = sorted({len(found) for found in recorded.values()})
    note = (
        f"Loss and scores: means of the last {LAST} steps. Within the kept tower: mean cosine of different texts. "
        f"Seeds per row: {' to '.join(map(str, seeds))}."
    )
    return table([*headings, "nDCG@10 (95 %)"], rows, note)


def decisions_table(recorded: Mapping[str, Mapping[str, dict]], decisions: Mapping[str, tuple]) -> Markdown:
    """What each decision does to nDCG@10, alone: the variants on one side of it minus those on the other.

    recorded: {name of a variant: {seed: what `record_one` returned}}.
    decisions: {title: (names on one side, names on the other)}, in the same order.
    Returns a table, with 95 % intervals over the queries.
    """
    rows = []
    for title, (ones, others) in decisions.items():
        gain = paired_bootstrap(*(_mean_by_query([recorded[name] for name in side]) for side in (ones, others)))
        each = [_value(recorded[one]) - _value(recorded[other]) for one, other in zip(ones, others)]
        rows.append([title, with_interval(gain), verdict(gain), ", ".join(f"{value:+.3f}" for value in each)])
    return table(["Decision", "nDCG@10, mean difference", "the first is", "in each pair of cells"], rows)


def interval_of(seeds: Mapping[str, dict]) -> tuple[float, float, float]:
    """Mean nDCG@10 of a variant with its 95 % interval over queries and seeds: (value, low, high)."""
    return tuple(bootstrap_interval([found["ndcg"] for found in seeds.values()]))


def _with_interval(seeds):
    value, low, high = interval_of(seeds)
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _value(seeds):
    return mean(mean(found["ndcg"].values()) for found in seeds.values())


def _mean_by_query(variants: Sequence) -> list[dict[str, float]]:
    """The mean over some variants, query by query: one dict per seed that all of them have."""
    seeds = set.intersection(*(set(seeds) for seeds in variants))
    return [
        {query: mean(of[seed]["ndcg"][query] for of in variants) for query in variants[0][seed]["ndcg"]}
        for seed in sorted(seeds)
    ]

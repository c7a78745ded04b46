"""GPL with other training data, recorded for notebook 09: what each part of the recipe is for.

`python -m course_lib.recipes.gpl_margins` trains those that have no record yet, each in the steps of the `gpl` recipe.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from course_lib.experiments import PROFILES, Run, RunRecord, as_run, load_docs, measure, stages
from course_lib.experiments import domain_adaptation as adaptation
from course_lib.models import CrossEncoder
from course_lib.objectives import Relevance
from course_lib.recipes import kept
from course_lib.recipes.source_models import LENGTH, lower_layers, with_negatives
from course_lib.search import BM25Search
from course_lib.storage import DATA
from course_lib.training import TrainingConfig, train

RECORD = DATA / "recorded-runs" / "gpl-margins.json"
SEEDS = (0, 1, 2)
# the weak cross-encoder, as in the notebook: half the layers of the one that ships, no practice, an eighth of the steps
WEAK_LAYERS, WEAK = 2, TrainingConfig(steps=60, batch_size=16, learning_rate=5e-4)
Triples = list[tuple[str, str, str, float]]  # (query, positive, negative, margin)


def gpl_run(seed: int = 0) -> Run:
    """The run of the `gpl` recipe in the cpu profile, which each kind here changes in one respect."""
    return as_run(("source", "gpl"), PROFILES["cpu"], seed, domain="target")


# --------------------------------------------------------------------------- the training data of each kind


def bm25_alone(run: Run) -> Triples:
    """The same triples with BM25's margins, rescaled."""
    labels = stages.pseudo_labels(run)
    both = adaptation.with_bm25(labels.margins, BM25Search(labels.passages))  # the means of the two margins
    return rescaled(labels.margins, [2 * mean - own for (*_, mean), (*_, own) in zip(both, labels.margins)])


def mined_alone(run: Run) -> Triples:
    """A mined negative for every query, as in the paper; the recipe gives every second query one drawn at random."""
    labelling = replace(run.profile.pseudo_labelling, random_negatives=False)
    return stages.pseudo_labels(replace(run, profile=replace(run.profile, pseudo_labelling=labelling))).margins


def weak_teacher(run: Run) -> Triples:
    """The same triples with the margins of a cross-encoder that has hardly been trained, rescaled."""
    triples, weak = stages.pseudo_labels(run).margins, weak_cross_encoder()
    of_positive, of_negative = (weak.predict([(t[0], t[place]) for t in triples]) for place in (1, 2))
    return rescaled(triples, of_positive - of_negative)


KINDS: dict[str, Callable[[Run], Triples]] = {
    "BM25's margins": bm25_alone,
    "mined negatives alone": mined_alone,
    "a weak cross-encoder": weak_teacher,
}


def rescaled(triples: Triples, margins: Sequence[float]) -> Triples:
    """The triples with other margins, brought to the mean and the standard deviation of theirs.

    So the two differ in which margins are large, and the loss has one scale.
    """
    own, margins = np.array([t[-1] for t in triples]), np.array(margins)
    margins = own.mean() + (margins - margins.mean()) * own.std() / margins.std()
    return [(*texts, float(margin)) for (*texts, _), margin in zip(triples, margins)]


def examples_of_relevance(count: int, seed: int = 0) -> list[tuple]:
    """(summary, its description, one that BM25 finds, one at random): what a small cross-encoder is trained on.

    count: of pairs of the source, drawn at random.
    """
    pairs, passages = adaptation.source_pairs(load_docs())
    draw = random.Random(seed)
    mined = with_negatives(draw.sample(pairs, min(count, len(pairs))), passages, 1)
    return [(*texts, other) for texts, other in zip(mined, draw.choices(list(passages.values()), k=len(mined)))]


def weak_cross_encoder(config: TrainingConfig = WEAK) -> CrossEncoder:
    """A small cross-encoder, trained for a minute."""
    torch.manual_seed(config.seed)  # its classifier starts random
    weak = CrossEncoder(lower_layers(WEAK_LAYERS, LENGTH["cross-encoder"]))
    train(Relevance(weak, "softmax"), examples_of_relevance(config.steps * config.batch_size), config, progress=False)
    return weak


# --------------------------------------------------------------------------- recording


def record_one(kind: str, run: Run) -> dict:
    """Train GPL on the data of one kind and measure it on the target's test documents.

    kind: a key of KINDS.
    run: as `gpl_run` gives it; its seed is that of the training.
    Returns {"agreement": correlation of the margins with those of the recipe, None where the triples are others;
        "losses": one per step; "seconds"; "results": {task: {"title", "metric", "value", "per_query": list}}}.
    """
    own, triples = stages.pseudo_labels(run).margins, KINDS[kind](run)
    same = [t[:3] for t in own] == [t[:3] for t in triples]
    agreement = np.corrcoef([t[-1] for t in own], [t[-1] for t in triples])[0, 1] if same else None
    objective = run.objective(progress=False)
    record = train(objective, objective.prepare(triples, run.recipe.max_length), run.config(), progress=False)
    objective.mark_similarity()
    tasks = adaptation.target_tasks(load_docs()).values()
    results = measure(objective.encoder, tasks, queries=run.profile.queries)
    return {
        "agreement": None if agreement is None else round(float(agreement), 3),
        "losses": [round(loss, 3) for loss in record.losses],
        "seconds": round(record.seconds),
        "results": kept.without_queries(results),
    }


def load() -> dict[str, dict[str, dict]]:
    """What is recorded: {kind: {seed: what `record_one` returned}}."""
    return kept.load(RECORD)


def as_records() -> dict[str, list[RunRecord]]:
    """{kind: RunRecords, one per seed}, as tables and figures take them; [] for a kind that is not recorded yet."""
    tasks, found = adaptation.target_tasks(load_docs()), {kind: [] for kind in KINDS}
    for kind, seeds in load().items():
        for seed, one in seeds.items():
            results = kept.with_queries(one["results"], tasks)
            found[kind].append(RunRecord(kind, f"GPL, {kind}", "cpu", int(seed), {}, {}, {}, {}, results))
    return found


def main() -> None:
    """Train what has no record yet; each is written as soon as it is finished."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), help="only these")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="only these")
    options = parser.parse_args()
    kept.make_missing(
        RECORD,
        options.kinds,
        options.seeds,
        lambda kind, seed: record_one(kind, gpl_run(seed)),
        lambda found: f"{found['seconds']} s",
    )


if __name__ == "__main__":
    main()

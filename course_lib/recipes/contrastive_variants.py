"""The decisions of Contrastive Tension and of its in-batch form, each combination trained on the same sentences.

`python -m course_lib.recipes.contrastive_variants` trains those that have no record yet.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from statistics import mean

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from course_lib import experiments, functional
from course_lib.evaluation import ndcg_of_pairs
from course_lib.models import SentenceEncoder
from course_lib.objectives import Objective
from course_lib.objectives.contrastive_tension import twin_of
from course_lib.recipes import kept
from course_lib.storage import DATA
from course_lib.texts import python_docs
from course_lib.training import TrainingConfig, train

RECORD = DATA / "recorded-runs" / "contrastive-variants.json"
SEEDS = (0, 1, 2)
TOWERS, NEGATIVES, SCORES = ("two", "one"), ("sampled", "sampled, bias", "in-batch"), ("dot", "cosine")
CONFIG = TrainingConfig(steps=32, batch_size=64, learning_rate=2e-4)
LONGEST = 48  # tokens of a training sentence
QUERIES = 240  # summaries of test functions, among whose descriptions each has to find its own
SCALE = 20.0  # of the cosines at the start, as in Sentence Transformers
BIAS_RATE = 1000.0  # times the learning rate, so that a short training can move it by a few units


START = "no training"  # the base encoder, measured in the same way


def name_of(towers: str, negatives: str, score: str) -> str:
    """A variant in the record."""
    return f"{towers}; {negatives}; {score}"


VARIANTS = {name_of(t, n, s): (t, n, s) for s, n, t in product(SCORES, NEGATIVES, TOWERS)}


class Variant(Objective):
    """One combination. Dropout is on in all of them, because one tower has no other source of two views.

    encoder: the tower that is kept.
    towers: "two", or "one" that reads a batch twice.
    negatives: "sampled", pairs of CT with a sigmoid for each; "sampled, bias", the same with a learned number added to
        every score, as in SigLIP; "in-batch", a softmax over all texts of the batch, by row and by column.
    score: "dot", or "cosine" times a learned scale.
    """

    similarity = "cosine"
    in_batch_negatives = True

    def __init__(self, encoder: SentenceEncoder, towers: str, negatives: str, score: str):
        super().__init__(encoder)
        self.towers, self.negatives, self.score = towers, negatives, score
        self.twin = twin_of(encoder) if towers == "two" else encoder
        self.logit_scale = nn.Parameter(torch.tensor(math.log(SCALE))) if score == "cosine" else None
        self.bias = nn.Parameter(torch.tensor(0.0)) if negatives == "sampled, bias" else None
        self.seen = []  # (mean score of the positives, of the negatives) in each step

    def start_bias(self, texts: Sequence) -> None:
        """Start the bias at minus the mean score of all pairs of these texts; nothing happens where there is none."""
        if self.bias is not None:
            with torch.no_grad():
                self.bias.fill_(-self.scores(self.eval().encoder.tokenize(texts)).mean())

    def scores(self, batch: dict[str, Tensor]) -> Tensor:
        """Scores of all pairs, (B, B), without the bias."""
        a, b = self.twin(batch).float(), self.encoder(batch).float()
        with torch.autocast(a.device.type, enabled=False):  # bf16 is too coarse for the scores
            return a @ b.T if self.logit_scale is None else self.logit_scale.exp() * functional.cosine(a, b)

    def collate(self, examples: Sequence, generator: Generator | None) -> dict[str, Tensor]:
        """A batch with the pairs of CT; in-batch negatives do not read them."""
        first, second, labels = functional.sample_pairs(len(examples), 7, generator)
        return {**self.encoder.tokenize(examples), "first": first, "second": second, "labels": labels}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The loss of a batch, a scalar."""
        scores = self.scores(batch)
        own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        self.seen.append((scores[own].mean().item(), scores[~own].mean().item()))
        if self.negatives == "in-batch":
            right = torch.arange(len(scores), device=scores.device)
            return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
        pairs = scores[batch["first"], batch["second"]]
        pairs = pairs if self.bias is None else pairs + self.bias
        return F.binary_cross_entropy_with_logits(pairs, batch["labels"].float())

    def learning_rate_factors(self) -> dict[nn.Parameter, float]:
        """The bias learns at a rate of its own."""
        return {} if self.bias is None else {self.bias: BIAS_RATE}


def tower_geometry(first: Tensor, second: Tensor) -> dict[str, float]:
    """How the vectors of the same texts lie in two towers.

    first, second: (N, d), not normalised.
    Returns the mean lengths; the mean cosine of different texts within either tower ("within first", "within second")
    and across both ("across"); that of a text with itself across both ("itself"); and the cosine of the towers' mean
    vectors ("means").
    """
    a, b = F.normalize(first, dim=-1), F.normalize(second, dim=-1)
    different = ~torch.eye(len(a), dtype=torch.bool)
    found = {
        "length first": first.norm(dim=1).mean(),
        "length second": second.norm(dim=1).mean(),
        "within first": (a @ a.T)[different].mean(),
        "within second": (b @ b.T)[different].mean(),
        "across": (a @ b.T)[different].mean(),
        "itself": (a * b).sum(1).mean(),
        "means": F.cosine_similarity(first.mean(0), second.mean(0), dim=0),
    }
    return {name: value.item() for name, value in found.items()}


def by_query(encoder: SentenceEncoder, docs: python_docs.PythonDocs) -> dict[str, float]:
    """nDCG@10 of finding the description of a test function by its summary, among those of QUERIES functions.

    Returns {query: value}.
    """
    task = docs.test.tasks["summary_to_description"]
    asked = list(task.queries)[:QUERIES]
    pairs = [task.queries[q] for q in asked], [task.corpus[i] for q in asked for i in task.relevant[q]]
    values = ndcg_of_pairs(*(encoder.encode(texts, normalize=True) for texts in pairs))
    return {query: round(float(value), 4) for query, value in zip(asked, values)}


def record_one(variant: str, seed: int, docs: python_docs.PythonDocs, config: TrainingConfig = CONFIG) -> dict:
    """Train one variant from the base encoder and measure it.

    variant: a key of VARIANTS.
    seed: of the order of the texts, the pairs and dropout.
    docs: trained on its training sentences, measured on its test documents.
    config: its seed is replaced.
    Returns {"losses", "scores": the mean of the positives and of the negatives in each step, "geometry":
    `tower_geometry` of 256 validation sentences, "bias", "scale": at the end, None where there is none, "ndcg":
    `by_query` of the tower that is kept, "other": its mean in the other one}.
    """
    cpu = experiments.PROFILES["cpu"]
    model = Variant(experiments.as_run("base", cpu).encoder(), *VARIANTS[variant])
    token_ids = model.prepare(experiments.as_run("ct", cpu).examples(), LONGEST)
    model.start_bias(token_ids[:: len(token_ids) // 64][:64])
    record = train(model, token_ids, replace(config, seed=seed), progress=False)
    model.eval()
    held_out = docs.validation.sentences[:: len(docs.validation.sentences) // 256][:256]
    vectors = [torch.tensor(tower.encode(held_out)) for tower in (model.twin, model.encoder)]
    ndcg = by_query(model.encoder, docs)
    other = ndcg if model.twin is model.encoder else by_query(model.twin, docs)
    return {
        "losses": [round(loss, 4) for loss in record.losses],
        "scores": [[round(score, 3) for score in means] for means in model.seen],
        "geometry": {name: round(value, 4) for name, value in tower_geometry(*vectors).items()},
        "bias": None if model.bias is None else round(model.bias.item(), 3),
        "scale": None if model.logit_scale is None else round(model.logit_scale.exp().item(), 3),
        "ndcg": ndcg,
        "other": round(mean(other.values()), 4),
    }


def load() -> dict[str, dict[str, dict]]:
    """What is recorded: {variant: {seed: what `record_one` returned}}, and {START: {"0": {"ndcg": …}}}."""
    return kept.load(RECORD)


def main(variants: Sequence[str] = tuple(VARIANTS), seeds: Sequence[int] = SEEDS) -> None:
    """Train the variants that have no record yet, seed by seed; each is written as soon as it is finished."""
    docs = python_docs.load()
    base = experiments.as_run("base", experiments.PROFILES["cpu"])
    for kinds, of, make in (
        ([START], [0], lambda *_: {"ndcg": by_query(base.encoder(), docs)}),
        (variants, seeds, lambda variant, seed: record_one(variant, seed, docs)),
    ):
        kept.make_missing(RECORD, kinds, of, make, lambda found: f"nDCG@10 {mean(found['ndcg'].values()):.3f}")


if __name__ == "__main__":
    main()

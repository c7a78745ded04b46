"""Exercises of notebook 06: drawing pairs, the loss, the learning rate in steps."""

import torch
import torch.nn.functional as F

from course_lib import functional
from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "06_contrastive_tension"

# --------------------------------------------------------------------------- pairs

CALLS = 300  # of the function, so that shares come out to a few per cent


def _batches():
    """Numbers of texts that divide evenly, so that rounding decides nothing."""
    return {
        "16 texts": (16, 7, torch.Generator().manual_seed(1)),
        "a single positive, and an odd number of negatives": (8, 7, torch.Generator().manual_seed(2)),
        "two negatives for each positive": (9, 2, torch.Generator().manual_seed(3)),
    }


def _habits(call, count, negatives_per_positive, generator):
    """What is true of the pairs of many batches."""
    pairs = [call(count, negatives_per_positive, generator) for _ in range(CALLS)]
    first, second, labels = (torch.stack([torch.as_tensor(part) for part in column]) for column in zip(*pairs))
    same, positive = first == second, labels == 1
    each = torch.arange(count)
    of_text_0 = second[(first == 0) & ~positive]
    return {
        "first, second and labels are tensors, the first two of whole numbers": all(map(torch.is_tensor, pairs[0]))
        and not (first.is_floating_point() or second.is_floating_point()),
        "positives in a batch": float(positive.sum(1).float().mean()),
        "labels that are neither 1 nor 0": float(((labels != 1) & (labels != 0)).float().mean()),
        "positives of two different texts": _share(~same, positive),
        "negatives of a text with itself": _share(same, ~positive),
        "batches in which the first tower reads each text once": _all_read(first, each),
        "batches in which the second tower reads each text once": _all_read(second, each),
        "how often one text is a positive, at most": float(
            torch.stack([((first == i) & positive).any(1).float().mean() for i in each]).max()
        ),
        "other texts that text 0 is paired with": len(of_text_0.unique()) / (count - 1),
    }


def _share(of, among):
    return (of & among).sum().item() / max(among.sum().item(), 1)


def _all_read(texts, each):
    return (texts.sort(1).values == each).all(1).float().mean().item()


def _pairs(order=torch.randperm, positives=None, partners=lambda rest, **_: rest.roll(-1), label=1):
    """Pairs with one thing changed."""

    def sample_pairs(count, negatives_per_positive, generator):
        texts = order(count, generator=generator)
        many = positives(count, negatives_per_positive) if positives else count // (1 + negatives_per_positive)
        second = torch.cat([texts[:many], partners(texts[many:], count=count, generator=generator)])
        labels = (torch.arange(count) < many).long()
        return texts, second, labels if label else 1 - labels

    return sample_pairs


def _shared_anchor(count, negatives_per_positive, generator):
    texts, many = torch.randperm(count, generator=generator), count // (1 + negatives_per_positive)
    anchors = texts[:many]
    first = torch.cat([anchors, anchors.repeat_interleave(negatives_per_positive)])
    return first, texts, (torch.arange(count) < many).long()


def _two_orders(count, negatives_per_positive, generator):
    first, second = (torch.randperm(count, generator=generator) for _ in range(2))
    return first, second, (torch.arange(count) < count // (1 + negatives_per_positive)).long()


sample_pairs = Exercise(
    "contrastive_tension.sample_pairs",
    "Positives and negatives",
    "medium",
    12,
    functional.sample_pairs,
    _batches,
    [
        Mistake(
            "negatives drawn with replacement",
            _pairs(partners=lambda rest, count, generator: torch.randint(count, rest.shape, generator=generator)),
            "Among the negatives are texts paired with themselves: false negatives, which push apart what a "
            "positive pulls together.",
            "Pair each text with one that cannot be the text itself: `order.roll(-1)` pairs it with the next in a "
            "random order.",
        ),
        Mistake(
            "mirrored",
            _pairs(partners=lambda rest, **_: rest.flip(0)),
            "The rest is read backwards; where their number is odd, the middle one meets itself.",
            "Turn them by one place, `.roll(-1)`: then nobody meets itself, whatever their number is.",
        ),
        Mistake(
            "in the order of the batch",
            _pairs(order=lambda count, generator: torch.arange(count)),
            "It is always the same places of the batch that are positives, and the same that meet.",
            "The batch may be sorted. Begin with `torch.randperm(count, generator=generator)`.",
        ),
        Mistake(
            "always the neighbour",
            _pairs(partners=lambda rest, **_: rest.sort().values.roll(-1)[rest.argsort().argsort()]),
            "A text always meets its neighbour in the batch.",
            "Roll the texts in their random order, not in that of the batch.",
        ),
        Mistake(
            "positives for negatives",
            _pairs(positives=lambda count, k: count - count // (1 + k)),
            "The shares are the wrong way round: most pairs are positives.",
            "To each positive belong `negatives_per_positive` negatives.",
        ),
        Mistake(
            "one in K",
            _pairs(positives=lambda count, k: count // k),
            "One pair in `negatives_per_positive` is a positive.",
            "With 7 negatives to a positive, it is one in 8: divide by `1 + negatives_per_positive`.",
        ),
        Mistake(
            "one positive",
            _pairs(positives=lambda count, k: 1),
            "There is one positive, however large the batch is.",
            "A batch of 16 with 7 negatives to a positive has 16 / (1 + 7) positives.",
        ),
        Mistake(
            "labels turned",
            _pairs(label=0),
            "The labels are turned round.",
            "1 for a text with itself, 0 for two different ones.",
        ),
        Mistake(
            "shared anchor",
            _shared_anchor,
            "In the first tower the negatives all read the text of their positive.",
            "That is the picture in many introductions. In the authors' code, and here, both texts of a negative "
            "differ from that of the positive.",
        ),
        Mistake(
            "two orders",
            _two_orders,
            "The texts of both towers are shuffled independently, so that the positives are no pairs.",
            "A positive is the *same* text in both towers: both columns begin with the same texts.",
        ),
    ],
    [
        "Put the texts in a random order. The first few become positives; what could the rest be paired with?",
        "`count // (1 + negatives_per_positive)` positives. The rest stand in a circle: each is paired with the next.",
        "`second = torch.cat([order[:p], order[p:].roll(-1)])`, and `first` is `order` itself.",
    ],
    """
    def my_sample_pairs(count, negatives_per_positive, generator):
        order = torch.randperm(count, generator=generator)
        positives = count // (1 + negatives_per_positive)
        second = torch.cat([order[:positives], order[positives:].roll(-1)])
        labels = (torch.arange(count) < positives).long()
        return order, second, labels
    """,
    "In a circle every text meets another one, so that no negative is secretly a positive, and both towers "
    "read each text once.",
    strict=False,
    measure=_habits,
    tolerance={
        "first, second and labels are tensors, the first two of whole numbers": 0.0,
        "positives in a batch": 0.01,
        "labels that are neither 1 nor 0": 0.0,
        "positives of two different texts": 0.0,
        "negatives of a text with itself": 0.0,
        "batches in which the first tower reads each text once": 0.0,
        "batches in which the second tower reads each text once": 0.0,
        "how often one text is a positive, at most": 0.12,
        "other texts that text 0 is paired with": 0.2,
    },
)

# --------------------------------------------------------------------------- the loss


def _towers():
    """Pairs of vectors whose dot products are between −6 and 6."""
    generator = torch.Generator().manual_seed(4)
    a, b = torch.randn(2, 5, 3, generator=generator)
    more = torch.randn(2, 7, 4, generator=generator)
    return {
        "five pairs in three dimensions": (a, b, torch.tensor([1, 0, 0, 1, 0])),
        "three pairs, the towers exchanged": (b[:3], a[:3], torch.tensor([0, 1, 0])),
        "seven pairs in four dimensions": (*more, torch.tensor([0, 1, 1, 0, 0, 0, 1])),
        "no positive": (a[:4], b[:4], torch.tensor([0, 0, 0, 0])),
    }


def _scores(a, b):
    return (a * b).sum(-1)


def _binary(scores, labels, reduction="sum"):
    return F.binary_cross_entropy_with_logits(scores, labels.float(), reduction=reduction)


contrastive_tension = Exercise(
    "contrastive_tension.contrastive_tension",
    "The loss",
    "medium",
    8,
    functional.contrastive_tension,
    _towers,
    [
        Mistake(
            "mean",
            lambda a, b, labels: _binary(_scores(a, b), labels, "mean"),
            "This is the mean over the pairs.",
            "The authors' code takes the mean, Sentence Transformers the sum; here it is the sum.",
        ),
        Mistake(
            "cosine",
            lambda a, b, labels: _binary(F.cosine_similarity(a, b), labels),
            "The scores are cosines: the lengths of the vectors make no difference.",
            "Contrastive Tension uses the plain dot product: `(a * b).sum(-1)`.",
        ),
        Mistake(
            "mean over dimensions",
            lambda a, b, labels: _binary((a * b).mean(-1), labels),
            "The products are averaged over the dimensions.",
            "A dot product is their *sum*: `(a * b).sum(-1)`.",
        ),
        Mistake(
            "divided by the root of d",
            lambda a, b, labels: _binary(_scores(a, b) / a.shape[-1] ** 0.5, labels),
            "The dot products are divided by √d, as in attention.",
            "Contrastive Tension uses the plain dot product.",
        ),
        Mistake(
            "squared error",
            lambda a, b, labels: (_scores(a, b).sigmoid() - labels).pow(2).sum(),
            "This is the squared error of the probability.",
            "Cross-entropy is −log p of what is true: `F.binary_cross_entropy_with_logits`.",
        ),
        Mistake(
            "labels turned",
            lambda a, b, labels: _binary(_scores(a, b), 1 - labels),
            "The loss rewards high scores of different texts and low scores of the same text.",
            "The label 1, the same text, should have a high score.",
        ),
        Mistake(
            "sigmoid twice",
            lambda a, b, labels: _binary(_scores(a, b).sigmoid(), labels),
            "There is a sigmoid of a sigmoid.",
            "`binary_cross_entropy_with_logits` takes the scores as they are and applies the sigmoid itself.",
        ),
        Mistake(
            "positives only",
            lambda a, b, labels: _binary(_scores(a, b)[labels == 1], labels[labels == 1]),
            "Only the positives count: nothing keeps all vectors from growing into one direction.",
            "A negative costs −log(1 − p). `binary_cross_entropy_with_logits` adds both kinds.",
        ),
        Mistake(
            "negatives only",
            lambda a, b, labels: _binary(_scores(a, b)[labels == 0], labels[labels == 0]),
            "Only the negatives count.",
            "A positive costs −log p. `binary_cross_entropy_with_logits` adds both kinds.",
        ),
        Mistake(
            "all pairs",
            lambda a, b, labels: _binary(a @ b.T, labels.diag()),
            "Every row of `a` is compared with every row of `b`.",
            "Only the rows of a pair meet here: `(a * b).sum(-1)`, one score per pair. All of the matrix is the idea "
            "of the next notebook.",
        ),
        Mistake(
            "no logarithm",
            lambda a, b, labels: (labels - _scores(a, b).sigmoid()).abs().sum(),
            "This sums 1 − p, without a logarithm.",
            "Cross-entropy is −log p of what is true: mild where p is near 1, steep where it is near 0.",
        ),
        Mistake(
            "first tower detached",
            lambda a, b, labels: functional.contrastive_tension(a.detach(), b, labels),
            "The value is right, but no gradient reaches `a`: only the second tower learns.",
            "Both towers are trained: no `detach`, no `no_grad`.",
        ),
    ],
    [
        "One score per pair: the dot product of its two rows. How likely is it, then, that both are the same text?",
        "`(a * b).sum(-1)` are the scores, and a sigmoid makes a probability of each.",
        "`F.binary_cross_entropy_with_logits(scores, labels.float(), reduction='sum')`.",
    ],
    """
    def my_contrastive_tension(a, b, labels):
        scores = (a * b).sum(-1)
        return F.binary_cross_entropy_with_logits(scores, labels.float(), reduction="sum")
    """,
    "The dot product decides same or not same, and each wrong answer costs minus the logarithm of what was "
    "left for the truth.",
)

# --------------------------------------------------------------------------- the schedule


def _steps():
    """Also of runs whose number of steps is no multiple of ten."""
    steps = {5000: (0, 499, 500, 1250, 1999, 2000, 4999), 80: (0, 8, 31, 79), 95: (9, 10, 19, 37, 94), 7: (0, 1, 3)}
    return {f"step {step} of {run}": (step, run) for run, among in steps.items() for step in among}


stepwise_decay = Exercise(
    "contrastive_tension.stepwise_decay",
    "The learning rate in steps",
    "easy",
    6,
    functional.stepwise_decay,
    _steps,
    [
        Mistake(
            "a straight line",
            lambda step, steps: 1 - step / steps,
            "The rate falls a little with every step.",
            "That is the linear decay of Sentence Transformers. The authors hold it for a tenth of the run, then "
            "let it drop.",
        ),
        Mistake(
            "multiplied",
            lambda step, steps: 0.8 ** min(4, 10 * step // steps),
            "Each level is 0.8 of the one before.",
            "The levels are 1, 0.8, 0.6, 0.4, 0.2: each is 0.2 of the *peak* lower.",
        ),
        Mistake(
            "never stops falling",
            lambda step, steps: 1 - 0.2 * (10 * step // steps),
            "After 0.2 it goes on to fall, down to less than nothing.",
            "From four tenths of the run on, the rate stays at 0.2: `min(4, …)`.",
        ),
        Mistake(
            "down to 0",
            lambda step, steps: 1 - 0.2 * min(5, 10 * step // steps),
            "There is a sixth level, 0, at which nothing is learned any more.",
            "The last level is 0.2, for the rest of the run: at most four drops.",
        ),
        Mistake(
            "in fifths",
            lambda step, steps: 1 - 0.2 * (5 * step // steps),
            "Each level lasts a fifth of the run.",
            "The first four last a tenth each, and the last one the remaining six tenths.",
        ),
        Mistake(
            "500 steps whatever the run",
            lambda step, steps: 1 - 0.2 * min(4, step // 500),
            "A level lasts 500 steps, however long the run is.",
            "500 is a tenth of the authors' 5,000 steps; take a tenth of `steps`.",
        ),
        Mistake(
            "tenths without their remainder",
            lambda step, steps: 1 - 0.2 * min(4, step // max(steps // 10, 1)),
            "A tenth of the run is rounded down to whole steps, so that the levels end too early.",
            "Multiply before you divide: `10 * step // steps`.",
        ),
        Mistake(
            "a step late",
            lambda step, steps: 1 - 0.2 * min(4, max(0, 10 * (step - 1) // steps)),
            "Each drop comes one step too late.",
            "Steps are counted from 0: number 500 is the first of the second tenth.",
        ),
        Mistake(
            "a level early",
            lambda step, steps: 1 - 0.2 * min(4, 1 + 10 * step // steps),
            "It starts at 0.8.",
            "The first level is 1, the peak itself.",
        ),
    ],
    [
        "How many tenths of the run are over at a step? Each takes off 0.2, four times at most.",
        "`10 * step // steps` counts the tenths that are over.",
    ],
    """
    def my_stepwise_decay(step, steps):
        return 1 - 0.2 * min(4, 10 * step // steps)
    """,
    "Each tenth of the run that is over takes 0.2 of the peak off, four times, whatever the length of the run is.",
)

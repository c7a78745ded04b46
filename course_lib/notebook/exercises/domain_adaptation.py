"""Exercises of notebook 10: cropped pairs, the share of a gap, reciprocal rank fusion."""

import torch

from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "10_domain_adaptation"

# --------------------------------------------------------------------------- cropping


def _passages():
    """Tokenised passages with the two spans that were drawn: [CLS] is 2, [SEP] is 3.

    A share is a whole number of tokens or less than one, so that rounding up or down makes no difference.
    """
    long = [2, *range(11, 31), 3]
    return {
        "two spans of a long passage": (long, (0.25, 0.45), (0.0, 0.999)),
        "a span in the middle, and one at the end": (long, (0.35, 0.1), (0.5, 0.97)),
        "eight tokens": ([2, *range(40, 48), 3], (0.5, 0.25), (0.7, 0.2)),
        "three tokens, and shares of less than one": ([2, 50, 51, 52, 3], (0.1, 0.12), (0.4, 0.8)),
        "a single token": ([2, 60, 3], (0.3, 0.5), (0.1, 0.9)),
        "a token that occurs twice": ([2, 7, 8, 7, 9, 3], (0.5, 0.25), (0.5, 0.6)),
    }


def _length(share, count):
    return max(1, round(share * count))


def _cropped(
    length=_length,
    start=lambda place, count, length: int(place * (count - length + 1)),
    framed=True,
    second=1,
    within=slice(1, -1),
):
    """Two spans with one thing changed."""

    def crop(ids, shares, places):
        text, spans = ids[within], []
        for number in (0, second):
            size = length(shares[number], len(text))
            begin = start(places[number], len(text), size)
            span = text[begin : begin + size]
            spans.append([ids[0], *span, ids[-1]] if framed else span)
        return spans

    return crop


def _last_never(place, count, length):
    return int(place * (count - length))


def _over_the_end(place, count, length):
    return int(place * count)


def _frame_counted(share, count):
    return min(_length(share, count + 2), count)


def _with_the_rest(ids, shares, places):
    """The inverse cloze task: a span, and the passage without it."""
    text, size = ids[1:-1], _length(shares[0], len(ids) - 2)
    start = int(places[0] * (len(text) - size + 1))
    return [[ids[0], *part, ids[-1]] for part in (text[start : start + size], text[:start] + text[start + size :])]


two_spans = Exercise(
    "domain_adaptation.two_spans",
    "Two spans of one passage",
    "easy",
    8,
    _cropped(),
    _passages,
    [
        Mistake(
            "frame lost",
            _cropped(framed=False),
            "The spans have lost their frame, [CLS] and [SEP].",
            "Put `ids[0]` before and `ids[-1]` after each span: it is a text like any other for the encoder.",
        ),
        Mistake(
            "frame cut into",
            _cropped(framed=False, within=slice(None)),
            "The spans are cut from all ids, so that [CLS] or [SEP] may stand in one of them and not in the other.",
            "Cut from what is between the frame, `ids[1:-1]`, and frame each span anew.",
        ),
        Mistake(
            "frame counted",
            _cropped(length=_frame_counted),
            "The shares are of all ids, although two of these are [CLS] and [SEP].",
            "Take the share of `len(ids) - 2`.",
        ),
        Mistake(
            "one span twice",
            _cropped(second=0),
            "Both spans are the first one: a text that finds itself teaches nothing.",
            "Use `shares[1]` and `places[1]` for the second.",
        ),
        Mistake(
            "over the end",
            _cropped(start=_over_the_end),
            "Some spans start so late that they are cut off at the end of the passage.",
            "The last possible start is `n - length`: `int(place * (n - length + 1))`.",
        ),
        Mistake(
            "last start never",
            _cropped(start=_last_never),
            "The last possible start is never reached, so that the end of a passage is hardly ever seen.",
            "There are `n - length + 1` starts, not `n - length`.",
        ),
        Mistake(
            "the rest",
            _with_the_rest,
            "The second text is the passage without the first span. That is the inverse cloze task, not cropping.",
            "Here the two spans are drawn independently, and may overlap.",
        ),
        Mistake(
            "empty span",
            _cropped(length=lambda share, count: round(share * count)),
            "In a short passage a span has no token at all.",
            "A span has at least one token: `max(1, round(share * n))`.",
        ),
    ],
    [
        "Take the tokens between [CLS] and [SEP]. How long is each span, and how many places are there to start it?",
        "`n = len(ids) - 2`, `length = max(1, round(share * n))`, `start = int(place * (n - length + 1))`.",
    ],
    """
    def my_two_spans(ids, shares, places):
        text, spans = ids[1:-1], []
        for share, place in zip(shares, places):
            length = max(1, round(share * len(text)))
            start = int(place * (len(text) - length + 1))
            spans.append([ids[0], *text[start : start + length], ids[-1]])
        return spans
    """,
    "Both spans lie inside of the passage, every start is possible, and each is framed as a text of its own.",
    gradients=False,
)

# --------------------------------------------------------------------------- the share of a gap


def _three_systems():
    """nDCG of each query by the adapted encoder, the source encoder and a reference."""
    source, reference = torch.tensor([0.5, 0.2, 0.9, 0.0, 0.3]), torch.tensor([0.8, 0.7, 0.5, 0.4, 0.6])
    return {
        "a gain": (torch.tensor([0.6, 0.4, 0.7, 0.3, 0.4]), source, reference),
        "a loss": (torch.tensor([0.1, 0.3, 0.6, 0.2, 0.1]), source, reference),
        "more than the whole gap": (torch.tensor([0.9, 0.9, 0.8, 0.7, 0.8]), source, reference),
        "two queries": (torch.tensor([0.5, 0.3]), source[:2], reference[:2]),
    }


def _share(adapted, source, reference):
    return (adapted.mean() - source.mean()) / (reference.mean() - source.mean())


gap_closed = Exercise(
    "domain_adaptation.gap_closed",
    "The share of the gap that was closed",
    "easy",
    6,
    _share,
    _three_systems,
    [
        Mistake(
            "mean of ratios",
            lambda a, s, r: ((a - s) / (r - s)).mean(),
            "It is the mean of each query's ratio: a query on which source and reference hardly differ decides all.",
            "First average each system over the queries, then divide once.",
        ),
        Mistake(
            "no baseline",
            lambda a, s, r: a.mean() / r.mean(),
            "This is the share of the reference's *score*, which is high before anything was adapted.",
            "Subtract the source encoder from both: nothing gained is a share of 0.",
        ),
        Mistake(
            "divided by the reference",
            lambda a, s, r: (a.mean() - s.mean()) / r.mean(),
            "The gain is divided by the reference's score.",
            "Divide by the gap, reference minus source.",
        ),
        Mistake(
            "relative gain",
            lambda a, s, r: (a.mean() - s.mean()) / s.mean(),
            "This is the gain relative to the source encoder; the reference plays no part.",
            "Divide by the gap, reference minus source.",
        ),
        Mistake(
            "percentages",
            lambda a, s, r: 100 * _share(a, s, r),
            "It is in percent.",
            "A share: half of the gap is 0.5. Multiply when you print it.",
        ),
        Mistake(
            "cut at 0",
            lambda a, s, r: _share(a, s, r).clamp(min=0),
            "A loss is reported as 0.",
            "Leave a negative share as it is: the adaptation made it worse, and that is a result.",
        ),
        Mistake(
            "cut at 1",
            lambda a, s, r: _share(a, s, r).clamp(max=1),
            "More than the whole gap is reported as 1.",
            "Leave it: the adapted encoder is better than the reference.",
        ),
        Mistake(
            "absolute",
            lambda a, s, r: _share(a, s, r).abs(),
            "A loss has become a gain: the sign is gone.",
            "No `abs`: a negative share says that it became worse.",
        ),
        Mistake(
            "what is left",
            lambda a, s, r: 1 - _share(a, s, r),
            "This is what is *left* of the gap.",
            "The numerator is adapted minus source.",
        ),
        Mistake(
            "sign",
            lambda a, s, r: -_share(a, s, r),
            "One of the two differences is turned around.",
            "(adapted − source) / (reference − source).",
        ),
    ],
    [
        "Three means over the queries, two differences, one division.",
        "(adapted − source) / (reference − source), of the means. Do not cut it at 0 or 1.",
    ],
    """
    def my_gap_closed(adapted, source, reference):
        adapted, source, reference = adapted.mean(), source.mean(), reference.mean()
        return (adapted - source) / (reference - source)
    """,
    "0 is the source encoder and 1 the reference; a loss is below 0, and it is left as it is.",
    gradients=False,
)

# --------------------------------------------------------------------------- reciprocal rank fusion


def _rankings():
    words, meaning = ["sort", "argsort", "unique", "copy"], ["argsort", "order", "sort", "rank", "flip"]
    return {
        "two searches": ([words, meaning], 60),
        "a constant of 5": ([words, meaning], 5),
        "three searches": ([meaning, words, ["rank", "order", "copy"]], 60),
        "a search that found nothing": ([words, [], meaning], 60),
        "a single search": ([[3, 1, 2]], 10),
    }


def _fused(score=lambda rank, constant: 1 / (constant + rank), first=1, merge=sum, missing=None, everywhere=False):
    """Reciprocal rank fusion with one thing changed."""

    def fuse(rankings, constant):
        found = {}
        for i in dict.fromkeys(i for ranking in rankings for i in ranking):
            scores = [
                score(ranking.index(i) + first, constant) if i in ranking else missing and missing(ranking, constant)
                for ranking in rankings
            ]
            if not everywhere or None not in scores:
                found[i] = merge([s for s in scores if s is not None])
        return found

    return fuse


reciprocal_rank_fusion = Exercise(
    "domain_adaptation.reciprocal_rank_fusion",
    "Reciprocal rank fusion",
    "easy",
    8,
    _fused(),
    _rankings,
    [
        Mistake(
            "counted from 0",
            _fused(first=0),
            "The first of a list counts as rank 0.",
            "Ranks begin with 1: `enumerate(ranking, 1)`.",
        ),
        Mistake(
            "counted from 2",
            _fused(first=2),
            "The first of a list counts as rank 2.",
            "`enumerate(ranking, 1)` counts from 1 by itself; add nothing but the constant.",
        ),
        Mistake(
            "no constant",
            _fused(score=lambda rank, constant: 1 / rank),
            "The constant has no effect, so that a first place counts twice as much as a second.",
            "Add it to the rank: `1 / (constant + rank)`.",
        ),
        Mistake(
            "constant multiplied",
            _fused(score=lambda rank, constant: 1 / (constant * rank)),
            "The constant multiplies the rank, which changes no order at all.",
            "Add it: `constant + rank`.",
        ),
        Mistake(
            "rank itself",
            _fused(score=lambda rank, constant: float(constant + rank)),
            "The ranks themselves are added, so that a text scores higher the worse its ranks are.",
            "Add the reciprocals, `1 / (constant + rank)`: higher is better.",
        ),
        Mistake(
            "last list wins",
            _fused(merge=lambda scores: scores[-1]),
            "A text that several searches found has the score of the last of them.",
            "Add to what is there: `scores[i] = scores.get(i, 0.0) + …`.",
        ),
        Mistake(
            "best rank",
            _fused(merge=max),
            "A text has the score of its best rank; that a second search found it too counts for nothing.",
            "Add the scores of all searches.",
        ),
        Mistake(
            "mean",
            _fused(merge=lambda scores: sum(scores) / len(scores)),
            "The scores are averaged over the searches that found a text, so that agreement is worth nothing.",
            "Add them, and do not divide.",
        ),
        Mistake(
            "intersection",
            _fused(everywhere=True),
            "Only what every search found is left.",
            "A text that one search alone found keeps that one's score.",
        ),
        Mistake(
            "missing ranked last",
            _fused(missing=lambda ranking, constant: 1 / (constant + len(ranking) + 1)),
            "Where a search did not find a text, it counts as if it stood just behind the last.",
            "Not found adds nothing: 0.",
        ),
    ],
    [
        "Go through every list with its ranks, from 1, and add 1 / (constant + rank) to the text's score.",
        "`scores = {}`, then `scores[i] = scores.get(i, 0.0) + 1 / (constant + rank)`.",
    ],
    """
    def my_reciprocal_rank_fusion(rankings, constant):
        scores = {}
        for ranking in rankings:
            for rank, i in enumerate(ranking, 1):
                scores[i] = scores.get(i, 0.0) + 1 / (constant + rank)
        return scores
    """,
    "What several searches place high collects several large terms; ranks need no common scale, as scores would.",
    gradients=False,
    tolerance=1e-6,
)

"""Exercises of notebook 03: BERT's noise, the loss of the hidden tokens, whole words, perplexity."""

import math

import torch
import torch.nn.functional as F

from course_lib import functional
from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "03_masked_language_model"

# --------------------------------------------------------------------------- the noise


def _texts():
    """So many tokens, in every row and in all, that shares come out to a per cent; [CLS] first, [SEP] at each 25th."""

    def text(rows, length, probability, mask_id, vocab_size):
        ids = torch.randint(5, vocab_size, (rows, length), generator=torch.Generator().manual_seed(1))
        special = torch.zeros_like(ids, dtype=torch.bool)
        special[:, ::25] = special[:, -1] = True
        ids[special] = 2
        ids[:, 0] = 1
        return ids, special, probability, mask_id, vocab_size

    return {"a probability of 0.15": text(40, 2500, 0.15, 4, 1000), "a probability of 0.4": text(40, 2501, 0.4, 3, 500)}


def _shares(call, ids, special, probability, mask_id, vocab_size):
    """What became of the tokens, as shares; `ids` may have been changed, so a copy is kept."""
    original = ids.clone()
    inputs, labels = call(ids, special, probability, mask_id, vocab_size)
    chosen = labels != -100
    again = call(original.clone(), special, probability, mask_id, vocab_size)[1] != -100

    def share(of, among):
        return (of & among).sum().item() / max(among.sum().item(), 1)

    masked, kept = inputs == mask_id, inputs == original
    random_ids = inputs[chosen & ~masked & ~kept]
    different = vocab_size * (1 - math.exp(-len(random_ids) / vocab_size))  # ids that so many draws should meet
    fate = masked + 2 * kept
    one_fate = (
        (fate[1:] == fate[:-1], chosen[1:] & chosen[:-1]),
        (
            fate[:, 1:] == fate[:, :-1],
            chosen[:, 1:] & chosen[:, :-1],
        ),
    )
    spread = (special.shape[1] * probability * (1 - probability)) ** 0.5
    return {
        "special tokens that have a label": share(chosen, special),
        "ordinary tokens that have a label": share(chosen, ~special),
        "tokens without a label that were changed": share(~kept, ~chosen),
        "labels that are the true token": share(labels == original, chosen),
        "tokens with a label that became [MASK]": share(masked, chosen),
        "tokens with a label that stayed": share(kept, chosen),
        "random tokens come from the whole vocabulary": len(random_ids.unique()) > 0.8 * different,
        "neighbouring rows that agree whether to hide a place": share(
            chosen[1:, 1:-1] == chosen[:-1, 1:-1], ~special[1:, 1:-1]
        ),
        "neighbouring places of a row that agree whether to hide": share(
            chosen[:, 2:-1] == chosen[:, 1:-2], ~special[:, 1:-2]
        ),
        "the number of hidden tokens varies from row to row": chosen.sum(1).float().std().item() > 0.5 * spread,
        "hidden tokens of a row (and of a column) become different things": all(share(*s) < 0.9 for s in one_fate),
        "a second call hides other places": bool((again != chosen).any()),
    }


def _noise(choose=None, masked=0.8, random=0.9, label=None):
    """BERT's noise with one thing changed. Below `masked` a token becomes [MASK], from `random` on a random one."""

    def mask_tokens(ids, special, probability, mask_id, vocab_size):
        ordinary = (torch.rand(ids.shape) < probability) & ~special
        chosen = choose(ids, special, probability) if choose else ordinary
        uniform, random_ids = torch.rand(ids.shape), torch.randint(vocab_size, ids.shape)
        inputs = torch.where(chosen & (uniform < masked), mask_id, ids)
        inputs = torch.where(chosen & (uniform >= random), random_ids, inputs)
        return inputs, label(ids, inputs, chosen, mask_id) if label else torch.where(chosen, ids, -100)

    return mask_tokens


def _one_random_id(ids, special, probability, mask_id, vocab_size):
    chosen, uniform = (torch.rand(ids.shape) < probability) & ~special, torch.rand(ids.shape)
    inputs = torch.where(chosen & (uniform < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (uniform >= 0.9), torch.randint(5, vocab_size, (1,)), inputs)
    return inputs, torch.where(chosen, ids, -100)


mask_tokens = Exercise(
    "masked_language_model.mask_tokens",
    "BERT's noise",
    "medium",
    10,
    functional.mask_tokens,
    _texts,
    [
        Mistake(
            "special tokens chosen",
            _noise(choose=lambda ids, special, p: torch.rand(ids.shape) < p),
            "Special tokens are chosen as well.",
            "Leave out what `special` marks: `& ~special`.",
        ),
        Mistake(
            "only special tokens left alone",
            _noise(choose=lambda ids, special, p: ~special),
            "Every ordinary token is chosen: `probability` makes no difference.",
            "Draw a number for each token, `torch.rand(ids.shape)`, and choose where it is below `probability`.",
        ),
        Mistake(
            "the others chosen",
            _noise(choose=lambda ids, special, p: (torch.rand(ids.shape) > p) & ~special),
            "The wrong ones are chosen: 85 % are hidden and 15 % are left.",
            "A uniform number is *below* 0.15 in 15 % of the cases.",
        ),
        Mistake(
            "one draw for all rows",
            _noise(choose=lambda ids, special, p: (torch.rand(ids.shape[1]) < p) & ~special),
            "The same places are hidden in every row.",
            "Draw a number for every token: `torch.rand(ids.shape)`.",
        ),
        Mistake(
            "a probability of its own",
            lambda ids, special, p, mask_id, vocab_size: _noise()(ids, special, 0.15, mask_id, vocab_size),
            "15 % are hidden, whatever `probability` says.",
            "Compare the uniform numbers with `probability`.",
        ),
        Mistake(
            "the same every time",
            lambda *texts: torch.manual_seed(0) and _noise()(*texts),
            "Every call hides the same places, so a text has the same noise each time it is read.",
            "Set no seed inside of the function: BERT needs new noise each time it sees a text.",
        ),
        Mistake(
            "all masked",
            _noise(masked=1.0, random=2.0),
            "Every chosen token becomes [MASK].",
            "Roll a second die for the chosen: 80 % [MASK], 10 % random, 10 % unchanged.",
        ),
        Mistake(
            "none random",
            _noise(random=2.0),
            "20 % of the chosen stay as they are, and none becomes a random token.",
            "Where the second die is 0.9 or more, put a random id: `torch.randint(vocab_size, ids.shape)`.",
        ),
        Mistake(
            "none kept",
            _noise(random=0.8),
            "20 % of the chosen become a random token, and none stays as it is.",
            "Of the 20 % that are not masked, half become random: from 0.9 on, not from 0.8 on.",
        ),
        Mistake(
            "a tenth of the rest",
            _noise(random=0.98),
            "80 % become [MASK], 2 % random and 18 % stay.",
            "Drawing again for the 20 % that are left? Half of *them* become random: 0.5, not 0.1.",
        ),
        Mistake(
            "masked and random swapped",
            _noise(masked=0.1, random=0.2),
            "10 % become [MASK] and 80 % a random token.",
            "It is the other way round: 80 % [MASK], 10 % random.",
        ),
        Mistake(
            "one random token",
            _one_random_id,
            "The random tokens are all the same one.",
            "Draw one for every place: `torch.randint(vocab_size, ids.shape)`.",
        ),
        Mistake(
            "label everywhere",
            _noise(label=lambda ids, inputs, chosen, mask_id: ids.clone()),
            "Every token has a label, also those that were not chosen.",
            "Where nothing was chosen, the label is −100: `torch.where(chosen, ids, -100)`.",
        ),
        Mistake(
            "labels turned",
            _noise(label=lambda ids, inputs, chosen, mask_id: torch.where(chosen, -100, ids)),
            "The chosen tokens have −100, and the others a label.",
            "The other way round: `torch.where(chosen, ids, -100)`.",
        ),
        Mistake(
            "damaged labels",
            _noise(label=lambda ids, inputs, chosen, mask_id: torch.where(chosen, inputs, -100)),
            "The labels hold the damaged tokens: the model would learn to say [MASK].",
            "A label is the token that stood there *before*. Were the ids overwritten first?",
        ),
        Mistake(
            "label only where masked",
            _noise(label=lambda ids, inputs, chosen, mask_id: torch.where(inputs == mask_id, ids, -100)),
            "Only the tokens that became [MASK] have a label; the random and the unchanged ones have none.",
            "All chosen tokens are predicted: `torch.where(chosen, ids, -100)`.",
        ),
        Mistake(
            "label only where changed",
            _noise(label=lambda ids, inputs, chosen, mask_id: torch.where(inputs != ids, ids, -100)),
            "The chosen tokens that stayed as they are have no label.",
            "They are predicted like the others. Without a label, a token that stays as it is teaches nothing.",
        ),
    ],
    [
        "Draw one uniform number per token to decide which are chosen, special ones never. Then draw a second one per "
        "token, which decides what becomes of a chosen one.",
        "`torch.where(condition, a, b)` picks element by element. Under 0.8: [MASK]; from 0.9 on: a random id.",
        "The labels come from the original ids: `torch.where(chosen, ids, -100)`.",
    ],
    """
    def my_mask_tokens(ids, special, probability, mask_id, vocab_size):
        chosen = (torch.rand(ids.shape) < probability) & ~special
        uniform = torch.rand(ids.shape)
        random_ids = torch.randint(vocab_size, ids.shape)
        inputs = torch.where(chosen & (uniform < 0.8), mask_id, ids)
        inputs = torch.where(chosen & (uniform >= 0.9), random_ids, inputs)
        return inputs, torch.where(chosen, ids, -100)
    """,
    "Every ordinary token decides for itself, and the labels keep what stood there before the noise.",
    measure=_shares,
    tolerance=0.025,
)

# --------------------------------------------------------------------------- the loss


def _logits_and_labels():
    logits = torch.tensor(
        [
            [[1.0, 0.0, -1.0, 2.0], [0.5, 0.5, 1.5, -0.5], [3.0, 0.1, 0.2, 0.0]],
            [[0.0, 1.0, 0.3, -2.0], [2.0, -1.0, 0.0, 0.4], [0.7, 0.2, -0.3, 1.1]],
        ]
    )
    many = torch.randn(4, 5, 7, generator=torch.Generator().manual_seed(2))
    labels = torch.tensor(
        [[3, -100, 6, 0, 1], [-100, 2, -100, -100, -100], [5, 5, -100, 4, -100], [-100, 0, 1, -100, 6]]
    )
    return {
        "one hidden token in the first text and two in the second": (
            logits,
            torch.tensor([[-100, 1, -100], [3, -100, 2]]),
        ),
        "token number 0 among the hidden ones": (logits, torch.tensor([[0, 2, -100], [-100, -100, 1]])),
        "four texts of five places, and seven words": (many, labels),
        "large logits": (8 * many, labels),
    }


def _masked_cross_entropy(logits, labels):
    hidden = labels != -100
    return functional.masked_lm_loss(logits[hidden], labels[hidden])


def _each(logits, labels, axis=-1):
    """−log p of every label, 0 where there is none: (B, T)."""
    of_label = logits.log_softmax(axis).gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return torch.where(labels == -100, 0.0, -of_label)


def _with_labels(labels, logits):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def _hidden_places(labels):
    return (labels != -100).sum()


def _probability(logits, labels):
    hidden = labels != -100
    return logits[hidden].softmax(-1).gather(1, labels[hidden].unsqueeze(1)).mean()


masked_cross_entropy = Exercise(
    "masked_language_model.masked_cross_entropy",
    "Cross-entropy with −100",
    "easy",
    7,
    _masked_cross_entropy,
    _logits_and_labels,
    [
        Mistake(
            "divided by all",
            lambda logits, labels: _each(logits, labels).mean(),
            "The sum is divided by all positions, not by the hidden ones.",
            "Divide by the number of labels that are not −100.",
        ),
        Mistake(
            "−100 as token 0",
            lambda logits, labels: _with_labels(labels.clamp(min=0), logits),
            "The positions labelled −100 are in the mean, as if their token were number 0.",
            "Select the hidden positions first: `logits[labels != -100]`.",
        ),
        Mistake(
            "−100 as the last token",
            lambda logits, labels: _with_labels(labels.masked_fill(labels == -100, logits.shape[-1] - 1), logits),
            "The positions labelled −100 are in the mean, as if their token were the last one.",
            "A negative index counts from the end. Select the hidden positions first.",
        ),
        Mistake(
            "token 0 left out",
            lambda logits, labels: _with_labels(labels.masked_fill(labels == 0, -100), logits),
            "Token number 0 is left out of the mean as if it were padding.",
            "Only −100 means that nothing was hidden.",
        ),
        Mistake(
            "sum for mean",
            lambda logits, labels: _each(logits, labels).sum(),
            "This is the sum over the hidden positions.",
            "Take the mean, so that the loss does not grow with the text.",
        ),
        Mistake(
            "sign",
            lambda logits, labels: _each(logits, labels).sum() / -_hidden_places(labels),
            "The sign is wrong: the loss is negative and best where it is large.",
            "The logarithm of a probability is negative; the loss is *minus* its mean.",
        ),
        Mistake(
            "softmax twice",
            lambda logits, labels: _with_labels(labels, logits.softmax(-1)),
            "There is a softmax of a softmax.",
            "`F.cross_entropy` takes the logits and applies the softmax itself.",
        ),
        Mistake(
            "probability",
            lambda logits, labels: -_probability(logits, labels),
            "This is minus the probability, without a logarithm.",
            "`log_softmax` in place of `softmax`.",
        ),
        Mistake(
            "logarithm of the mean",
            lambda logits, labels: -_probability(logits, labels).log(),
            "This is the logarithm of the mean probability; the logarithm belongs to each position.",
            "First the logarithm at each position, then the mean.",
        ),
        Mistake(
            "base 2",
            lambda logits, labels: _masked_cross_entropy(logits, labels) / torch.tensor(2.0).log(),
            "The loss is in bits.",
            "Take the natural logarithm, which `log_softmax` gives.",
        ),
        Mistake(
            "mean of the texts' means",
            lambda logits, labels: (_each(logits, labels).sum(1) / (labels != -100).sum(1)).mean(),
            "This is the mean of each text's mean; a text with one hidden token counts as much as one with ten.",
            "Every hidden token counts the same: one mean over all of them.",
        ),
        Mistake(
            "softmax over the places",
            lambda logits, labels: _each(logits, labels, axis=1).sum() / _hidden_places(labels),
            "The softmax runs over the places of the text.",
            "It runs over the vocabulary, the last axis.",
        ),
    ],
    [
        "First select, then index: `hidden = labels != -100` is a (B, T) mask.",
        "`logits[hidden]` has one row per hidden token, (M, V); `labels[hidden]` says which entry is the true one.",
    ],
    """
    def my_masked_cross_entropy(logits, labels):
        hidden = labels != -100
        log_p = logits[hidden].log_softmax(-1)              # (M, V)
        targets = labels[hidden]                            # (M,)
        return -log_p[torch.arange(len(targets)), targets].mean()
    """,
    "Only hidden positions count, and each counts the same: it is the mean surprise about the hidden tokens, in nats.",
)

# --------------------------------------------------------------------------- whole words

SPECIAL = ("[CLS]", "[SEP]", "[PAD]")


def _pieces():
    pieces = ["[CLS]", "eigen", "##val", "##ues", "of", "a", "hermit", "##ian", "matrix", "[SEP]"]
    return {
        "words of three and of two pieces": (pieces, [0.01, 0.40, 0.02, 0.03, 0.05, 0.9, 0.10, 0.80, 0.60, 0.01], 0.15),
        "pieces with smaller numbers than the first of their word": (
            pieces,
            [0.90, 0.10, 0.70, 0.90, 0.50, 0.20, 0.60, 0.05, 0.12, 0.70],
            0.15,
        ),
        "padding": (["[CLS]", "mat", "##rix", "[SEP]", "[PAD]"], [0.5, 0.3, 0.9, 0.2, 0.1], 0.4),
        "a first piece above `probability`": (["[CLS]", "mat", "##rix", "[SEP]"], [0.9, 0.5, 0.1, 0.3], 0.4),
        "a probability of 0.6, and words side by side": (
            ["[CLS]", "un", "##sort", "##able", "ten", "##sor", "sort", "[SEP]", "[PAD]", "[PAD]"],
            [0.7, 0.65, 0.1, 0.9, 0.55, 0.8, 0.3, 0.9, 0.9, 0.2],
            0.6,
        ),
    }


def _words(pieces):
    """For each piece, the numbers of all pieces of its word."""
    starts = [i for i, piece in enumerate(pieces) if not piece.startswith("##")]
    spans = [range(a, b) for a, b in zip(starts, [*starts[1:], len(pieces)])]
    return [span for span in spans for _ in span]


def _hide(rule, special=SPECIAL):
    """Hide piece i where rule(draws of its word, its own draw, whether it is the first, probability)."""

    def hide(pieces, draws, probability):
        return [
            piece not in special and bool(rule([draws[j] for j in word], draws[i], i == word[0], probability))
            for i, (piece, word) in enumerate(zip(pieces, _words(pieces)))
        ]

    return hide


def _neighbour_too(pieces, draws, probability):
    hidden = _hide(lambda word, own, first, p: own < p)(pieces, draws, probability)
    return [h or (piece.startswith("##") and hidden[i - 1]) for i, (h, piece) in enumerate(zip(hidden, pieces))]


whole_words = Exercise(
    "masked_language_model.whole_words",
    "One draw per word",
    "medium",
    8,
    _hide(lambda word, own, first, p: word[0] < p),
    _pieces,
    [
        Mistake(
            "each piece for itself",
            _hide(lambda word, own, first, p: own < p),
            "Each piece of a word is decided by its own number.",
            "Only the number of the *first* piece counts; the others follow it.",
        ),
        Mistake(
            "special tokens hidden",
            _hide(lambda word, own, first, p: word[0] < p, special=()),
            "Special tokens are hidden.",
            "[CLS], [SEP] and [PAD] stay, whatever was drawn.",
        ),
        Mistake(
            "only the first piece",
            _hide(lambda word, own, first, p: first and own < p),
            "Only the first piece of a chosen word is hidden; the rest gives it away.",
            "Remember the decision, and apply it to the pieces with `##` that follow.",
        ),
        Mistake(
            "any piece",
            _hide(lambda word, own, first, p: min(word) < p),
            "A word is hidden as soon as any of its pieces is below `probability`, so long words too often.",
            "Only the number of the first piece counts.",
        ),
        Mistake(
            "all pieces",
            _hide(lambda word, own, first, p: max(word) < p),
            "A word is hidden only where all of its pieces are below `probability`.",
            "Only the number of the first piece counts.",
        ),
        Mistake(
            "last piece",
            _hide(lambda word, own, first, p: word[-1] < p),
            "A word is hidden where the number of its *last* piece is below `probability`.",
            "The number of the first piece counts; do not overwrite it at a piece with `##`.",
        ),
        Mistake(
            "mean of the pieces",
            _hide(lambda word, own, first, p: sum(word) / len(word) < p),
            "A word is hidden where the mean of its numbers is below `probability`.",
            "Only the number of the first piece counts.",
        ),
        Mistake(
            "follows its neighbour",
            _neighbour_too,
            "A piece with `##` is hidden if its own number is below `probability` *or* the piece before it is hidden.",
            "Its own number does not count at all.",
        ),
        Mistake(
            "the others",
            _hide(lambda word, own, first, p: word[0] >= p),
            "The words that should stay are hidden, and the others stay.",
            "A word is hidden where its number is *below* `probability`.",
        ),
    ],
    [
        "Walk through the pieces and remember the decision for the current word.",
        "A piece that does not begin with `##` starts a new word. Only there compare its number with `probability`.",
    ],
    """
    def my_whole_words(pieces, draws, probability):
        hide, word_hidden = [], False
        for piece, draw in zip(pieces, draws):
            if not piece.startswith("##"):
                word_hidden = draw < probability and piece not in ("[CLS]", "[SEP]", "[PAD]")
            hide.append(word_hidden)
        return hide
    """,
    "The first piece decides and the others follow, so that no piece of a hidden word gives it away.",
)

# --------------------------------------------------------------------------- perplexity

perplexity = Exercise(
    "masked_language_model.perplexity",
    "Perplexity",
    "easy",
    4,
    lambda losses: losses.mean().exp(),
    lambda: {
        "three losses": (torch.tensor([0.5, 2.0, 0.1]),),
        "two losses": (torch.tensor([3.0, 1.0]),),
        "one loss": (torch.tensor([1.5]),),
        "seven losses": (torch.tensor([0.2, 4.0, 1.1, 0.7, 2.5, 0.0, 3.2]),),
    },
    [
        Mistake(
            "mean of the exponentials",
            lambda losses: losses.exp().mean(),
            "The exponential is taken of each loss, so a few hard tokens dominate the mean.",
            "First the mean, then one exponential.",
        ),
        Mistake(
            "power of 2",
            lambda losses: 2 ** losses.mean(),
            "This is 2 to the power of the mean loss.",
            "The losses are in nats, so the base is e: `.exp()`.",
        ),
        Mistake(
            "sum",
            lambda losses: losses.sum().exp(),
            "The losses are summed, so that longer texts look harder.",
            "Take the mean over the tokens before the exponential.",
        ),
        Mistake(
            "probability",
            lambda losses: (-losses.mean()).exp(),
            "This is the (geometric) mean probability, 1 divided by the perplexity.",
            "Leave out the minus: a loss is already −log p.",
        ),
        Mistake(
            "loss itself",
            lambda losses: losses.mean(),
            "This is the mean loss.",
            "Take its exponential: the number of equally likely tokens that would give the same loss.",
        ),
    ],
    [
        "A model that chooses evenly among V tokens has the loss log V. Its perplexity should be V.",
        "The mean over all tokens, then `.exp()`.",
    ],
    """
    def my_perplexity(losses):
        return losses.mean().exp()
    """,
    "The exponential turns the mean loss into the number of equally likely tokens that would give the same loss.",
    gradients=False,
    strict=False,
)

"""The mathematics of the course: pure tensor functions, no models, no files."""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Special = Tensor | Collection[int]
Mask = Tensor | None
Words = Tensor | None  # (B, T), each token's word by number
Source = Generator | None  # of randomness; None for torch's global one


def at_least_float32(x):
    """Half precision cast up to float32; float64 stays float64."""
    return x if x.dtype == torch.float64 else x.float()


# --------------------------------------------------------------------------- attention and pooling


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Tensor:
    """Scaled dot-product attention, softmax(q·k / √d) times the values (Vaswani et al., 2017, eq. 1).

    query, key, value: (…, T, d).
    mask: (…, T) or broadcastable; 1 where a key may be looked at, 0 for padding.
    Returns (…, T, d).
    """
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5  # (…, T, T)
    if mask is not None:
        scores = scores.masked_fill(mask.unsqueeze(-2) == 0, float("-inf"))
    return scores.softmax(-1) @ value


def mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average the token vectors of each row, without padding.

    hidden: (B, T, d).
    mask: (B, T); 1 for a token, 0 for padding.
    Returns (B, d); a row without tokens gives zeros.
    """
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def cls_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """Take the vector of the first token of each row; padding may be on either side.

    hidden, mask: as in `mean_pool`. Returns (B, d).
    """
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.long().argmax(1)]  # argmax: the first 1


def max_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """Take the largest value per dimension over the tokens of each row, without padding.

    hidden, mask: as in `mean_pool`. Returns (B, d).
    """
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of every row of `a` with every row of `b`.

    a, b: (N, d) and (M, d).
    Returns (N, M), float64 for float64 inputs and float32 for float32 and half precision, also under autocast.
    """
    # the 8 bits of bf16 are too coarse for cosines that are divided by 0.05 next
    with torch.autocast(a.device.type, enabled=False):
        return F.normalize(at_least_float32(a), dim=-1) @ F.normalize(at_least_float32(b), dim=-1).T


# --------------------------------------------------------------------------- masked language modelling


def special_mask(ids: Tensor, special: Special) -> Tensor:
    """Mark the tokens that noise must not change.

    ids: (B, T).
    special: a (B, T) mask, or a collection of token ids (padding, [CLS], [SEP], …).
    Returns (B, T) bool, True for a special token.
    """
    if torch.is_tensor(special) and special.shape == ids.shape:
        return special.bool()
    special = torch.as_tensor(list(special) if not torch.is_tensor(special) else special, device=ids.device)
    return torch.isin(ids, special.to(ids.dtype))


def mask_tokens(
    ids: Tensor, special: Special, probability: float, mask_id: int, vocab_size: int, generator: Source = None
) -> tuple[Tensor, Tensor]:
    """Choose tokens at random and hide them: the noise of BERT (Devlin et al., 2019, section 3.1).

    Of the chosen tokens, 80 % become `mask_id`, 10 % become a random token and 10 % stay as they are.

    ids: (B, T).
    special: the tokens that are never chosen, as in `special_mask`.
    probability: of choosing a token that is not special, 0 to 1; 0.15 in the paper.
    mask_id, vocab_size: the id of [MASK]; random tokens have ids from 0 to vocab_size − 1.
    generator: source of randomness, on the device of the ids; None for torch's global one.
    Returns inputs and labels, (B, T) each; labels are −100 where nothing was chosen.
    """
    chosen = draw(ids.shape, generator, ids.device) < probability
    return replace_tokens(ids, chosen & ~special_mask(ids, special), mask_id, vocab_size, generator)


def replace_tokens(
    ids: Tensor, chosen: Tensor, mask_id: int, vocab_size: int, generator: Source = None
) -> tuple[Tensor, Tensor]:
    """Hide the chosen tokens: the second half of `mask_tokens`.

    chosen: (B, T) bool.
    ids, mask_id, vocab_size, generator: as in `mask_tokens`; so is what it returns.
    """
    uniform = draw(ids.shape, generator, ids.device)
    random_ids = torch.randint(vocab_size, ids.shape, generator=generator, device=ids.device, dtype=ids.dtype)
    inputs = torch.where(chosen & (uniform < 0.8), torch.full_like(ids, mask_id), ids)
    inputs = torch.where(chosen & (uniform >= 0.9), random_ids, inputs)
    return inputs, torch.where(chosen, ids, torch.full_like(ids, -100))


def draw(shape: tuple[int, ...], generator: Source = None, device: torch.device | None = None) -> Tensor:
    """Draw uniform random numbers in [0, 1): a float32 tensor of the given shape.

    generator: source of randomness, on `device`; None for torch's global one.
    """
    return torch.rand(shape, generator=generator, device=device)


def answered(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Where the labels of a batch are, so that logits are computed only there.

    batch: "labels", (B, T), −100 where there is nothing to predict; and, where the training loop has added them,
        "answers", (M, 2), the rows and columns of the others. On a GPU, finding them makes the program wait.
    Returns rows and columns, (M,) each.
    """
    places = batch["answers"] if "answers" in batch else (batch["labels"] != -100).nonzero()
    return places[:, 0], places[:, 1]


def masked_lm_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the hidden tokens.

    logits, targets: (M, V), one row per hidden token, and (M,), their ids.
    Returns a scalar in nats; 0 where M is 0.
    """
    logits = at_least_float32(logits)
    if len(targets) == 0:
        return logits.sum() * 0.0  # a batch in which no token was chosen: the mean would be NaN
    return F.cross_entropy(logits, targets)


# --------------------------------------------------------------------------- denoising auto-encoder


def delete_tokens(
    ids: Tensor, special: Special, probability: float, generator: Source = None, pad_id: int = 0, words: Words = None
) -> tuple[Tensor, Tensor]:
    """Delete tokens at random and close the gaps: the noise of TSDAE (Wang et al., 2021, section 3).

    Where all ordinary tokens of a row would be deleted, one stays, each with the same probability.

    ids: (B, T).
    special: the tokens that are never deleted, as in `special_mask`.
    probability: of deleting a token that is not special, 0 to 1; 0.6 in the paper.
    generator: source of randomness, on the device of the ids; None for torch's global one.
    pad_id: the id of padding, in `ids` and in the result.
    words: (B, T), each token's word by number, 0 to T − 1; the tokens of a word are deleted or kept together, as in
        the paper, which deletes words. None deletes token by token.
    Returns ids and attention_mask, (B, T') each, padded on the right.
    """
    padding = ids == pad_id
    ordinary = ~(special_mask(ids, special) | padding)
    uniform = draw(ids.shape, generator, ids.device)
    if words is not None:
        uniform = uniform.gather(1, words)
    uniform = uniform.masked_fill(~ordinary, -1.0)
    # the token with the largest number always stays; the numbers are independent, so each token is as likely to be it
    kept = ordinary & (uniform >= uniform.amax(1, keepdim=True).clamp(max=probability))
    return close_gaps(ids, kept | ~(ordinary | padding), pad_id)


def close_gaps(ids: Tensor, kept: Tensor, pad_id: int = 0) -> tuple[Tensor, Tensor]:
    """Move the kept tokens of each row together, in their order, and pad on the right.

    ids, kept: (B, T) each; kept is bool.
    Returns ids and attention_mask, (B, T') each, where T' is the length of the longest row.
    """
    lengths = kept.sum(1)
    width = int(lengths.max()) if len(lengths) else 0
    order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
    mask = torch.arange(width, device=ids.device) < lengths[:, None]
    return ids.gather(1, order).masked_fill(~mask, pad_id), mask.long()


def next_token_targets(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Shift the ids by one, so that a decoder predicts at each position the token after it.

    ids, mask: (B, T) each, padded on the right; mask is 1 for a token, 0 for padding.
    Returns decoder_input_ids and labels, (B, T − 1) each; labels are −100 at padding.
    """
    return ids[:, :-1], ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100)


def copy_or_write(logits: Tensor, gate: Tensor, attention: Tensor, ids: Tensor) -> Tensor:
    """Probabilities of the next token, generated or copied: the pointer-generator of See et al. (2017), eq. 9.

    logits: (…, V), of generating each token of the vocabulary.
    gate: (…), the logit of generating rather than copying.
    attention: (…, T), over the tokens of the passage; each row sums to 1.
    ids: (…, T), the tokens of the passage; a token that occurs several times gets the sum of its attention.
    Returns (…, V); each row sums to 1.
    """
    written = torch.sigmoid(at_least_float32(gate))[..., None]
    vocabulary = at_least_float32(logits).softmax(-1)
    return (written * vocabulary).scatter_add(-1, ids, (1 - written) * at_least_float32(attention))


# --------------------------------------------------------------------------- contrastive losses


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding, for each row of `a`, its own row of `b` by cosine; every row of `b` is a candidate.

    a, b: (B, d) and (C, d) with C ≥ B; row i of `b` belongs to row i of `a`.
    temperature: > 0, divides the cosines.
    Returns a scalar in nats. Van den Oord et al. (2018), eq. 4; SimCSE (Gao et al., 2021), eq. 1.
    """
    scores = cosine(a, b) / temperature  # (B, C)
    return F.cross_entropy(scores, torch.arange(len(a), device=a.device))


def sample_pairs(count: int, negatives_per_positive: float, generator: Source = None) -> tuple[Tensor, Tensor, Tensor]:
    """Pair the texts of a batch for Contrastive Tension: some with themselves, the rest with another text.

    About one text in 1 + `negatives_per_positive` becomes a positive pair. The rest, at least two, are put in a circle
    in random order, and each is paired with the next one. So each encoder reads each text once, no text of a negative
    pair is in a positive pair, and no text is its own negative.

    count: of texts, at least 3.
    negatives_per_positive: how many negative pairs there are per positive pair.
    generator: source of randomness, on the CPU; None for torch's global one.
    Returns first and second, the two texts of each pair by number, and labels, 1 for a positive pair; (count,) each.
    Raises ValueError for fewer than 3 texts.
    """
    if count < 3:
        raise ValueError(f"count is {count}; a positive pair and two negative pairs need at least 3 texts")
    positives = min(max(1, round(count / (1 + negatives_per_positive))), count - 2)
    order = torch.randperm(count, generator=generator)
    others = torch.cat([order[:positives], order[positives:].roll(-1)])
    return order, others, (torch.arange(count) < positives).long()


def contrastive_tension(a: Tensor, b: Tensor, labels: Tensor, reduction: str = "sum") -> Tensor:
    """Cross-entropy of deciding by dot product whether the two texts of a pair are the same.

    a, b: (N, d), the vectors of the N pairs from the two encoders, not normalised.
    labels: (N,); 1 for the same text, 0 for two texts.
    reduction: "sum" as in Sentence Transformers, "mean" as in the authors' code, or "none".
    Returns a scalar in nats, or (N,) for "none". Carlsson et al. (2021), section 3.
    """
    scores = (at_least_float32(a) * at_least_float32(b)).sum(-1)  # (N,)
    return F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype), reduction=reduction)


def stepwise_decay(step: int, steps: int) -> float:
    """The learning rate schedule of Contrastive Tension's authors: 1, 0.8, 0.6, 0.4, then 0.2 of the peak.

    step: the current step, from 0.
    steps: of the whole run. Each of the first four rates holds for a tenth of them: 500 of the authors' 5,000 steps.
    Returns the factor for the peak learning rate.
    """
    return 1 - 0.2 * min(4, 10 * step // steps)


def _mask_duplicates(scores, duplicates):
    """Scores of −inf where a candidate is no negative, whatever `duplicates` says of the diagonal."""
    own = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    return scores if duplicates is None else scores.masked_fill(duplicates.bool() & ~own, float("-inf"))


def in_batch_contrastive_tension(a: Tensor, b: Tensor, scale: float | Tensor, duplicates: Mask = None) -> Tensor:
    """Cross-entropy of finding each text in the other encoder's batch by cosine, averaged over both directions.

    a, b: (B, d), the vectors of the same texts from the two encoders.
    scale: multiplies the cosines, a number or a tensor; 20 in Sentence Transformers, where it is learned.
    duplicates: (B, B), true where two texts are equal and so are not negatives of each other; the diagonal is ignored.
    Returns a scalar in nats.
    """
    scores = _mask_duplicates(cosine(a, b) * scale, duplicates)  # (B, B)
    own = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def multiple_negatives_ranking(
    queries: Tensor, positives: Tensor, negatives: Tensor | None = None, scale: float = 20.0, duplicates: Mask = None
) -> Tensor:
    """Cross-entropy of finding each query's positive by cosine among all positives and negatives of the batch.

    queries, positives: (B, d).
    negatives: (N, d), hard negatives of any query, or None.
    scale: > 0, multiplies the cosines; 20 in Sentence Transformers, which is a temperature of 0.05.
    duplicates: (B, B + N), true where a candidate, positives first, answers the query too and so is not a negative of
        it; the query's own positive always stays.
    Returns a scalar in nats. Henderson et al. (2017).
    """
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = _mask_duplicates(cosine(queries, candidates) * scale, duplicates)  # (B, B + N)
    return F.cross_entropy(scores, torch.arange(len(queries), device=scores.device))


def margin_mse(queries: Tensor, positives: Tensor, negatives: Tensor, margins: Tensor) -> Tensor:
    """Mean squared error of the margins between a query's score with its positive and with its negative.

    queries, positives, negatives: (B, d), scored by dot product, not normalised.
    margins: (B,), the margins to learn: a cross-encoder's logit for the positive minus its logit for the negative.
    Returns a scalar. Hofstätter et al. (2020); GPL (Wang et al., 2022).
    Raises ValueError for margins of another shape, which torch would broadcast against every query.
    """
    if margins.shape != queries.shape[:1]:
        raise ValueError(f"margins has the shape {tuple(margins.shape)}; it must be one per query, ({len(queries)},)")
    queries, positives, negatives = map(at_least_float32, (queries, positives, negatives))
    own = (queries * positives).sum(-1) - (queries * negatives).sum(-1)  # (B,)
    return F.mse_loss(own, margins.to(own.dtype))


# --------------------------------------------------------------------------- geometry


def alignment(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared distance between the two members of a pair, on L2-normalised rows; low is good.

    a, b: (N, d).
    Returns a scalar between 0 and 4. Wang and Isola (2020), section 4.1, with α = 2.
    """
    a, b = at_least_float32(a), at_least_float32(b)
    return (F.normalize(a, dim=-1) - F.normalize(b, dim=-1)).pow(2).sum(-1).mean()


def uniformity(x: Tensor) -> Tensor:
    """Log of the mean Gaussian potential of all pairs of L2-normalised rows; low means spread over the sphere.

    x: (N, d), N ≥ 2.
    Returns a scalar between −8 and 0. Wang and Isola (2020), section 4.1, with t = 2.
    """
    x = F.normalize(at_least_float32(x), dim=-1)
    # Apple's MPS has cdist but no pdist; its mode with a matrix product would lose the digits of small distances
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")  # (N, N)
    return distances[*torch.triu_indices(len(x), len(x), 1, device=x.device)].pow(2).mul(-2).exp().mean().log()

"""What objectives with in-batch negatives share: batches larger than memory, and negatives from every process."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives.base import Objective


class InBatchObjective(Objective):
    """An objective whose negatives are the other texts of a batch.

    A subclass says how a batch becomes vectors (`embed`) and what the loss of vectors is (`compare`). Between the two,
    the vectors of all processes that train together are joined, so that every text of the step is a negative.

    With `gradient_cache` the encoder reads so many texts at once and forgets what it computed; the backward pass
    computes it again, with the same dropout, piece by piece. Memory then depends on the piece and not on the batch. Gao
    et al. (2021), "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", do the same by hand.
    """

    smallest_batch = 2
    similarity = "cosine"
    in_batch_negatives = True
    _piece = None  # texts that the encoder reads at once; None for the whole batch

    def embed(self, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """The vectors that are compared: any number of tensors (B, d), or fewer rows, with gradients."""
        raise NotImplementedError

    def compare(self, batch: dict[str, Tensor], *vectors: Tensor) -> Tensor:
        """The loss, a scalar, of the vectors of all processes; each process computes all of it.

        batch: of this process alone.
        vectors: as `embed` gives them, of all processes.
        """
        raise NotImplementedError

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """The loss of a batch, a scalar."""
        return self.compare(batch, *map(of_all_processes, self.embed(batch)))

    def in_pieces_of(self, texts: int | None) -> None:
        """Set the gradient cache: how many texts the encoder reads at once; None for the whole batch."""
        self._piece = texts

    def vectors(self, batch: dict[str, Tensor], encoder: SentenceEncoder | None = None) -> Tensor:
        """One vector per text, (B, d), with gradients, in pieces where that is set.

        batch: input_ids and attention_mask, each (B, T).
        encoder: by default the one that is kept.
        """
        encoder, size = encoder or self.encoder, self._piece
        if size is None or len(batch["input_ids"]) <= size:
            return encoder(batch)
        texts = {name: batch[name].split(size) for name in ("input_ids", "attention_mask")}
        pieces = [dict(zip(texts, piece)) for piece in zip(*texts.values())]
        return torch.cat([checkpoint(encoder, piece, use_reentrant=False) for piece in pieces])


# --------------------------------------------------------------------------- several processes


def several_processes() -> bool:
    """Whether other processes train together with this one."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def of_all_processes(vectors: Tensor) -> Tensor:
    """The rows of all processes in the order of the processes, with gradients for this one's.

    vectors: (B, d) in each process; B may differ.
    Returns (sum of B, d), the vectors themselves where this process is alone.
    """
    return _Joined.apply(vectors) if several_processes() else vectors


def texts_of_all_processes(batch: dict[str, Tensor]) -> list[list[int]]:
    """The token ids of each text, without padding, of all processes in their order.

    batch: input_ids and attention_mask, each (B, T).
    """
    rows = [ids[mask.bool()].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"])]
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, rows)
    return [text for texts in found for text in texts]


class _Joined(torch.autograd.Function):
    """Joins rows. Its backward pass needs no exchange, because every process computes the same loss of the same rows.

    The gradient of a process's own rows is multiplied by the number of processes: DistributedDataParallel averages the
    gradients of the weights, and here they must add up.
    """

    @staticmethod
    def forward(context, rows):
        counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
        counts, mine = [int(count) for count in counts], dist.get_rank()
        padded = rows.new_zeros(max(counts), *rows.shape[1:])  # what is exchanged must have one shape
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        context.own = slice(sum(counts[:mine]), sum(counts[: mine + 1]))
        return torch.cat([part[:count] for part, count in zip(found, counts)])

    @staticmethod
    def backward(context, gradient):
        return gradient[context.own] * dist.get_world_size()

"""What a training step holds in memory, part by part, counted tensor by tensor."""

import torch

from course_lib.models.precision import autocast, choose_precision
from course_lib.objectives import Objective
from course_lib.training.config import TrainingConfig
from course_lib.training.optimizer import make_optimizer


def training_memory(objective: Objective, examples: list, config: TrainingConfig | None = None) -> dict[str, int]:
    """Count the bytes that one training step of an objective holds, at the moment its forward pass is over.

    objective: its weights stay as they are; its gradients are cleared.
    examples: of one batch, as `collate` takes them.
    config: for the optimizer and the precision.
    Returns {"weights", "gradients", "optimiser", "logits", "activations"} in bytes. Logits are the tensors of
        vocabulary size that are kept for the backward pass, activations the other tensors that are. What the allocator,
        the Python process and single operations need on top is not counted.
    """
    config = config or TrainingConfig()
    device = objective.encoder.device
    optimizer = make_optimizer(objective, config)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # a step fills the optimizer's state and moves nothing
    training = objective.training
    batch = objective.collate(examples, torch.Generator().manual_seed(config.seed))
    kept = {}  # by storage: several operations may keep the same tensor, or views of it
    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(lambda t: _note(kept, t), lambda t: t):
        with autocast(device, choose_precision(config.precision, device)):
            loss = objective.train()({k: v.to(device) for k, v in batch.items()})
    weights = {p.untyped_storage().data_ptr(): p for p in objective.parameters()}
    sizes = [(t.untyped_storage().nbytes(), t.shape[-1] if t.ndim else 0) for k, t in kept.items() if k not in weights]
    kept.clear()
    loss.backward()
    gradients = sum(p.grad.nbytes for p in weights.values() if p.grad is not None)
    optimizer.step()
    state = [v for values in optimizer.state.values() for v in values.values() if torch.is_tensor(v)]
    optimizer.zero_grad()
    objective.train(training)
    vocabulary = max(m.num_embeddings for m in objective.modules() if isinstance(m, torch.nn.Embedding))
    return {
        "weights": sum(p.nbytes for p in weights.values()),
        "gradients": gradients,
        "optimiser": sum(v.nbytes for v in state),
        "logits": sum(size for size, width in sizes if width == vocabulary),
        "activations": sum(size for size, width in sizes if width != vocabulary),
    }


def _note(kept, tensor):
    kept[tensor.untyped_storage().data_ptr()] = tensor.detach()
    return tensor

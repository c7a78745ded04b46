"""An optimiser with a learning rate of its own for some weights, as some objectives need it."""

import torch


def adamw(objective, config, rates):
    """AdamW, without weight decay on biases and norms, as in `training.make_optimizer`.

    config: a TrainingConfig. rates: {parameter: factor} for the weights that do not learn at the configuration's rate;
    the training loop multiplies by it at every step.
    """
    groups = {}
    for weight in objective.parameters():
        if weight.requires_grad:
            decay = config.weight_decay if weight.ndim > 1 else 0.0
            groups.setdefault((decay, rates.get(weight, 1.0)), []).append(weight)
    groups = [{"params": weights, "weight_decay": decay, "rate": rate} for (decay, rate), weights in groups.items()]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=objective.encoder.device.type in ("cpu", "cuda"))

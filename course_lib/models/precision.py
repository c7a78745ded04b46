"""The precision that a device computes best in."""

import torch


def choose_precision(asked: str, device: torch.device) -> str:
    """The precision to compute in: what was asked for, or the best one for the hardware where that is "auto".

    asked: as `TrainingConfig.precision` in `course_lib.training`.
    device: where the weights are.
    Raises ValueError for fp16 on a CPU.
    """
    if asked == "fp16" and device.type == "cpu":
        raise ValueError("precision is 'fp16', which needs a GPU; on a CPU choose 'bf16', 'fp32' or 'auto'")
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    # torch has no public question for this yet; a build without the private one counts as a processor without bf16
    if device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)():
        return "bf16"
    return "fp32"  # bf16 without hardware for it is slower than fp32 (measured: about eight times)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a forward pass runs in a precision; it does nothing for fp32."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)

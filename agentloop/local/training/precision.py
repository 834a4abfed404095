"""Whether this processor multiplies faster in bfloat16. Some only pretend to."""

import time

import torch

from agentloop.local.inference.weights import device

_CLEARLY = 1.2


def faster_in_bf16() -> bool:
    """Measured on a CPU, in some milliseconds; known of a GPU."""
    if device().type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return _seconds(torch.float32) > _CLEARLY * _seconds(torch.bfloat16)


def _seconds(precision: torch.dtype) -> float:
    a, b = torch.rand(512, 256).to(precision), torch.rand(256, 512).to(precision)
    torch.mm(a, b)
    fastest = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(a, b)
        fastest = min(fastest, time.perf_counter() - start)
    return fastest

"""A model on disk becomes a model in memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from agentloop.base.errors import ConfigError
from agentloop.local.disk.models import Model
from agentloop.local.inference.dialect import LOCAL

LARGE = 1_500_000_000
"""Parameters from which a model stays in its own precision on a CPU; below, float32 is faster."""

SMALL = 50_000_000
"""Parameters below which a step of generation on a CPU is over before a second thread is awake."""


def quiet() -> None:
    """No progress bars and advice on standard error, and no look at the network."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def device() -> torch.device:
    """Where models run: the GPU, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load(model: Model, *, precision: torch.dtype | None = None) -> Any:
    """The model in evaluation mode, its adapters merged, on `device()`.

    Args:
        precision: None takes what suits the device and the size.

    Raises:
        ConfigError: the folder is gone or holds no model that transformers can read.
    """
    from transformers import AutoModelForCausalLM

    try:
        made = AutoModelForCausalLM.from_pretrained(
            model.weights, dtype=precision or "auto", **LOCAL
        )
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"cannot load the model {model.id!r}: {error}") from error
    if made.config._attn_implementation not in ("sdpa", "eager"):
        made.set_attn_implementation("sdpa")
    for adapter in model.adapters:
        made = _merged(made, adapter)
    if precision is None:
        made = made.to(_precision(made))
    return made.to(device()).eval()


def small(model: Any) -> bool:
    """Whether a step of generation costs what it costs to ask for it, not what it computes."""
    return device().type == "cpu" and bool(model.num_parameters() < SMALL)


@contextmanager
def one_thread(*, when: bool) -> Iterator[None]:
    """Torch computes on the calling thread alone, when that is so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if when else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def room() -> int:
    """Bytes that loaded models may take together, and what one of them is writing, unless
    somebody says otherwise."""
    if device().type == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory * 0.6)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def size(model: Any) -> int:
    """Bytes of the weights."""
    return sum(tensor.nbytes for tensor in {*model.parameters(), *model.buffers()})


def cell(model: Any) -> int:
    """Bytes of keys and values of one token, in all layers."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    return int(2 * config.num_hidden_layers * kept * size * model.dtype.itemsize)


def _merged(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()


def _precision(model: Any) -> torch.dtype:
    own: torch.dtype = model.dtype
    if device().type == "cpu" and model.num_parameters() < LARGE:
        return torch.float32
    return own

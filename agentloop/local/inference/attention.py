"""Which tokens may look at which, for models of many makes."""

from typing import Any, NamedTuple, Self

import torch

from agentloop.base.errors import ConfigError

_KNOWN = frozenset({"full_attention", "sliding_attention"})


class Attention(NamedTuple):
    """How a model's layers attend."""

    kinds: frozenset[str]
    window: int | None
    """How far back layers of sliding attention look, in tokens."""
    added: torch.dtype | None
    """For a model that adds its mask to the scores, their type; None where the mask is bool."""

    @classmethod
    def of(cls, model: Any) -> Self:
        """That of a transformers model.

        Raises:
            ConfigError: it has layers that keep something other than keys and values.
        """
        config = model.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        used = getattr(config, "use_sliding_window", True)
        only = "sliding_attention" if window and used else "full_attention"
        kinds = frozenset(getattr(config, "layer_types", None) or [only])
        if strange := kinds - _KNOWN:
            raise ConfigError(
                f"models with layers of type {', '.join(sorted(strange))} are not supported yet; "
                "take one whose layers are full or sliding attention"
            )
        eager = str(config._attn_implementation).endswith("eager")
        return cls(kinds, window, model.dtype if eager else None)

    def masks(
        self, seen_BTS: torch.Tensor, distance_BTS: torch.Tensor
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """What each token may look at, in the form that transformers' models take as is: one mask
        `[_B, 1, _T, _S]` where all layers are of one kind, else one for each kind by name.

        Args:
            seen_BTS: true where token `_T` may look at token `_S`, were there no window.
            distance_BTS: how far `_S` is before `_T`.
        """
        made = {}
        for kind in self.kinds:
            seen = seen_BTS
            if kind == "sliding_attention" and self.window:
                seen = seen & (distance_BTS < self.window)
            if self.added is not None:
                lowest = torch.finfo(self.added).min
                seen = torch.zeros_like(seen, dtype=self.added).masked_fill(~seen, lowest)
            made[kind] = seen[:, None]
        return next(iter(made.values())) if len(made) == 1 else made

"""Keys and values of sequences of different lengths, side by side: one buffer a layer.

Every row starts at column 0 and is as long as its sequence, so a row can come, go and be copied
without moving the others. Suffixes: `_S` slots, `_H` heads, `_T` columns (tokens), `_D` head size.
"""

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

Snapshot = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of one row, a pair `[_H, _T, _D]` for each layer."""

_FIRST = (4, 256)
"""Rows and columns of the first buffers; they double when that is not enough."""


class Rows:
    """Buffers that grow. `aim` says which rows and columns the next forward pass writes."""

    def __init__(self, layers: int) -> None:
        self.rows, self.columns = _FIRST
        self.span = 0
        """Columns that attention looks at in the next pass."""
        self._first = 0
        self._chosen = self._places = torch.empty(0)
        self._layers = [_Layer(self) for _ in range(layers)]
        self.cache = Cache(layers=list(self._layers))
        """What the model's forward takes as its cache."""

    def aim(self, first: int, places_BT: torch.Tensor, span: int) -> None:
        """The next pass is over rows `first`, `first + 1`, … and writes them at `places_BT`."""
        self._first, self._places, self.span = first, places_BT, span
        last = first + len(places_BT)
        self._chosen = torch.arange(first, last, device=places_BT.device)[:, None]
        self._reach(last, span)

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` columns of row `target` those of row `source`."""
        self._reach(target + 1, length)
        for layer in self._layers:
            layer.keys[target, :, :length] = layer.keys[source, :, :length]
            layer.values[target, :, :length] = layer.values[source, :, :length]

    def snapshot(self, row: int, length: int) -> Snapshot:
        """A copy of the first `length` columns of a row, to `load` later."""
        return [
            (layer.keys[row, :, :length].clone(), layer.values[row, :, :length].clone())
            for layer in self._layers
        ]

    def load(self, row: int, snapshot: Snapshot, length: int) -> None:
        """Make the first `length` columns of a row those of `snapshot`."""
        self._reach(row + 1, length)
        for layer, (keys, values) in zip(self._layers, snapshot, strict=True):
            if not layer.is_initialized:
                layer.allocate(keys, values)
            layer.keys[row, :, :length] = keys[:, :length]
            layer.values[row, :, :length] = values[:, :length]

    def _reach(self, rows: int, columns: int) -> None:
        """Have at least so many rows and columns."""
        if rows <= self.rows and columns <= self.columns:
            return
        if rows > self.rows:
            self.rows = max(rows, self.rows * 2)
        if columns > self.columns:
            self.columns = max(columns, self.columns * 2)
        for layer in self._layers:
            layer.grow()

    def free(self) -> None:
        """Give the buffers back; the next pass makes new ones."""
        self.rows, self.columns = _FIRST
        for layer in self._layers:
            layer.reset()


class _Layer(CacheLayerMixin):  # type: ignore[misc] # transformers has no types
    """One layer's buffers, in the form that transformers' models ask for."""

    is_sliding = False

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self._rows = rows

    def lazy_initialization(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.allocate(keys[0], values[0])

    def allocate(self, keys_HTD: torch.Tensor, values_HTD: torch.Tensor) -> None:
        """Buffers for rows like this one."""
        self.keys = self._buffer(keys_HTD)
        self.values = self._buffer(values_HTD)
        self.is_initialized = True

    def grow(self) -> None:
        """Buffers as large as they are to be now, with what they held."""
        if self.is_initialized:
            self.keys, self.values = self._grown(self.keys), self._grown(self.values)

    def _buffer(self, like_HTD: torch.Tensor) -> torch.Tensor:
        heads, _, size = like_HTD.shape
        return like_HTD.new_zeros((self._rows.rows, heads, self._rows.columns, size))

    def _grown(self, old: torch.Tensor) -> torch.Tensor:
        new = self._buffer(old[0])
        new[: old.shape[0], :, : old.shape[2]] = old
        return new

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows = self._rows
        first, last = rows._first, rows._first + len(key_states)
        self.keys[rows._chosen, :, rows._places] = key_states.transpose(1, 2)
        self.values[rows._chosen, :, rows._places] = value_states.transpose(1, 2)
        return self.keys[first:last, :, : rows.span], self.values[first:last, :, : rows.span]

    def reset(self) -> None:
        self.keys = self.values = torch.empty(0)
        self.is_initialized = False

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:  # noqa: ARG002 - theirs
        return self._rows.span, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1

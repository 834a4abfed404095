"""The same harvest over parts of a store, on Ray. The only place that knows Ray."""

from agentloop.scale.engine import cluster, recipe, run, write_down
from agentloop.scale.parquet import ParquetParts, export
from agentloop.scale.parts import StoreParts

__all__ = ["ParquetParts", "StoreParts", "cluster", "export", "recipe", "run", "write_down"]

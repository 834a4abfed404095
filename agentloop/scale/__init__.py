"""The same harvest over parts of a store: in several processes here, or on Ray. The only place that
knows Ray."""

from agentloop.scale.engine import cluster, names, recipe, run, write_down
from agentloop.scale.parquet import ParquetParts, export
from agentloop.scale.parts import StoreParts
from agentloop.scale.processes import run_here

__all__ = [
    "ParquetParts",
    "StoreParts",
    "cluster",
    "export",
    "names",
    "recipe",
    "run",
    "run_here",
    "write_down",
]

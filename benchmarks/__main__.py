"""`python -m benchmarks NAME [--quick]`, or `all`."""

import argparse
import json
import os
import platform
from importlib import import_module
from typing import Any

NAMES = (
    "capture_overhead",
    "duplicates",
    "harvest",
    "import_time",
    "ingest",
    "learning",
    "redaction",
    "serving",
)


def main() -> None:
    """Run benchmarks, and print a JSON line for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=[*NAMES, "all"])
    parser.add_argument("--quick", action="store_true", help="fewer runs: does it work at all?")
    given = parser.parse_args()
    for name in NAMES if given.name == "all" else (given.name,):
        measured: dict[str, Any] = import_module(f"benchmarks.{name}").measure(quick=given.quick)
        print(json.dumps({"benchmark": name, **measured, "machine": machine()}))


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    main()

"""``python -m i2uv_edge.hand.build -o hand.npz``: build the hand asset and say what came out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from i2uv_edge.hand.build.asset import build_asset, write_npz
from i2uv_edge.hand.build.report import describe


def main(arguments: list[str] | None = None) -> int:
    """Build, write and describe the asset; 0 when done."""
    parser = argparse.ArgumentParser(prog="python -m i2uv_edge.hand.build", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .npz to write")
    options = parser.parse_args(arguments)
    arrays = build_asset()
    write_npz(options.output, arrays)
    sys.stdout.write(describe(arrays) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

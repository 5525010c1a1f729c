"""`python -m i2uv_edge` is `i2uv-edge`."""

from i2uv_edge.cli import run

run()

"""Shared by all tests: one thread for each library, since pytest runs several workers."""

from __future__ import annotations

import os

# Read when the libraries are first imported, which is after this file.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

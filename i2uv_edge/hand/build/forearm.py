"""The forearm stub that pictures show behind the wrist: three rings and a closed end."""

from __future__ import annotations

import numpy as np

from i2uv_edge.hand.build.skeleton import Floats, Ints
from i2uv_edge.hand.build.topology import boundary_loop, half_edges

_RINGS = ((-12.0, 1.02), (-30.0, 1.08), (-60.0, 1.22), (-95.0, 1.36), (-130.0, 1.45))
"""Distance beyond the wrist (mm) and widening of each ring."""
_CAP = ((-138.0, 0.9),)
"""A smaller ring that rounds the end off, before the closing point."""
_END_Y = -141.0


def forearm(vertices: Floats, faces: Ints) -> tuple[Floats, Ints]:
    """Close the hand at the wrist with a forearm.

    Returns
    -------
    (R, 3) additional vertices in mm, and (F', 3) faces indexing the hand's vertices followed by
    these, outward like the hand's own.
    """
    loop = boundary_loop(faces)
    rim = vertices[loop]
    centre = rim.mean(axis=0)
    rings, parts = [], []
    previous = loop
    count = len(loop)
    for k, (y, widening) in enumerate(_RINGS + _CAP):
        ring = centre + (rim - centre) * np.array([widening, 0.0, widening])
        ring[:, 1] = centre[1] + y
        rings.append(ring)
        current = len(vertices) + k * count + np.arange(count)
        # the loop runs along its faces, so the stub's run along it the other way
        following, after = np.roll(previous, -1), np.roll(current, -1)
        parts.append(np.stack([following, previous, current], axis=1))
        parts.append(np.stack([following, current, after], axis=1))
        previous = current
    end = centre.copy()
    end[1] = centre[1] + _END_Y
    last = len(vertices) + len(rings) * count
    following = np.roll(previous, -1)
    parts.append(np.stack([following, previous, np.full(count, last)], axis=1))
    return np.concatenate([*rings, end[None]]), np.concatenate(parts)


def is_closed(faces: Ints) -> bool:
    """Whether every directed edge has exactly one opposite."""
    directed = half_edges(faces)
    forward = {(int(a), int(b)) for a, b in directed}
    return len(forward) == len(directed) and all((b, a) in forward for a, b in forward)

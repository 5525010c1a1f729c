"""Where the atlas is cut: five finger tubes, and one chart of palm and back.

A tube opens along the thumb side of its finger, over the tip and a little down the other side, so
that pad and nail flatten without being squeezed. Palm and back stay joined along
the side of the little finger. Every chart is a disc.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components, dijkstra

from i2uv_edge.hand.build.skeleton import FINGER_BASES, TIP_DEPTH, Floats, Ints, Skeleton
from i2uv_edge.hand.build.topology import boundary_loop, face_adjacency, unique_edges
from i2uv_edge.hand.build.weights import segment_distance

# joint at whose bone a finger's tube begins, and how far beyond that joint, mm
_TUBES = ((2, 7.0), (5, 17.0), (9, 17.0), (13, 17.0), (17, 14.0))
_STRAY = 2.5  # mm a seam may stray from its line before a step costs twice its length


def chart_labels(skeleton: Skeleton, vertices: Floats, faces: Ints) -> Ints:
    """(F,) 0 for palm and back, 1..5 for thumb .. little finger."""
    centres = vertices[faces].mean(axis=1)
    to_finger = []
    beyond = []
    for base, (joint, offset) in zip(FINGER_BASES, _TUBES, strict=True):
        bones = [(j, j + 1) for j in range(joint, base + 3)]
        distances = [
            segment_distance(centres, skeleton.joints[a], skeleton.joints[b]) for a, b in bones
        ]
        to_finger.append(np.min(distances, axis=0))
        beyond.append(skeleton.local(joint, centres)[:, 1] - offset)
    nearest = np.argmin(to_finger, axis=0)
    inside = np.array(beyond)[nearest, np.arange(len(faces))] > 0
    labels = np.where(inside, nearest + 1, 0)
    return _tidy(labels, face_adjacency(faces))


def _tidy(labels: Ints, adjacency: sparse.csr_matrix) -> Ints:
    """Keep each label's largest piece, and give away faces that stick out of their chart."""
    labels = labels.copy()
    for _ in range(100):
        for label in range(1, 6):
            members = np.flatnonzero(labels == label)
            _, piece = connected_components(adjacency[members][:, members])
            labels[members[piece != np.bincount(piece).argmax()]] = 0
        votes = np.stack([adjacency @ (labels == label) for label in range(6)], axis=1)
        own = votes[np.arange(len(labels)), labels]
        sticking = np.flatnonzero((votes.max(axis=1) >= 2) & (own < 2))
        if not len(sticking):
            break
        labels[sticking[0]] = votes[sticking[0]].argmax()
    return labels


def seam_edges(
    skeleton: Skeleton, vertices: Floats, faces: Ints, labels: Ints
) -> set[tuple[int, int]]:
    """Find the edges to cut: chart borders and the paths that open each chart (sorted pairs)."""
    edges, index = unique_edges(faces)
    sides = [set[int]() for _ in edges]
    for f, row in enumerate(index):
        for e in row:
            sides[e].add(int(labels[f]))
    border = {(int(a), int(b)) for (a, b), side in zip(edges, sides, strict=True) if len(side) > 1}
    loops = [
        np.array(sorted({v for a, b in border for v in (a, b)} & _members(faces, labels, k)))
        for k in range(1, 6)
    ]
    cut: set[tuple[int, int]] = set()
    for finger, loop in enumerate(loops):
        cut |= _finger_seam(skeleton, vertices, faces[labels == finger + 1], finger, loop)
    palm = faces[labels == 0]
    for first, second in ((0, 1), (1, 2), (2, 3), (3, 4)):
        cut |= _path(vertices, palm, loops[first], loops[second], np.zeros(len(vertices)))
    # the radial edge of the wrist: from the thumb down, where the side faces neither palm nor back
    wrist = boundary_loop(faces)
    start = wrist[[int(np.argmin(vertices[wrist, 0]))]]
    cut |= _path(vertices, palm, start, loops[0], _off_radial(skeleton, vertices))
    return border | _without_ears(faces, cut, border)


def _without_ears(
    faces: Ints, cut: set[tuple[int, int]], border: set[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Let a seam pass on the other side of triangles that would hang on by one edge."""
    edges, index = unique_edges(faces)
    names = [(int(a), int(b)) for a, b in edges]
    rim = {names[e] for e in np.flatnonzero(np.bincount(index.ravel()) == 1)}
    moved: set[int] = set()
    for _ in range(len(faces)):
        for f, row in enumerate(index):
            open_edges = [e for e in row if names[e] in cut or names[e] in border | rim]
            inner = [e for e in open_edges if names[e] in cut]
            if len(open_edges) == 2 and inner and f not in moved:
                break
        else:
            return cut
        moved.add(f)
        (joined,) = set(row) - set(open_edges)
        cut = (cut - {names[e] for e in inner}) | {names[joined]}
    return cut


def _members(faces: Ints, labels: Ints, label: int) -> set[int]:
    return {int(v) for v in faces[labels == label].ravel()}


def _off_radial(skeleton: Skeleton, vertices: Floats) -> Floats:
    """How far vertices are from the line along the outer side of the thumb's metacarpal, mm."""
    wrist = np.array([-27.0, -14.0, -1.0])
    middle = skeleton.joints[1] - 13.0 * skeleton.frames[1][:, 0]
    end = skeleton.joints[2] - 11.0 * skeleton.frames[2][:, 0]
    return np.minimum(
        segment_distance(vertices, wrist, middle), segment_distance(vertices, middle, end)
    )


def _finger_seam(
    skeleton: Skeleton, vertices: Floats, faces: Ints, finger: int, loop: Ints
) -> set[tuple[int, int]]:
    base = FINGER_BASES[finger]
    first = _TUBES[finger][0]
    joints = range(first, base + 3)
    distances = [
        segment_distance(vertices, skeleton.joints[j], skeleton.joints[j + 1]) for j in joints
    ]
    nearest = np.argmin(distances, axis=0)
    local = np.stack([skeleton.local(j, vertices) for j in joints])
    local = local[nearest, np.arange(len(vertices))]
    own = np.unique(faces)
    tip_joint = base + 3
    tip = own[np.argmin(np.linalg.norm(vertices[own] - skeleton.joints[tip_joint], axis=1))]
    height = local[:, 2] + 0.7  # fingers are deeper on the palm side
    angle = np.arctan2(height, -local[:, 0])
    off = np.abs(angle) * skeleton.radii[base + 2]
    seam = _path(vertices, faces, loop, np.array([tip]), off)
    opposite = np.pi - np.abs(angle)
    below = skeleton.local(base + 2, vertices)[:, 1]
    length = np.linalg.norm(skeleton.joints[tip_joint] - skeleton.joints[base + 2])
    # no further than the round end: along the straight part the two sides would overlap when flat
    cap = length + TIP_DEPTH - 1.5 * skeleton.radii[tip_joint]
    wanted = np.abs(below - cap) + 3 * opposite * skeleton.radii[base + 2]
    end = own[np.argmin(wanted[own])]
    other = opposite * skeleton.radii[base + 2]
    return seam | _path(vertices, faces, np.array([tip]), np.array([end]), other)


def _path(
    vertices: Floats, faces: Ints, sources: Ints, targets: Ints, off: Floats
) -> set[tuple[int, int]]:
    """Cheapest edge path from any source to any target; `off` (V,) mm makes vertices dearer."""
    edges, _ = unique_edges(faces)
    a, b = edges.T
    length = np.linalg.norm(vertices[a] - vertices[b], axis=1)
    cost = length * (1.0 + (((off[a] + off[b]) / 2) / _STRAY) ** 2)
    graph = sparse.csr_matrix((cost, (a, b)), shape=(len(vertices),) * 2)
    distance, before, _ = dijkstra(
        graph, directed=False, indices=sources, return_predecessors=True, min_only=True
    )
    node = int(targets[np.argmin(distance[targets])])
    path = set()
    while before[node] >= 0:
        previous = int(before[node])
        path.add((min(node, previous), max(node, previous)))
        node = previous
    return path

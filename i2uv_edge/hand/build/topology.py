"""Small operations on triangle meshes: edges, midpoint subdivision, normals, cutting."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components

from i2uv_edge.hand.build.skeleton import Floats, Ints


def half_edges(faces: Ints) -> Ints:
    """(3F, 2) directed edges: first all (a, b), then all (b, c), then all (c, a)."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def unique_edges(faces: Ints) -> tuple[Ints, Ints]:
    """(E, 2) undirected edges (sorted) and (F, 3) which of them are (a, b), (b, c), (c, a)."""
    edges, inverse = np.unique(np.sort(half_edges(faces), axis=1), axis=0, return_inverse=True)
    return edges, inverse.reshape(3, len(faces)).T


def subdivide(count: int, faces: Ints) -> tuple[Ints, Ints]:
    """One midpoint subdivision of a mesh with `count` vertices.

    Returns
    -------
    (E, 2) the edge on which each new vertex (numbered from `count`) lies, and (4F, 3) faces.
    """
    edges, index = unique_edges(faces)
    a, b, c = faces.T
    ab, bc, ca = (index + count).T
    parts = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return edges, np.concatenate([np.stack(part, axis=1) for part in parts])


def with_midpoints(values: Floats, edges: Ints) -> Floats:
    """Values (V, C) followed by their means over `edges` (E, 2)."""
    return np.concatenate([values, (values[edges[:, 0]] + values[edges[:, 1]]) / 2])


def face_normals(vertices: Floats, faces: Ints) -> Floats:
    """(F, 3) normals whose length is twice the face's area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(vertices: Floats, faces: Ints) -> Floats:
    """(V, 3) unit normals, area weighted."""
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], face_normals(vertices, faces))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return normals


def signed_areas(uv: Floats, faces: Ints) -> Floats:
    """(F,) signed areas of the triangles of a flat mesh, positive when counter-clockwise."""
    a, b, c = (uv[faces[:, k]] for k in range(3))
    first, second = b - a, c - a
    return (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2


def face_adjacency(faces: Ints) -> sparse.csr_matrix:
    """(F, F) symmetric 0/1 matrix of faces sharing an edge."""
    _, index = unique_edges(faces)
    rows = np.repeat(np.arange(len(faces)), 3)
    incidence = sparse.csr_matrix((np.ones(len(rows)), (rows, index.ravel())))
    shared = (incidence @ incidence.T).tolil()
    shared.setdiag(0)
    return shared.tocsr()


def boundary_loop(faces: Ints) -> Ints:
    """Find the only boundary loop of a mesh, in the order of its faces' orientation."""
    directed = half_edges(faces)
    forward = {(int(a), int(b)) for a, b in directed}
    following = {a: b for a, b in forward if (b, a) not in forward}
    loop = [min(following)]
    while len(loop) < len(following):
        loop.append(following[loop[-1]])
    if following[loop[-1]] != loop[0]:
        raise ValueError("the mesh has more than one boundary loop")
    return np.array(loop)


def cut_mesh(faces: Ints, cut: set[tuple[int, int]]) -> tuple[Ints, Ints]:
    """Duplicate vertices so that faces are joined only across edges that are not in `cut`.

    Parameters
    ----------
    cut: undirected edges as sorted pairs.

    Returns
    -------
    (T,) the vertex each new corner vertex comes from, and (F, 3) faces indexing them.
    """
    corner = np.arange(faces.size).reshape(faces.shape)
    sides: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for f, face in enumerate(faces):
        for k in range(3):
            i, j = k, (k + 1) % 3
            if face[i] > face[j]:
                i, j = j, i
            edge = (int(face[i]), int(face[j]))
            sides.setdefault(edge, []).append((int(corner[f, i]), int(corner[f, j])))
    links = [
        (a, b)
        for edge, pairs in sides.items()
        if len(pairs) == 2 and edge not in cut
        for a, b in zip(*pairs, strict=True)
    ]
    rows, columns = np.array(links).T
    graph = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), (faces.size,) * 2)
    count, label = connected_components(graph, directed=False)
    origin = np.zeros(count, dtype=np.int64)
    origin[label] = faces.ravel()
    return origin, label.reshape(faces.shape).astype(np.int64)

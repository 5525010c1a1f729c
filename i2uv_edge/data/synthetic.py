"""Rendered pictures of the built-in hand with their ground truth.

Endless training data. A picture is a pure function of (seed, index, `SceneSettings`), so a set is
frozen by its settings. What a picture is made of lies in `i2uv_edge.data.rendered`.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.rendered import backgrounds, sensor
from i2uv_edge.data.rendered.colours import skin_albedo
from i2uv_edge.data.rendered.lighting import lit, sample_lighting
from i2uv_edge.data.rendered.poses import sample_parameters
from i2uv_edge.data.rendered.sample import Frame, Generator, Sample, SceneSettings
from i2uv_edge.data.rendered.solids import arm_topology, forearm, held_thing, thing_in_the_way
from i2uv_edge.hand.capsules import (
    FINGER_BONES,
    Capsules,
    bone_of_vertex,
    hand_capsules,
    shade,
)
from i2uv_edge.hand.layer import draw_layer, lay_over, normals_of
from i2uv_edge.hand.model import FloatArray, HandModel, HandParameters, IntArray, PosedHand

__all__ = [
    "Frame",
    "Sample",
    "SceneSettings",
    "compose",
    "draw_scene",
    "extent",
    "render_sample",
    "sample_frame",
    "sample_parameters",
]

HAND, ARM, THING = 1, 2, 3  # labels of faces
PALM = len(FINGER_BONES)  # first capsule of the palm
NEAR = 0.35  # nothing nearer to the camera than this part of the hand's distance is drawn


def render_sample(seed: int, index: int, settings: SceneSettings) -> Sample:
    """Picture ``index`` of the set ``seed``."""
    rng = np.random.default_rng((seed, index))
    holds = rng.random() < settings.held
    grip = float(rng.uniform(0.3, 0.75)) if holds else None
    parameters = sample_parameters(rng, settings, grip=grip)
    hand = HandModel.load().pose(parameters)
    frame = sample_frame(rng, hand, settings)
    behind = backgrounds.background(rng, settings)
    layer, share = draw_scene(rng, hand, parameters, frame, settings, holds, behind)
    if rng.random() < settings.motion:
        layer = sensor.move(rng, layer, settings)
    image = compose(rng, layer, behind)
    return Sample(
        picture=sensor.expose(rng, image, settings),
        coarse=frame.to_map(hand.coarse),
        fine=frame.to_map(hand.fine),
        joints=frame.to_map(hand.joints),
        parameters=parameters,
        frame=frame,
        mask=share > 0.5,
    )


def sample_frame(rng: Generator, hand: PosedHand, settings: SceneSettings) -> Frame:
    """A camera and a crop that shows the whole hand."""
    # The published maps have their depth from the nearest vertex on; the mean depth does not jump
    # when another finger comes nearest, and networks learn it in a fraction of the pictures.
    depth = np.ascontiguousarray(hand.coarse[:, 2]).mean()
    low, high = extent(hand.fine)
    middle = (low + high) / 2
    camera = None
    if rng.random() >= settings.orthographic:
        away = np.exp(rng.uniform(*np.log(settings.distance)))
        # A hand is anywhere in the photograph its crop comes from.
        aside = np.tan(np.radians(rng.uniform(-20, 20, 2))) * away
        camera = np.array([*(middle + aside), depth - away], np.float32)
    flat = Frame(np.array([0, 0, depth - 0.5], np.float32), 1.0, camera).to_map(hand.fine)
    low, high = extent(flat)
    side = float(max((high - low).max(), 0.11) * rng.uniform(*settings.margin))
    corner = (low + high) / 2 + rng.uniform(-settings.shift, settings.shift, 2) * side - side / 2
    return Frame(np.array([*corner, depth - 0.5 * side], np.float32), side, camera)


def extent(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Least and most x and y."""
    columns = np.ascontiguousarray(points[:, :2].T)  # ten times as fast as down the columns
    return columns.min(1), columns.max(1)


def draw_scene(
    rng: Generator,
    hand: PosedHand,
    parameters: HandParameters,
    frame: Frame,
    settings: SceneSettings,
    holds: bool,
    behind: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """The hand, its forearm and things as a layer, and the hand's share of each pixel."""
    light = sample_lighting(rng, settings, behind[::8, ::8].mean((0, 1)))
    skin, shine, base = skin_albedo(rng, parameters)
    capsules = hand_capsules(hand.joints, parameters)
    arm = forearm(rng, hand, parameters, skin, base, settings.sleeve)
    things = []
    if holds:
        things.append(held_thing(rng, hand.joints, parameters, capsules))
    if rng.random() < settings.occluder:
        things.append(thing_in_the_way(rng, hand.joints, frame.side))
    casting = capsules.with_more(arm.casts)
    for thing in things:
        casting = casting.with_more(thing.casts)

    body = np.concatenate([hand.fine, arm.vertices])
    body_faces, body_labels = _body_faces()
    drawn = [(body, body_faces, np.concatenate([skin, arm.albedo]))]
    drawn += [(thing.vertices, thing.faces, thing.albedo) for thing in things]
    vertices, faces, colours, labels = [], [], [], []
    count = 0
    for number, (points, corners, albedo) in enumerate(drawn):
        normals = normals_of(points, corners)
        if number == 0:
            gloss = np.concatenate([shine, np.full(len(arm.vertices), 0.5, np.float32)])
            scatters = np.ones(len(points), np.float32)
            opened, reached = _shade_body(points, normals, casting, light.key, light.softness)
            kinds = body_labels
        else:
            gloss = np.full(len(points), 3 * things[number - 1].gloss, np.float32)
            scatters = np.zeros(len(points), np.float32)
            own = len(capsules.starts) + number
            opened, reached = _shade(points, normals, own, casting, light.key, light.softness)
            kinds = np.full(len(corners), THING, np.uint8)
        vertices.append(points)
        faces.append(corners + np.int32(count) if count else corners)
        colours.append(lit(light, normals, albedo, gloss, scatters, opened, reached))
        labels.append(kinds)
        count += len(points)
    samples = 1 if rng.random() < settings.coarse_edges else settings.supersampling
    return _project(
        frame,
        np.concatenate(vertices),
        np.concatenate(faces),
        np.concatenate(colours),
        np.concatenate(labels),
        settings.size,
        samples,
    )


def _project(
    frame: Frame,
    points: FloatArray,
    faces: IntArray,
    colours: FloatArray,
    labels: NDArray[np.uint8],
    size: int,
    samples: int,
) -> tuple[FloatArray, FloatArray]:
    if frame.camera is not None:
        near = points[:, 2] - frame.camera[2] < NEAR * frame.distance
        if near.any():
            kept = ~(near[faces[:, 0]] | near[faces[:, 1]] | near[faces[:, 2]])
            faces, labels = faces[kept], labels[kept]
            points = points.copy()
            points[near] = (0, 0, frame.camera[2] + frame.distance)  # drawn by no face
    return draw_layer(
        frame.to_map(points) * np.float32(size), faces, colours, labels, size, samples
    )


def _shade(
    points: FloatArray,
    normals: FloatArray,
    owner: int | IntArray,
    casting: Capsules,
    key: FloatArray,
    softness: float,
) -> tuple[FloatArray, FloatArray]:
    owners = np.broadcast_to(np.asarray(owner, np.int32), len(points))
    return shade(
        points, normals, np.ascontiguousarray(owners), casting.starts, casting.ends, casting.radii,
        PALM, key, softness,
    )  # fmt: skip


def _shade_body(
    points: FloatArray, normals: FloatArray, casting: Capsules, key: FloatArray, softness: float
) -> tuple[FloatArray, FloatArray]:
    """Of the coarse vertices and the arm's; the fine vertices between take their means."""
    model = HandModel.load()
    owners, between = _coarse_owners()
    coarse, fine = len(owners), len(model.fine.vertices)
    chosen = np.concatenate([np.arange(coarse), np.arange(fine, len(points))])
    arm = np.full(len(points) - fine, PALM + 4, np.int32)
    found = _shade(
        points[chosen], normals[chosen], np.concatenate([owners, arm]), casting, key, softness
    )
    result = []
    for values in found:
        whole = np.empty(len(points), np.float32)
        whole[:coarse], whole[fine:] = values[:coarse], values[coarse:]
        whole[coarse:fine] = (values[between[0]] + values[between[1]]) * np.float32(0.5)
        result.append(whole)
    return result[0], result[1]


@cache
def _coarse_owners() -> tuple[IntArray, IntArray]:
    """(Vc,) capsule of each coarse vertex, (2, Vf - Vc) the two between which each other lies."""
    model = HandModel.load()
    coarse, fine = len(model.coarse.vertices), len(model.fine.vertices)
    beside: list[set[int]] = [set() for _ in range(fine - coarse)]
    for face in model.fine.faces.tolist():
        for vertex in face:
            if vertex >= coarse:
                beside[vertex - coarse].update(other for other in face if other < coarse)
    owners = bone_of_vertex(model.coarse.weights, model.skin_joints)
    return owners, np.array([sorted(pair)[:2] for pair in beside], np.int32).T.copy()


@cache
def _body_faces() -> tuple[IntArray, NDArray[np.uint8]]:
    """Faces of the hand and its forearm, and the label of each."""
    hand, arm = HandModel.load().fine.faces, arm_topology()[1]
    labels = np.repeat(np.array([HAND, ARM], np.uint8), (len(hand), len(arm)))
    return np.concatenate([hand, arm]), labels


def compose(rng: Generator, layer: FloatArray, behind: FloatArray) -> FloatArray:
    """The layer over what lies behind it, on which it may cast a soft shadow."""
    shadow = np.ones((1, 1), np.float32)
    if rng.random() < 0.4:
        small = cv2.resize(layer[..., 3], (32, 32), interpolation=cv2.INTER_AREA)
        moved = np.roll(small, tuple(rng.integers(-6, 7, 2)), (0, 1))
        soft = cv2.GaussianBlur(moved, (0, 0), rng.uniform(0.8, 3))
        size = (len(layer), len(layer))
        soft = cv2.resize(soft, size, interpolation=cv2.INTER_LINEAR)
        shadow = 1 - np.float32(rng.uniform(0.2, 0.7)) * soft
    return lay_over(layer, behind, shadow)

"""Light on a scene, computed at its vertices: sky, key light with soft shadow, fill, gloss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from i2uv_edge.data.rendered.colours import light_colour
from i2uv_edge.data.rendered.sample import Generator, SceneSettings
from i2uv_edge.hand.model import FloatArray


@dataclass(frozen=True)
class Lighting:
    """Light of a scene, linear; key and sky add up to about 1.

    Attributes
    ----------
    key, fill : (3,) unit vectors towards the lights, camera axes
    key_colour, fill_colour, sky, ground : (3,) RGB
    up : (3,) unit vector to the sky
    softness : radius of the key light over its distance
    occlusion : how much the hand shades itself from the sky, 0..1
    gloss, shininess : Blinn-Phong
    scatter : how far light under skin reaches past the terminator
    """

    key: FloatArray
    key_colour: FloatArray
    fill: FloatArray
    fill_colour: FloatArray
    sky: FloatArray
    ground: FloatArray
    up: FloatArray
    softness: float
    occlusion: float
    gloss: float
    shininess: float
    scatter: float


def sample_lighting(rng: Generator, settings: SceneSettings, around: FloatArray) -> Lighting:
    """Random light from the camera's side, tinted by what is ``around``: (3,) linear RGB."""
    key = _towards(rng.normal(0, 1, 3) * (1, 0.7, 0.7) + (0, -0.7, -0.7))
    if key[2] > 0.25:  # from behind only rims would be lit
        key = _towards(key * (1, 1, -1))
    fill = _towards(rng.normal((0, 0, -0.8), 1))
    ambient = rng.uniform(0.25, 0.85)
    tint = around / max(float(around.mean()), 0.02)
    tint = 1 + rng.uniform(0.1, 0.5) * (np.clip(tint, 0.4, 2.0) - 1)
    sky = ambient * light_colour(rng) * tint
    ground = sky * rng.uniform(0.3, 0.9) * (1 + rng.normal(0, 0.05, 3))
    filled = rng.uniform(0.1, 0.4) if rng.random() < settings.second_light else 0.0
    return Lighting(
        key=key,
        key_colour=(light_colour(rng) * np.float32(1.25 * (1 - ambient) + 0.1)).astype(np.float32),
        fill=fill,
        fill_colour=(light_colour(rng) * np.float32(filled)).astype(np.float32),
        sky=sky.astype(np.float32),
        ground=ground.astype(np.float32),
        up=_towards(rng.normal((0, -1, -0.3), 0.35)),
        softness=float(rng.uniform(0.03, 0.5)),
        occlusion=float(rng.uniform(0.75, 1.0)),
        gloss=float(rng.uniform(0, 0.09)),
        shininess=float(rng.uniform(6, 26)),
        scatter=float(rng.uniform(0.1, 0.3)),
    )


def lit(
    light: Lighting,
    normals: FloatArray,
    albedo: FloatArray,
    gloss: FloatArray,
    skin: FloatArray,
    openness: FloatArray,
    reached: FloatArray,
) -> FloatArray:
    """(V, 3) linear RGB as the camera, far along -z, sees it.

    Parameters
    ----------
    normals, albedo
        (V, 3).
    gloss
        (V,) relative to the light's.
    skin
        (V,) 1 where light scatters under the surface, 0 where it does not.
    openness, reached
        (V,) see `capsules.shade`.
    """
    return np.asarray(
        _lit(
            normals, albedo, gloss, skin, openness, reached,
            light.key, light.key_colour, light.fill, light.fill_colour, light.sky, light.ground,
            light.up, light.occlusion, light.gloss, light.shininess, light.scatter,
        )
    )  # fmt: skip


@numba.njit(cache=True, fastmath=True)
def _lit(
    normals: FloatArray,
    albedo: FloatArray,
    gloss: FloatArray,
    skin: FloatArray,
    openness: FloatArray,
    reached: FloatArray,
    key: FloatArray,
    key_colour: FloatArray,
    fill: FloatArray,
    fill_colour: FloatArray,
    sky: FloatArray,
    ground: FloatArray,
    up: FloatArray,
    occlusion: float,
    shine: float,
    shininess: float,
    scatter: float,
) -> FloatArray:
    count = len(normals)
    colours = np.zeros((count, 3), np.float32)
    hx, hy, hz = key[0], key[1], key[2] - 1.0
    length = np.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
    hx, hy, hz = hx / length, hy / length, hz / length
    for v in range(count):
        nx, ny, nz = normals[v, 0], normals[v, 1], normals[v, 2]
        if nz > 0.35:
            continue
        rise = 0.5 + 0.5 * (nx * up[0] + ny * up[1] + nz * up[2])
        open_ = 1.0 - occlusion * (1.0 - openness[v])
        facing = nx * key[0] + ny * key[1] + nz * key[2]
        other = max(nx * fill[0] + ny * fill[1] + nz * fill[2], 0.0) * open_
        shadow = reached[v]
        highlight = max(nx * hx + ny * hy + nz * hz, 0.0) ** shininess * shine * gloss[v] * shadow
        # At grazing angles everything reflects more of what is around (Schlick).
        rim = (1.0 - min(max(-nz, 0.0), 1.0)) ** 4 * 0.06 * open_
        for c in range(3):
            # Light scattered under skin reaches past the terminator, red furthest, and softens
            # shadows most in red: it is what makes a hand look like one.
            wrap = scatter * skin[v] * (1.0 - 0.45 * c)
            direct = max((facing + wrap) / (1.0 + wrap), 0.0)
            bleed = 0.12 * skin[v] * (2 - c) * 0.5
            past = shadow + bleed * (1.0 - shadow) * shadow * 2.0
            # Light that bounces between walls of skin takes their colour, so narrow places are
            # redder than they are dark (Jimenez et al. 2016, multi-bounce occlusion).
            bounced = open_ / (1.0 - albedo[v, c] * (1.0 - open_))
            around = (ground[c] + (sky[c] - ground[c]) * rise) * bounced
            light = around + key_colour[c] * direct * past + fill_colour[c] * other
            colours[v, c] = albedo[v, c] * light + highlight * key_colour[c] + rim * sky[c]
    return colours


def _towards(direction: NDArray[Any]) -> FloatArray:
    return np.asarray(direction / np.linalg.norm(direction), np.float32)

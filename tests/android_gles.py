"""OpenGL ES 2 without a screen, drawing by Mesa on the processor, with the app's own shaders.

The calls are those of HandRenderer.java, in its order. Constants are of the Khronos headers.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SURFACELESS, ES_API, ES2_RENDERABLE, CLIENT_VERSION, END = 0x31DD, 0x30A0, 4, 0x3098, 0x3038
RENDERABLE_TYPE = 0x3040
VERTEX, FRAGMENT, COMPILED, LINKED = 0x8B31, 0x8B30, 0x8B81, 0x8B82
FRAMEBUFFER, RENDERBUFFER, COLOUR_AT, DEPTH_AT = 0x8D40, 0x8D41, 0x8CE0, 0x8D00
RGBA8, DEPTH16, COMPLETE = 0x8058, 0x81A5, 0x8CD5
TEXTURE, RGB, RGBA, BYTES, SHORTS, FLOATS = 0x0DE1, 0x1907, 0x1908, 0x1401, 0x1403, 0x1406
SAMPLING = ((0x2801, 0x2601), (0x2800, 0x2601), (0x2802, 0x812F), (0x2803, 0x812F))
DEPTH_TEST, BLEND, LESS, EQUAL = 0x0B71, 0x0BE2, 0x0201, 0x0202
ALPHA, ONE_MINUS_ALPHA = 0x0302, 0x0303
TRIANGLES, STRIP = 4, 5
UNPACK_ALIGNMENT, COLOUR_AND_DEPTH = 0x0CF5, 0x4100


class Screen:
    """A picture to draw on, (H, W); OSError where there is no Mesa."""

    def __init__(self, width: int, height: int, shaders: Path) -> None:
        self._egl = ctypes.CDLL("libEGL.so.1")
        self._gl = ctypes.CDLL("libGLESv2.so.2")
        self._size = width, height
        self._kept: list[Array] = []
        self._connect()
        self._make_target()
        self._programs = {name: self._program(shaders, name) for name in ("picture", "mesh")}

    def draw(
        self,
        picture: Array,
        placed: Array,
        normals: Array,
        faces: Array,
        view: tuple[Sequence[float], Sequence[float]],
    ) -> Array:
        """A picture and the mesh over it; `view` is scale (3) and shift (2) of a Viewport.

        Returns (H, W, 3) uint8 RGB.
        """
        gl = self._gl
        (height, width), (scale, shift) = picture.shape[:2], view
        self._texture(picture)
        gl.glClearColor(*map(ctypes.c_float, (0, 0, 0, 1)))
        gl.glClear(COLOUR_AND_DEPTH)
        self._use("picture", scale=(scale[0] * width, scale[1] * height), shift=shift)
        gl.glDisable(DEPTH_TEST)
        gl.glDisable(BLEND)
        corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
        with_corners = self._attribute("picture", "corner", corners)
        gl.glDrawArrays(STRIP, 0, 4)
        gl.glDisableVertexAttribArray(with_corners)
        colour = (0.35, 0.71, 0.91, 0.75)
        self._use("mesh", scale=scale, shift=shift, colour=colour)
        gl.glEnable(DEPTH_TEST)
        self._attribute("mesh", "position", placed.astype(np.float32))
        self._attribute("mesh", "normal", normals.astype(np.float32))
        indices = self._keep(faces.astype(np.uint16))
        gl.glColorMask(0, 0, 0, 0)
        gl.glDepthFunc(LESS)
        gl.glDrawElements(TRIANGLES, indices.size, SHORTS, _pointer(indices))
        gl.glColorMask(1, 1, 1, 1)
        gl.glDepthFunc(EQUAL)
        gl.glEnable(BLEND)
        gl.glBlendFunc(ALPHA, ONE_MINUS_ALPHA)
        gl.glDrawElements(TRIANGLES, indices.size, SHORTS, _pointer(indices))
        made = np.zeros((self._size[1], self._size[0], 4), np.uint8)
        gl.glReadPixels(0, 0, *self._size, RGBA, BYTES, _pointer(made))
        assert gl.glGetError() == 0
        return made[::-1, :, :3]

    def _connect(self) -> None:
        egl, address = self._egl, ctypes.c_void_p
        egl.eglGetProcAddress.restype = address
        named = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
        kind = ctypes.CFUNCTYPE(address, ctypes.c_uint, address, address)
        if not named:
            raise OSError("no display without a screen")
        display = address(kind(named)(SURFACELESS, None, None))
        egl.eglCreateContext.restype = address
        config, count = address(), ctypes.c_int()
        wanted = (ctypes.c_int * 3)(RENDERABLE_TYPE, ES2_RENDERABLE, END)
        version = (ctypes.c_int * 3)(CLIENT_VERSION, 2, END)
        if not egl.eglInitialize(display, None, None) or not egl.eglBindAPI(ES_API):
            raise OSError("no OpenGL ES")
        egl.eglChooseConfig(display, wanted, ctypes.byref(config), 1, ctypes.byref(count))
        context = address(egl.eglCreateContext(display, config, None, version))
        if not egl.eglMakeCurrent(display, None, None, context):
            raise OSError("no context of OpenGL ES 2")

    def _make_target(self) -> None:
        gl, names = self._gl, (ctypes.c_uint * 3)()
        gl.glGenFramebuffers(1, names)
        gl.glBindFramebuffer(FRAMEBUFFER, names[0])
        gl.glGenRenderbuffers(2, names)
        for name, place, kind in ((names[0], COLOUR_AT, RGBA8), (names[1], DEPTH_AT, DEPTH16)):
            gl.glBindRenderbuffer(RENDERBUFFER, name)
            gl.glRenderbufferStorage(RENDERBUFFER, kind, *self._size)
            gl.glFramebufferRenderbuffer(FRAMEBUFFER, place, RENDERBUFFER, name)
        assert gl.glCheckFramebufferStatus(FRAMEBUFFER) == COMPLETE
        gl.glViewport(0, 0, *self._size)

    def _program(self, folder: Path, name: str) -> int:
        gl, done = self._gl, ctypes.c_int()
        program = gl.glCreateProgram()
        for kind, ending in ((VERTEX, "vert"), (FRAGMENT, "frag")):
            shader = gl.glCreateShader(kind)
            text = ctypes.c_char_p((folder / f"{name}.{ending}").read_bytes())
            gl.glShaderSource(shader, 1, ctypes.byref(text), None)
            gl.glCompileShader(shader)
            gl.glGetShaderiv(shader, COMPILED, ctypes.byref(done))
            assert done.value, f"{name}.{ending}"
            gl.glAttachShader(program, shader)
        gl.glLinkProgram(program)
        gl.glGetProgramiv(program, LINKED, ctypes.byref(done))
        assert done.value, name
        return int(program)

    def _texture(self, picture: Array) -> None:
        gl, name = self._gl, ctypes.c_uint()
        gl.glGenTextures(1, ctypes.byref(name))
        gl.glBindTexture(TEXTURE, name)
        for key, value in SAMPLING:
            gl.glTexParameteri(TEXTURE, key, value)
        gl.glPixelStorei(UNPACK_ALIGNMENT, 1)
        height, width = picture.shape[:2]
        pixels = _pointer(self._keep(picture))
        gl.glTexImage2D(TEXTURE, 0, RGB, width, height, 0, RGB, BYTES, pixels)

    def _use(self, name: str, **uniforms: Sequence[float]) -> None:
        gl, program = self._gl, self._programs[name]
        gl.glUseProgram(program)
        for key, values in uniforms.items():
            place = gl.glGetUniformLocation(program, key.encode())
            put = {2: gl.glUniform2f, 3: gl.glUniform3f, 4: gl.glUniform4f}[len(values)]
            put(place, *map(ctypes.c_float, values))

    def _attribute(self, name: str, key: str, values: Array) -> int:
        gl = self._gl
        place = int(gl.glGetAttribLocation(self._programs[name], key.encode()))
        gl.glEnableVertexAttribArray(place)
        pointer = _pointer(self._keep(values))
        gl.glVertexAttribPointer(place, values.shape[1], FLOATS, 0, 0, pointer)
        return place

    def _keep(self, array: Array) -> Array:
        """OpenGL reads it later."""
        self._kept.append(np.ascontiguousarray(array))
        return self._kept[-1]


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)

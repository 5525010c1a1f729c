#version 100
// A quad over the picture's place in the view.
attribute vec2 corner; // 0..1, from the picture's top left
uniform vec2 scale; // of the whole picture, clip units
uniform vec2 shift;
varying vec2 place;

void main() {
    place = corner;
    gl_Position = vec4(corner * scale + shift, 0.999, 1.0);
}

#version 100
// Vertices in pixels of the picture, z away from the camera.
attribute vec3 position;
attribute vec3 normal;
uniform vec3 scale;
uniform vec2 shift;
varying vec3 outward;

void main() {
    outward = normal;
    gl_Position = vec4(position.xy * scale.xy + shift, position.z * scale.z, 1.0);
}

#version 100
precision mediump float;
uniform vec4 colour; // its alpha says how much the mesh hides
varying vec3 outward;

void main() {
    // The light is at the camera.
    float facing = abs(normalize(outward).z);
    gl_FragColor = vec4(colour.rgb * (0.35 + 0.65 * facing), colour.a);
}

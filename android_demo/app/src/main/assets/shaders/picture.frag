#version 100
precision mediump float;
uniform sampler2D picture;
varying vec2 place;

void main() {
    gl_FragColor = vec4(texture2D(picture, place).rgb, 1.0);
}

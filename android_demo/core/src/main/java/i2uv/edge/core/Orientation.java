package i2uv.edge.core;

/** How a camera's picture has to be turned to be upright on the screen. */
public final class Orientation {
    private Orientation() {}

    /**
     * Clockwise quarter turns.
     *
     * @param sensor degrees clockwise from the camera's picture to the phone held naturally.
     * @param display degrees by which the screen's content is turned from there, anticlockwise.
     * @param front the camera looks at who looks at the screen.
     */
    public static int quarterTurns(int sensor, int display, boolean front) {
        int degrees = front ? sensor + display : sensor - display + 360;
        return degrees / 90 & 3;
    }
}

package i2uv.edge.core;

/** Where a picture lies in a view that shows all of it, centred, and mirrored if so wanted. */
public final class Viewport {
    /** Clip coordinates of a pixel at (x, y): (x * scaleX + shiftX, y * scaleY + shiftY). */
    public float scaleX;

    public float scaleY;
    public float shiftX;
    public float shiftY;

    /** Clip depth for a pixel's depth; the hand is some 250 pixels deep at most. */
    public float scaleZ;

    public void fit(int width, int height, int viewWidth, int viewHeight, boolean mirrored) {
        float zoom = Math.min((float) viewWidth / width, (float) viewHeight / height);
        scaleX = 2 * zoom / viewWidth * (mirrored ? -1 : 1);
        scaleY = -2 * zoom / viewHeight;
        shiftX = -scaleX * width / 2;
        shiftY = -scaleY * height / 2;
        scaleZ = 1f / Math.max(width, height);
    }
}

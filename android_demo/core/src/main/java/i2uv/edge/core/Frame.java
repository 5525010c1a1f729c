package i2uv.edge.core;

/** A picture as a person sees it, upright: (height, width, 3) RGB, 0..255; its memory is reused. */
public final class Frame {
    public int width;
    public int height;
    public byte[] rgb = new byte[0];

    /** Makes room for a picture; memory is taken only where there is too little. */
    public void resize(int width, int height) {
        if (rgb.length != 3 * width * height) {
            rgb = new byte[3 * width * height];
        }
        this.width = width;
        this.height = height;
    }

    /** Takes over another picture. */
    public void copy(Frame other) {
        resize(other.width, other.height);
        System.arraycopy(other.rgb, 0, rgb, 0, rgb.length);
    }
}

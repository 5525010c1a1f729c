package i2uv.edge.core;

import java.nio.ByteBuffer;

/**
 * A camera's YUV_420_888 picture as an upright RGB one.
 *
 * <p>Full-range BT.601, which is what Android's cameras give for this format (JFIF). Each pair of
 * chroma values is used for its 2 x 2 pixels. Nothing is allocated while sizes stay the same.
 */
public final class YuvToRgb {
    private static final int SHIFT = 14;
    private static final int HALF = 1 << (SHIFT - 1);
    private static final int RED_V = fixed(1.402);
    private static final int GREEN_U = fixed(0.344136);
    private static final int GREEN_V = fixed(0.714136);
    private static final int BLUE_U = fixed(1.772);

    private byte[] luma = new byte[0];
    private byte[] first = new byte[0];
    private byte[] second = new byte[0];

    /** One of the three planes: bytes from a row to the next, and from a value to the next. */
    public static final class Plane {
        public ByteBuffer bytes;
        public int rowStride;
        public int pixelStride;

        public void set(ByteBuffer bytes, int rowStride, int pixelStride) {
            this.bytes = bytes;
            this.rowStride = rowStride;
            this.pixelStride = pixelStride;
        }
    }

    /**
     * Converts and turns.
     *
     * @param width of the camera's picture, even; so is height.
     * @param quarterTurns clockwise, until what was above is above again.
     * @param out becomes (width, height) or, after an odd number of turns, (height, width).
     */
    public void convert(
            Plane y, Plane u, Plane v, int width, int height, int quarterTurns, Frame out) {
        if ((width & 1) != 0 || (height & 1) != 0 || width < 2 || height < 2) {
            throw new IllegalArgumentException("a picture of " + width + " x " + height);
        }
        int turns = quarterTurns & 3;
        boolean across = (turns & 1) != 0;
        out.resize(across ? height : width, across ? width : height);
        int pairs = width / 2;
        luma = room(luma, (width - 1) * y.pixelStride + 1);
        first = room(first, (pairs - 1) * u.pixelStride + 1);
        second = room(second, (pairs - 1) * v.pixelStride + 1);
        int stepX = 3 * stepX(turns, out.width);
        int yStep = y.pixelStride;
        for (int row = 0; row < height; row++) {
            read(y, row, luma, (width - 1) * y.pixelStride + 1);
            if ((row & 1) == 0) {
                read(u, row / 2, first, (pairs - 1) * u.pixelStride + 1);
                read(v, row / 2, second, (pairs - 1) * v.pixelStride + 1);
            }
            line(yStep, u.pixelStride, v.pixelStride, pairs, out.rgb,
                    3 * start(turns, row, width, height), stepX);
        }
    }

    private void line(
            int yStep, int uStep, int vStep, int pairs, byte[] rgb, int start, int stepX) {
        int to = start;
        for (int pair = 0; pair < pairs; pair++) {
            int cb = (first[pair * uStep] & 0xff) - 128;
            int cr = (second[pair * vStep] & 0xff) - 128;
            int red = RED_V * cr + HALF;
            int green = HALF - GREEN_U * cb - GREEN_V * cr;
            int blue = BLUE_U * cb + HALF;
            for (int i = 2 * pair; i < 2 * pair + 2; i++, to += stepX) {
                int level = (luma[i * yStep] & 0xff) << SHIFT;
                rgb[to] = clamp((level + red) >> SHIFT);
                rgb[to + 1] = clamp((level + green) >> SHIFT);
                rgb[to + 2] = clamp((level + blue) >> SHIFT);
            }
        }
    }

    /** How far one pixel to the right in the camera's picture is in the upright one. */
    private static int stepX(int turns, int outWidth) {
        switch (turns) {
            case 0:
                return 1;
            case 1:
                return outWidth;
            case 2:
                return -1;
            default:
                return -outWidth;
        }
    }

    /** Where the first pixel of a row of the camera's picture lies in the upright one. */
    private static int start(int turns, int row, int width, int height) {
        switch (turns) {
            case 0:
                return row * width;
            case 1:
                return height - 1 - row;
            case 2:
                return (height - row) * width - 1;
            default:
                return (width - 1) * height + row;
        }
    }

    private static void read(Plane plane, int row, byte[] into, int count) {
        plane.bytes.position(row * plane.rowStride);
        plane.bytes.get(into, 0, count);
    }

    private static byte[] room(byte[] memory, int count) {
        return memory.length >= count ? memory : new byte[count];
    }

    private static byte clamp(int level) {
        return (byte) Math.max(0, Math.min(255, level));
    }

    private static int fixed(double factor) {
        return (int) Math.round(factor * (1 << SHIFT));
    }
}

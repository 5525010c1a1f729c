package i2uv.edge.core;

import java.util.Arrays;

/**
 * Cuts a square out of a picture and resizes it as the desktop does: averages over the area when
 * shrinking, bilinear when growing, pixel centres at halves, black outside the picture.
 *
 * <p>Rows first: most of a camera's picture goes away in that sum, whose rows lie in memory in
 * order. Nothing is allocated while the box keeps its side.
 */
public final class Cropper {
    private final int size;
    private final int[] from;
    private final int[] count;
    private float[] weights = new float[0];
    private float[] sum = new float[0];
    private int taps;
    private int side = -1;

    /** @param size the side of what is made. */
    public Cropper(int size) {
        this.size = size;
        from = new int[size];
        count = new int[size];
    }

    /**
     * Crops.
     *
     * @param out (size, size, 3) levels.
     * @throws IllegalArgumentException the box does not meet the picture.
     */
    public void crop(Frame picture, Box box, byte[] out) {
        int left = Math.max(box.left, 0);
        int right = Math.min(box.left + box.side, picture.width);
        if (box.side < 1 || left >= right || box.top >= picture.height || box.top + box.side <= 0) {
            throw new IllegalArgumentException("a crop that holds nothing of the picture");
        }
        prepare(box.side);
        if (left > box.left || right < box.left + box.side) {
            Arrays.fill(sum, 0f); // columns beyond the picture are not written below
        }
        int to = 3 * (left - box.left);
        int width = 3 * (right - left);
        for (int row = 0; row < size; row++) {
            int first = Math.max(box.top + from[row], 0);
            int end = Math.min(box.top + from[row] + count[row], picture.height);
            if (first >= end) {
                Arrays.fill(out, 3 * row * size, 3 * (row + 1) * size, (byte) 0);
                continue;
            }
            // Three rows at a time: memory for the sum is what this loop waits for.
            int tap = row * taps - box.top - from[row];
            for (int y = first; y < end; y += 3) {
                int last = end - 1;
                int a = 3 * (y * picture.width + left);
                int b = 3 * (Math.min(y + 1, last) * picture.width + left);
                int c = 3 * (Math.min(y + 2, last) * picture.width + left);
                float u = weights[tap + y];
                float v = y + 1 < end ? weights[tap + y + 1] : 0f;
                float w = y + 2 < end ? weights[tap + y + 2] : 0f;
                if (y == first) {
                    set(picture.rgb, a, b, c, u, v, w, to, width);
                } else {
                    add(picture.rgb, a, b, c, u, v, w, to, width);
                }
            }
            across(out, 3 * row * size);
        }
    }

    private void set(
            byte[] rgb, int a, int b, int c, float u, float v, float w, int to, int width) {
        float[] made = sum;
        for (int i = 0; i < width; i++) {
            made[to + i] =
                    u * (rgb[a + i] & 0xff) + v * (rgb[b + i] & 0xff) + w * (rgb[c + i] & 0xff);
        }
    }

    private void add(
            byte[] rgb, int a, int b, int c, float u, float v, float w, int to, int width) {
        float[] made = sum;
        for (int i = 0; i < width; i++) {
            made[to + i] +=
                    u * (rgb[a + i] & 0xff) + v * (rgb[b + i] & 0xff) + w * (rgb[c + i] & 0xff);
        }
    }

    private void across(byte[] out, int start) {
        int to = start;
        for (int column = 0; column < size; column++) {
            float red = 0.5f;
            float green = 0.5f;
            float blue = 0.5f;
            int at = 3 * from[column];
            for (int tap = column * taps; tap < column * taps + count[column]; tap++, at += 3) {
                float weight = weights[tap];
                red += weight * sum[at];
                green += weight * sum[at + 1];
                blue += weight * sum[at + 2];
            }
            // Weights sum to 1 up to their rounding, so 255.5 can be passed by a hair.
            out[to++] = (byte) Math.min((int) red, 255);
            out[to++] = (byte) Math.min((int) green, 255);
            out[to++] = (byte) Math.min((int) blue, 255);
        }
    }

    /** Which pixels of the box, and with what weight, make each of the result. */
    private void prepare(int side) {
        if (side == this.side) {
            return;
        }
        this.side = side;
        double step = (double) side / size;
        taps = side > size ? (int) Math.ceil(step) + 1 : 2;
        weights = new float[size * taps];
        sum = new float[3 * side];
        for (int i = 0; i < size; i++) {
            if (side > size) {
                area(i, i * step, Math.min((i + 1) * step, side));
            } else {
                linear(i, (i + 0.5) * step - 0.5);
            }
        }
    }

    private void area(int i, double low, double high) {
        from[i] = (int) Math.floor(low + 1e-9);
        int end = Math.min((int) Math.ceil(high - 1e-9), side);
        count[i] = end - from[i];
        for (int tap = 0; tap < count[i]; tap++) {
            int pixel = from[i] + tap;
            double covered = Math.min(high, pixel + 1) - Math.max(low, pixel);
            weights[i * taps + tap] = (float) (covered / (high - low));
        }
    }

    private void linear(int i, double place) {
        int pixel = (int) Math.floor(place);
        float share = (float) (place - pixel);
        if (pixel < 0 || pixel >= side - 1) {
            from[i] = pixel < 0 ? 0 : side - 1;
            count[i] = 1;
            weights[i * taps] = 1f;
            return;
        }
        from[i] = pixel;
        count[i] = 2;
        weights[i * taps] = 1f - share;
        weights[i * taps + 1] = share;
    }
}

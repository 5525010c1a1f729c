package i2uv.edge.core;

/**
 * What is between the two networks: each axis of the coarse map goes from [low, low + span] to
 * [0, 1], by the least and the greatest coordinate of the vertices read from it, and is clipped;
 * SRNet's answer goes back by the same two numbers.
 */
public final class Chain {
    private static final String NORMALISATION = "min-max of the read vertices, per axis";

    private final float least;
    private final float greatest;
    private final float minimumSpan;
    private final float[] low = new float[3];
    private final float[] span = new float[3];

    public Chain(float least, float greatest, float minimumSpan) {
        this.least = least;
        this.greatest = greatest;
        this.minimumSpan = minimumSpan;
    }

    static Chain of(Fields fields) throws BundleException {
        if (!fields.text("normalisation").equals(NORMALISATION)) {
            throw fields.fault("normalisation", fields.text("normalisation"), NORMALISATION);
        }
        double[] clip = fields.numbers("clip");
        if (clip.length != 2 || !(clip[0] < clip[1])) {
            throw fields.fault(
                    "clip", java.util.Arrays.toString(clip), "a lower and an upper limit");
        }
        return new Chain((float) clip[0], (float) clip[1], (float) fields.number("minimum_span"));
    }

    /** Takes the bounds of (V, 3) vertices; the other methods use them until the next call. */
    public void measure(float[] vertices) {
        for (int axis = 0; axis < 3; axis++) {
            float lowest = vertices[axis];
            float highest = lowest;
            for (int i = axis + 3; i < vertices.length; i += 3) {
                lowest = Math.min(lowest, vertices[i]);
                highest = Math.max(highest, vertices[i]);
            }
            low[axis] = lowest;
            span[axis] = Math.max(highest - lowest, minimumSpan);
        }
    }

    /** Map units to what SRNet takes, in place. */
    public void normalise(float[] map) {
        for (int i = 0; i < map.length; i += 3) {
            for (int axis = 0; axis < 3; axis++) {
                float value = (map[i + axis] - low[axis]) / span[axis];
                map[i + axis] = Math.max(least, Math.min(greatest, value));
            }
        }
    }

    /**
     * What SRNet gives to map units, in place.
     *
     * <p>A vertex is a weighted sum of texels whose weights sum to 1, so this may be done to the
     * vertices alone.
     */
    public void restore(float[] values) {
        for (int i = 0; i < values.length; i += 3) {
            for (int axis = 0; axis < 3; axis++) {
                values[i + axis] = values[i + axis] * span[axis] + low[axis];
            }
        }
    }
}

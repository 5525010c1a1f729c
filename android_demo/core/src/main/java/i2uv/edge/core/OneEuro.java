package i2uv.edge.core;

/**
 * The One-Euro filter (Casiez, Roussel, Vogel 2012) over many values at once: a low pass whose
 * cutoff rises with the speed, so that a still hand is quiet and a fast one is not late.
 */
public final class OneEuro {
    private static final double SPEED_CUTOFF = 1.0; // Hz, of the filtered speed

    private final float minCutoff;
    private final float beta;
    private final float[] value;
    private final float[] speed;
    private double last;
    private boolean started;

    /**
     * @param count how many values.
     * @param minCutoff Hz, of a value that does not move.
     * @param beta Hz more for each unit a second.
     */
    public OneEuro(int count, float minCutoff, float beta) {
        this.minCutoff = minCutoff;
        this.beta = beta;
        value = new float[count];
        speed = new float[count];
    }

    /** Forgets what was: the next values pass as they are. */
    public void reset() {
        started = false;
    }

    /**
     * Filters in place.
     *
     * @param seconds the time of these values; where it does not go on, they pass as they are.
     */
    public void filter(float[] values, double seconds) {
        double step = seconds - last;
        last = seconds;
        if (!started || !(step > 0)) {
            System.arraycopy(values, 0, value, 0, value.length);
            java.util.Arrays.fill(speed, 0f);
            started = true;
            return;
        }
        float rate = (float) (1 / step);
        float quick = (float) share(SPEED_CUTOFF, step);
        float turn = (float) (2 * Math.PI * step);
        for (int i = 0; i < value.length; i++) {
            speed[i] += quick * ((values[i] - value[i]) * rate - speed[i]);
            float cut = turn * (minCutoff + beta * Math.abs(speed[i]));
            value[i] += cut / (cut + 1f) * (values[i] - value[i]);
            values[i] = value[i];
        }
    }

    /** How much of the new value a low pass takes. */
    private static double share(double cutoff, double step) {
        double cut = 2 * Math.PI * cutoff * step;
        return cut / (cut + 1);
    }
}

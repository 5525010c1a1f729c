package i2uv.edge.core;

/** Means over the last frames: how many a second, and how long each stage takes. */
public final class Rate {
    private static final double MEMORY = 0.9; // share of the old mean that stays

    private final double[] nanos;
    private long last;
    private double step;

    public Rate(int stages) {
        nanos = new double[stages];
    }

    /** A frame is done at that time, nanoseconds. */
    public void frame(long now) {
        if (last != 0 && now > last) {
            step = step == 0 ? now - last : MEMORY * step + (1 - MEMORY) * (now - last);
        }
        last = now;
    }

    /** What was before a pause tells nothing about what comes after it. */
    public void pause() {
        last = 0;
    }

    public void stage(int stage, long elapsed) {
        nanos[stage] = nanos[stage] == 0 ? elapsed : MEMORY * nanos[stage] + (1 - MEMORY) * elapsed;
    }

    /** Frames a second, 0 before there were two. */
    public double perSecond() {
        return step == 0 ? 0 : 1e9 / step;
    }

    public double milliseconds(int stage) {
        return nanos[stage] / 1e6;
    }
}

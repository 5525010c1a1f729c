package i2uv.edge.core;

/**
 * Where the next picture is to be cropped: around the hand as it was seen last, or where a guide on
 * the screen asks for it. There is no detector, so a hand that is lost is looked for in the guide.
 */
public final class Follower {
    private static final float LEAST = 0.2f; // of the guide's side: less is no hand but noise
    private static final float MOST = 1.5f;

    private final float margin;

    /** @param margin the side of a crop in sides of the hand, as the networks were trained. */
    public Follower(float margin) {
        this.margin = margin;
    }

    /**
     * Chooses the next box.
     *
     * @param placed (V, 3) pixels, as the last picture showed them.
     * @param guide where to go back to.
     * @return whether the hand is followed.
     */
    public boolean next(float[] placed, int width, int height, Box guide, Box into) {
        float left = Float.MAX_VALUE;
        float top = Float.MAX_VALUE;
        float right = -Float.MAX_VALUE;
        float bottom = -Float.MAX_VALUE;
        for (int i = 0; i < placed.length; i += 3) {
            left = Math.min(left, placed[i]);
            right = Math.max(right, placed[i]);
            top = Math.min(top, placed[i + 1]);
            bottom = Math.max(bottom, placed[i + 1]);
        }
        float side = margin * Math.max(right - left, bottom - top);
        float x = (left + right) / 2;
        float y = (top + bottom) / 2;
        boolean seen = side >= LEAST * guide.side && side <= MOST * guide.side
                && x > 0 && x < width && y > 0 && y < height;
        if (seen) {
            into.set(Math.round(x - side / 2), Math.round(y - side / 2), Math.round(side));
        } else {
            into.set(guide.left, guide.top, guide.side);
        }
        return seen;
    }
}

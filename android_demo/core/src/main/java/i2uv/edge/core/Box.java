package i2uv.edge.core;

/** A square of a picture: left and top edge and side, in whole pixels; it may reach beyond it. */
public final class Box {
    public int left;
    public int top;
    public int side;

    public Box() {}

    public Box(int left, int top, int side) {
        set(left, top, side);
    }

    public void set(int left, int top, int side) {
        this.left = left;
        this.top = top;
        this.side = side;
    }

    /** The centred square that holds all of a picture. */
    public void whole(int width, int height) {
        centred(width, height, Math.max(width, height));
    }

    /** The centred square that the shorter side of a picture holds. */
    public void inside(int width, int height) {
        centred(width, height, Math.min(width, height));
    }

    private void centred(int width, int height, int side) {
        // Towards minus infinity, as the desktop does it.
        set((width - side) >> 1, (height - side) >> 1, side);
    }
}

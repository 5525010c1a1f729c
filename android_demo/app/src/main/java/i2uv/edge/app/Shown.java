package i2uv.edge.app;

import i2uv.edge.core.Box;
import i2uv.edge.core.Frame;

/** What is to be seen: handed from the engine's thread to the drawing one. */
final class Shown {
    final Frame frame = new Frame();
    final Box box = new Box();
    float[] placed = new float[0];
    float[] normals = new float[0];
    int[] faces = new int[0];
    boolean mirrored;
    boolean mesh;
    private int version;

    /** Takes over a picture and, unless null, a mesh. */
    synchronized void put(
            Frame picture, boolean mirrored, Box box,
            float[] placed, float[] normals, int[] faces) {
        frame.copy(picture);
        this.box.set(box.left, box.top, box.side);
        this.mirrored = mirrored;
        mesh = placed != null;
        if (mesh) {
            if (this.placed.length != placed.length) {
                this.placed = new float[placed.length];
                this.normals = new float[placed.length];
            }
            System.arraycopy(placed, 0, this.placed, 0, placed.length);
            System.arraycopy(normals, 0, this.normals, 0, normals.length);
            this.faces = faces;
        }
        version++;
    }

    /** Copies what is newer than a version into another; returns the version that is there now. */
    synchronized int take(int known, Shown into) {
        if (known != version) {
            into.put(frame, mirrored, box, mesh ? placed : null, normals, faces);
        }
        return version;
    }
}

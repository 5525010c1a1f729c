package i2uv.edge.core;

/** From map units to a picture, and the normals of what is there. */
public final class Mesh {
    private Mesh() {}

    /**
     * Puts vertices into the picture that a crop was cut out of.
     *
     * @param vertices (V, 3) crop sides: x right, y down, z away with 0.5 at the hand's mean depth.
     * @param mirrored the network saw the crop with left and right exchanged.
     * @param into (V, 3) pixels; z 0 at the mean depth.
     */
    public static void place(float[] vertices, Box box, boolean mirrored, float[] into) {
        float side = box.side;
        float start = mirrored ? box.left + side : box.left;
        float along = mirrored ? -side : side;
        for (int i = 0; i < vertices.length; i += 3) {
            into[i] = start + along * vertices[i];
            into[i + 1] = box.top + side * vertices[i + 1];
            into[i + 2] = side * (vertices[i + 2] - 0.5f);
        }
    }

    /**
     * Unit normals: of each vertex the mean of its faces, weighted by their areas.
     *
     * @param mirrored the vertices are mirrored, so faces run clockwise seen from outside.
     * @param into (V, 3); zero where the faces have no area.
     */
    public static void normals(float[] vertices, int[] faces, boolean mirrored, float[] into) {
        java.util.Arrays.fill(into, 0f);
        for (int f = 0; f < faces.length; f += 3) {
            int a = 3 * faces[f];
            int b = 3 * faces[mirrored ? f + 2 : f + 1];
            int c = 3 * faces[mirrored ? f + 1 : f + 2];
            float ux = vertices[b] - vertices[a];
            float uy = vertices[b + 1] - vertices[a + 1];
            float uz = vertices[b + 2] - vertices[a + 2];
            float vx = vertices[c] - vertices[a];
            float vy = vertices[c + 1] - vertices[a + 1];
            float vz = vertices[c + 2] - vertices[a + 2];
            float x = uy * vz - uz * vy;
            float y = uz * vx - ux * vz;
            float z = ux * vy - uy * vx;
            add(into, a, x, y, z);
            add(into, b, x, y, z);
            add(into, c, x, y, z);
        }
        for (int i = 0; i < into.length; i += 3) {
            double square = (double) into[i] * into[i] + (double) into[i + 1] * into[i + 1]
                    + (double) into[i + 2] * into[i + 2];
            float scale = square > 0 ? (float) (1 / Math.sqrt(square)) : 0f;
            into[i] *= scale;
            into[i + 1] *= scale;
            into[i + 2] *= scale;
        }
    }

    private static void add(float[] into, int at, float x, float y, float z) {
        into[at] += x;
        into[at + 1] += y;
        into[at + 2] += z;
    }
}

package i2uv.edge.core;

import java.util.Map;

/** Which texels of a map make each vertex, and the mesh of these vertices. */
public final class Atlas {
    public final int vertices;
    public final int mapSide;

    /** (F, 3) vertices of each triangle, counter-clockwise seen from outside. */
    public final int[] faces;

    /** (V, 3) metres, of the hand at rest. */
    public final float[] template;

    private static final int MOST = 65536; // an index on the screen has 16 bits

    private final int taps;
    private final int[] texel;
    private final float[] weight;

    private Atlas(
            int mapSide, int taps, int[] texel, float[] weight, int[] faces, float[] template) {
        this.mapSide = mapSide;
        this.taps = taps;
        this.texel = texel;
        this.weight = weight;
        this.faces = faces;
        this.template = template;
        vertices = texel.length / taps;
    }

    static Atlas of(Map<String, Npz.Array> arrays, String prefix, int mapSide)
            throws BundleException {
        Npz.Array index = array(arrays, prefix + "texel_index", -1);
        Npz.Array weight = array(arrays, prefix + "texel_weight", index.shape[1]);
        int count = index.shape[0];
        if (count > MOST) {
            throw fault("it has " + count + " vertices, more than " + MOST);
        }
        int[] texel = index.ints();
        for (int i = 0; i < texel.length; i++) {
            inside(texel[i], mapSide * mapSide, prefix + "texel_index");
            texel[i] *= 3;
        }
        int[] faces = array(arrays, prefix + "faces", 3).ints();
        for (int vertex : faces) {
            inside(vertex, count, prefix + "faces");
        }
        float[] template = array(arrays, prefix + "template", 3).floats();
        if (weight.shape[0] != count || template.length != 3 * count) {
            throw fault("its arrays are of different numbers of vertices");
        }
        return new Atlas(mapSide, index.shape[1], texel, weight.floats(), faces, template);
    }

    /**
     * Reads vertices from a map.
     *
     * @param map (M, M, 3), any unit.
     * @param into (V, 3), the same unit.
     */
    public void read(float[] map, float[] into) {
        for (int v = 0, at = 0; v < 3 * vertices; v += 3) {
            float x = 0f;
            float y = 0f;
            float z = 0f;
            for (int end = at + taps; at < end; at++) {
                int from = texel[at];
                float share = weight[at];
                x += map[from] * share;
                y += map[from + 1] * share;
                z += map[from + 2] * share;
            }
            into[v] = x;
            into[v + 1] = y;
            into[v + 2] = z;
        }
    }

    /**
     * How long a map unit is, so that a mesh has the size of the hand at rest, millimetres.
     *
     * <p>A pose changes the size a little, so this is for showing lengths, not for measuring.
     */
    public double unitMillimetres(float[] mesh) {
        return 1000 * Math.sqrt(spread(template) / Math.max(spread(mesh), 1e-12));
    }

    private static double spread(float[] points) {
        double total = 0;
        for (int axis = 0; axis < 3; axis++) {
            double sum = 0;
            double squares = 0;
            for (int i = axis; i < points.length; i += 3) {
                sum += points[i];
                squares += (double) points[i] * points[i];
            }
            int count = points.length / 3;
            total += squares / count - sum / count * (sum / count);
        }
        return total;
    }

    private static Npz.Array array(Map<String, Npz.Array> arrays, String name, int columns)
            throws BundleException {
        Npz.Array found = arrays.get(name);
        if (found == null || found.shape.length != 2 || found.shape[0] < 1 || found.shape[1] < 1
                || columns > 0 && found.shape[1] != columns) {
            throw fault(name + " is missing or has another shape");
        }
        return found;
    }

    private static void inside(int index, int count, String name) throws BundleException {
        if (index < 0 || index >= count) {
            throw fault(name + " holds " + index + ", which is not below " + count);
        }
    }

    private static BundleException fault(String what) {
        return new BundleException(
                Bundle.ATLAS + ": " + what, "the atlas of these networks", Bundle.REMEDY);
    }
}

package i2uv.edge.core;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.Map;

/** What Python has computed, and the bundle that it was computed from; see golden_vectors.py. */
public final class Vectors {
    private static Map<String, Npz.Array> arrays;

    private Vectors() {}

    public static synchronized Npz.Array get(String name) {
        if (arrays == null) {
            try (InputStream stream = new FileInputStream(System.getProperty("i2uv.vectors"))) {
                arrays = Npz.read(stream);
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
        }
        Npz.Array found = arrays.get(name);
        if (found == null) {
            throw new IllegalArgumentException("no vector " + name);
        }
        return found;
    }

    public static boolean has(String name) {
        get("tensor.real");
        return arrays.containsKey(name);
    }

    public static File bundle() {
        return new File(System.getProperty("i2uv.bundle"));
    }

    public static Box box(String name) {
        int[] sides = get(name).ints();
        return new Box(sides[0], sides[1], sides[2]);
    }

    public static Frame frame(String name) {
        Npz.Array found = get(name);
        Frame made = new Frame();
        made.resize(found.shape[1], found.shape[0]);
        made.rgb = found.bytes();
        return made;
    }

    /** The greatest difference of two pictures' levels. */
    public static int apart(byte[] one, byte[] other) {
        if (one.length != other.length) {
            throw new AssertionError(one.length + " bytes against " + other.length);
        }
        int most = 0;
        for (int i = 0; i < one.length; i++) {
            most = Math.max(most, Math.abs((one[i] & 0xff) - (other[i] & 0xff)));
        }
        return most;
    }

    /** The greatest difference of two arrays; NaN where there is one. */
    public static double apart(float[] one, float[] other) {
        if (one.length != other.length) {
            throw new AssertionError(one.length + " values against " + other.length);
        }
        double most = 0;
        for (int i = 0; i < one.length; i++) {
            double apart = Math.abs((double) one[i] - other[i]);
            most = apart <= most ? most : apart;
        }
        return most;
    }
}

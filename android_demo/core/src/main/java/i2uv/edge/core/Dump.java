package i2uv.edge.core;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What a device has computed, written so that {@code i2uv-edge validate --candidate} can read it: a
 * folder with dump.json and a raw little-endian file for each tensor.
 */
public final class Dump {
    private static final int SCHEMA = 1;

    private final File folder;
    private final List<Object> samples = new ArrayList<Object>();
    private Map<String, Object> sample;

    /** @param folder is made; it must not hold anything. */
    public Dump(File folder) throws IOException {
        this.folder = folder;
        String[] there = folder.list();
        if (there != null && there.length > 0 || there == null && !folder.mkdirs()) {
            throw new IOException(folder + " cannot be made, or holds something already");
        }
    }

    /** Begins a sample; ids are those of the bundle's pictures. */
    public void sample(String id) {
        sample = new LinkedHashMap<String, Object>();
        sample.put("id", id);
        samples.add(sample);
    }

    /** Adds (S, S, 3) levels, which stand for 0..1. */
    public void picture(byte[] rgb, int side) throws IOException {
        put("input", rgb, "uint8", new int[] {side, side, 3}, 1.0 / 255, 0);
    }

    /** Adds a tensor as the interpreter left it. */
    public void tensor(String key, Tensor tensor) throws IOException {
        TensorSpec spec = tensor.spec;
        put(key, tensor.content(), spec.type.label(), spec.shape, spec.scale, spec.zeroPoint);
    }

    /** Adds real values. */
    public void values(String key, float[] values, int[] shape) throws IOException {
        ByteBuffer packed = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
        packed.asFloatBuffer().put(values);
        put(key, packed.array(), "float32", shape, 1.0, 0);
    }

    /**
     * Writes dump.json; without it there is no dump, so it comes last.
     *
     * @param bundle the sha256 of its manifest.
     * @param source the device and what computed there.
     */
    public void close(String bundle, String source) throws IOException {
        Map<String, Object> document = new LinkedHashMap<String, Object>();
        document.put("bundle", bundle);
        document.put("samples", samples);
        document.put("schema", SCHEMA);
        document.put("source", source);
        write("dump.json", Json.write(document).getBytes("UTF-8"));
    }

    private void put(
            String key, byte[] content, String type, int[] shape, double scale, int zeroPoint)
            throws IOException {
        String file = String.format(java.util.Locale.ROOT, "%04d.%s.bin", samples.size() - 1, key);
        List<Object> sizes = new ArrayList<Object>();
        for (int size : shape) {
            sizes.add(size);
        }
        Map<String, Object> entry = new LinkedHashMap<String, Object>();
        entry.put("dtype", type);
        entry.put("file", file);
        entry.put("scale", scale);
        entry.put("shape", sizes);
        entry.put("zero_point", zeroPoint);
        write(file, content);
        sample.put(key, entry);
    }

    private void write(String name, byte[] content) throws IOException {
        FileOutputStream out = new FileOutputStream(new File(folder, name));
        try {
            out.write(content);
        } finally {
            out.close();
        }
    }
}

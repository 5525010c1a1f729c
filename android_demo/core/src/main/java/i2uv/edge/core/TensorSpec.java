package i2uv.edge.core;

/** An input or output as the model file holds it: real value = (stored - zeroPoint) * scale. */
public final class TensorSpec {
    /** How one number is stored. */
    public enum Type {
        FLOAT32(4, 0, 0),
        INT8(1, -128, 127),
        UINT8(1, 0, 255);

        public final int width;
        final int least;
        final int greatest;

        Type(int width, int least, int greatest) {
            this.width = width;
            this.least = least;
            this.greatest = greatest;
        }

        /** As manifests and dumps call it. */
        public String label() {
            return name().toLowerCase(java.util.Locale.ROOT);
        }
    }

    public final String name;
    public final int[] shape;
    public final Type type;
    public final float scale;
    public final int zeroPoint;

    public TensorSpec(String name, int[] shape, Type type, float scale, int zeroPoint) {
        this.name = name;
        this.shape = shape.clone();
        this.type = type;
        this.scale = scale;
        this.zeroPoint = zeroPoint;
    }

    public int size() {
        int size = 1;
        for (int length : shape) {
            size *= length;
        }
        return size;
    }

    /** The side of a map or picture of shape (1, M, M, 3). */
    public int side() {
        return shape[1];
    }

    static TensorSpec of(Fields fields) throws BundleException {
        int[] shape = fields.wholes("shape");
        if (shape.length != 4 || shape[0] != 1 || shape[1] != shape[2] || shape[3] != 3
                || shape[1] < 1) {
            throw fields.fault("shape", java.util.Arrays.toString(shape),
                    "1, M, M, 3: a square of three channels");
        }
        if (!fields.text("layout").equals("NHWC")) {
            throw fields.fault("layout", fields.text("layout"), "NHWC");
        }
        Type type = null;
        for (Type known : Type.values()) {
            if (known.label().equals(fields.text("dtype"))) {
                type = known;
            }
        }
        double scale = fields.number("scale");
        if (type == null || !(scale > 0)) {
            throw fields.fault("dtype", fields.text("dtype") + " of scale " + scale,
                    "float32, int8 or uint8 of a scale above 0");
        }
        int zeroPoint = fields.whole("zero_point");
        return new TensorSpec(fields.text("name"), shape, type, (float) scale, zeroPoint);
    }
}

package i2uv.edge.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;

/**
 * The memory of one input or output, and real values in and out of it.
 *
 * <p>A picture has 256 levels and an integer tensor 256 steps, so both ways go through a table.
 * Nothing is allocated after the constructor.
 */
public final class Tensor {
    public final TensorSpec spec;

    /** Direct, in the byte order of the machine: what an interpreter reads and writes. */
    public final ByteBuffer memory;

    private final FloatBuffer floats;
    private final byte[] bytes;
    private final float[] numbers;
    private final float[] realOfByte = new float[256];
    private final byte[] byteOfLevel = new byte[256];
    private final float[] realOfLevel = new float[256];

    public Tensor(TensorSpec spec) {
        this.spec = spec;
        int size = spec.size();
        memory = ByteBuffer.allocateDirect(size * spec.type.width).order(ByteOrder.nativeOrder());
        boolean real = spec.type == TensorSpec.Type.FLOAT32;
        floats = real ? memory.asFloatBuffer() : null;
        numbers = real ? new float[size] : null;
        bytes = real ? null : new byte[size];
        for (int level = 0; level < 256; level++) {
            realOfLevel[level] = level / 255f;
            if (!real) {
                byteOfLevel[level] = (byte) stored(realOfLevel[level]);
                int step = spec.type == TensorSpec.Type.INT8 ? (byte) level : level;
                realOfByte[level] = (step - spec.zeroPoint) * spec.scale;
            }
        }
    }

    /** The step that stands for a real value: the nearest, ties to even, as NumPy's rint. */
    public int stored(float real) {
        double step = Math.rint(real / spec.scale) + spec.zeroPoint;
        return (int) Math.max(spec.type.least, Math.min(spec.type.greatest, step));
    }

    /**
     * Writes a picture.
     *
     * @param rgb (S, S, 3) levels 0..255, which stand for 0..1.
     * @param mirrored left and right exchanged.
     */
    public void putPicture(byte[] rgb, boolean mirrored) {
        int row = 3 * spec.side();
        for (int start = 0; start < rgb.length; start += row) {
            if (mirrored) {
                for (int i = 0; i < row; i += 3) {
                    int to = start + row - 3 - i;
                    for (int c = 0; c < 3; c++) {
                        putLevel(to + c, rgb[start + i + c]);
                    }
                }
            } else if (numbers != null) {
                for (int i = start; i < start + row; i++) {
                    numbers[i] = realOfLevel[rgb[i] & 0xff];
                }
            } else {
                for (int i = start; i < start + row; i++) {
                    bytes[i] = byteOfLevel[rgb[i] & 0xff];
                }
            }
        }
        flush();
    }

    /** Writes real values. */
    public void put(float[] real) {
        if (numbers != null) {
            System.arraycopy(real, 0, numbers, 0, numbers.length);
        } else {
            for (int i = 0; i < bytes.length; i++) {
                bytes[i] = (byte) stored(real[i]);
            }
        }
        flush();
    }

    /** Reads real values. */
    public void get(float[] real) {
        if (numbers != null) {
            floats.clear();
            floats.get(real, 0, numbers.length);
        } else {
            memory.clear();
            memory.get(bytes);
            for (int i = 0; i < bytes.length; i++) {
                real[i] = realOfByte[bytes[i] & 0xff];
            }
        }
    }

    /** The bytes as they are stored, little-endian: what a dump holds. */
    public byte[] content() {
        ByteBuffer copy = memory.duplicate();
        copy.clear();
        byte[] made = new byte[copy.remaining()];
        copy.get(made);
        if (memory.order() != ByteOrder.LITTLE_ENDIAN) {
            ByteBuffer swapped = ByteBuffer.wrap(made).order(ByteOrder.LITTLE_ENDIAN);
            for (int i = 0; i < made.length && spec.type.width == 4; i += 4) {
                swapped.putInt(i, memory.getInt(i));
            }
        }
        return made;
    }

    private void putLevel(int to, byte level) {
        if (numbers != null) {
            numbers[to] = realOfLevel[level & 0xff];
        } else {
            bytes[to] = byteOfLevel[level & 0xff];
        }
    }

    private void flush() {
        if (numbers != null) {
            floats.clear();
            floats.put(numbers);
        } else {
            memory.clear();
            memory.put(bytes);
        }
        memory.clear();
    }
}

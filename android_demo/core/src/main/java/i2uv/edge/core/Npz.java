package i2uv.edge.core;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;

/** The arrays of a NumPy archive (npy format 1.0 to 3.0, little-endian, C order, plain numbers). */
public final class Npz {
    private static final Pattern TYPE = Pattern.compile("'descr':\\s*'([<|=]?)([a-z])(\\d)'");
    private static final Pattern ORDER = Pattern.compile("'fortran_order':\\s*False");
    private static final Pattern SHAPE = Pattern.compile("'shape':\\s*\\(([^)]*)\\)");

    /** One array: its shape and its numbers, in C order. */
    public static final class Array {
        public final int[] shape;
        private final char kind;
        private final int width;
        private final ByteBuffer content;

        private Array(int[] shape, char kind, int width, ByteBuffer content) {
            this.shape = shape;
            this.kind = kind;
            this.width = width;
            this.content = content;
        }

        public int size() {
            int size = 1;
            for (int length : shape) {
                size *= length;
            }
            return size;
        }

        public float[] floats() {
            float[] made = new float[size()];
            for (int i = 0; i < made.length; i++) {
                made[i] = (float) number(i);
            }
            return made;
        }

        /** Whole numbers; others lose what is behind the point. */
        public int[] ints() {
            int[] made = new int[size()];
            for (int i = 0; i < made.length; i++) {
                made[i] = (int) number(i);
            }
            return made;
        }

        /** The bytes as they are stored, for arrays of bytes. */
        public byte[] bytes() {
            byte[] made = new byte[size() * width];
            ByteBuffer copy = content.duplicate();
            copy.get(made);
            return made;
        }

        private double number(int i) {
            int at = i * width;
            if (kind == 'f') {
                return width == 4 ? content.getFloat(at) : content.getDouble(at);
            }
            if (width == 1) {
                return kind == 'i' ? content.get(at) : content.get(at) & 0xff;
            }
            if (width == 2) {
                return kind == 'i' ? content.getShort(at) : content.getShort(at) & 0xffff;
            }
            return width == 4 ? content.getInt(at) : content.getLong(at);
        }
    }

    private Npz() {}

    /**
     * Reads every array of an archive by its name.
     *
     * @throws IOException it is cut short, or holds something else.
     */
    public static Map<String, Array> read(InputStream stream) throws IOException {
        Map<String, Array> made = new LinkedHashMap<String, Array>();
        ZipInputStream archive = new ZipInputStream(stream);
        try {
            for (ZipEntry entry; (entry = archive.getNextEntry()) != null; ) {
                String name = entry.getName();
                if (!name.endsWith(".npy")) {
                    throw new IOException(name + " is no array");
                }
                String key = name.substring(0, name.length() - ".npy".length());
                made.put(key, array(Bytes.all(archive), name));
            }
        } finally {
            archive.close();
        }
        if (made.isEmpty()) {
            throw new IOException("there is no array in it, or it is no zip archive");
        }
        return Collections.unmodifiableMap(made);
    }

    private static Array array(byte[] file, String name) throws IOException {
        ByteBuffer content = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
        if (file.length < 12 || file[0] != (byte) 0x93 || file[1] != 'N' || file[5] != 'Y') {
            throw new IOException(name + " is no NumPy array");
        }
        boolean old = file[6] == 1; // its header has a length of two bytes, later ones of four
        int start = old ? 10 : 12;
        int length = old ? content.getShort(8) & 0xffff : content.getInt(8);
        if (length < 0 || start + length > file.length) {
            throw new IOException(name + " is cut short");
        }
        String header = new String(file, start, length, "ISO-8859-1");
        Matcher type = TYPE.matcher(header);
        Matcher shape = SHAPE.matcher(header);
        if (!type.find() || !shape.find() || !ORDER.matcher(header).find()) {
            throw new IOException(name + " is stored in another way: " + header.trim());
        }
        char kind = type.group(2).charAt(0);
        int width = Integer.parseInt(type.group(3));
        if (!known(kind, width)) {
            throw new IOException(name + " is of the type " + kind + width);
        }
        int[] sizes = sizes(shape.group(1));
        content.position(start + length);
        ByteBuffer numbers = content.slice().order(ByteOrder.LITTLE_ENDIAN);
        Array made = new Array(sizes, kind, width, numbers);
        if (numbers.remaining() != (long) made.size() * width) {
            throw new IOException(name + " holds " + numbers.remaining()
                    + " bytes, its header says " + (long) made.size() * width);
        }
        return made;
    }

    private static boolean known(char kind, int width) {
        if (kind == 'f') {
            return width == 4 || width == 8;
        }
        boolean power = width == 1 || width == 2 || width == 4 || width == 8;
        return kind == 'b' ? width == 1 : kind == 'i' && power || kind == 'u' && width <= 2;
    }

    private static int[] sizes(String text) {
        String packed = text.replace(" ", "");
        if (packed.isEmpty()) {
            return new int[0];
        }
        String[] parts = packed.split(",");
        int[] made = new int[parts.length];
        for (int i = 0; i < made.length; i++) {
            made[i] = Integer.parseInt(parts[i]);
        }
        return made;
    }
}

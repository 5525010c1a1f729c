package i2uv.edge.core;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Contents of files. */
public final class Bytes {
    private Bytes() {}

    /** Everything that a stream still holds. */
    public static byte[] all(InputStream stream) throws IOException {
        ByteArrayOutputStream made = new ByteArrayOutputStream();
        byte[] block = new byte[65536];
        for (int count; (count = stream.read(block)) > 0; ) {
            made.write(block, 0, count);
        }
        return made.toByteArray();
    }

    /** A copy as an interpreter takes it: direct, in the byte order of the machine. */
    public static ByteBuffer direct(byte[] content) {
        ByteBuffer made =
                ByteBuffer.allocateDirect(content.length).order(ByteOrder.nativeOrder());
        made.put(content);
        made.rewind();
        return made;
    }
}

package i2uv.edge.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Map;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.junit.Test;

public class NpzTest {
    private static byte[] npy(String type, String shape, byte[] content) throws IOException {
        String header =
                "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
        ByteArrayOutputStream made = new ByteArrayOutputStream();
        made.write(new byte[] {(byte) 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0});
        made.write(new byte[] {(byte) header.length(), (byte) (header.length() >> 8)});
        made.write(header.getBytes("ISO-8859-1"));
        made.write(content);
        return made.toByteArray();
    }

    private static Npz.Array only(byte[] file) throws IOException {
        ByteArrayOutputStream packed = new ByteArrayOutputStream();
        ZipOutputStream zip = new ZipOutputStream(packed);
        zip.putNextEntry(new ZipEntry("a.npy"));
        zip.write(file);
        zip.close();
        Map<String, Npz.Array> made = Npz.read(new ByteArrayInputStream(packed.toByteArray()));
        assertEquals(1, made.size());
        return made.get("a");
    }

    @Test
    public void numbersOfEachTypeAreRead() throws IOException {
        ByteBuffer pair = ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN);
        pair.putLong(0, -3).putLong(8, 70000);
        Npz.Array made = only(npy("<i8", "(2, 1)", pair.array()));
        assertArrayEquals(new int[] {2, 1}, made.shape);
        assertArrayEquals(new int[] {-3, 70000}, made.ints());
        pair.putDouble(0, -0.5).putDouble(8, 1e3);
        assertArrayEquals(
                new float[] {-0.5f, 1000f}, only(npy("<f8", "(2,)", pair.array())).floats(), 0f);
        byte[] two = {(byte) 200, 1};
        assertArrayEquals(new int[] {200, 1}, only(npy("|u1", "(2,)", two)).ints());
        assertArrayEquals(new int[] {-56, 1}, only(npy("|i1", "(2,)", two)).ints());
        assertArrayEquals(new int[] {1}, only(npy("|b1", "()", new byte[] {1})).ints());
    }

    @Test
    public void whatIsStoredInAnotherWayIsRefused() throws IOException {
        byte[][] wrong = {
            npy(">f4", "(1,)", new byte[4]),
            npy("<c8", "(1,)", new byte[8]),
            npy("<f4", "(2,)", new byte[4]),
            npy("<f4", "(1,)", new byte[5]),
            new byte[40],
            {(byte) 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, 127, 127, 0, 0},
        };
        for (byte[] file : wrong) {
            try {
                only(file);
            } catch (IOException expected) {
                continue;
            }
            fail("taken: " + new String(file, "ISO-8859-1"));
        }
    }

    @Test(expected = IOException.class)
    public void whatIsNoArchiveIsRefused() throws IOException {
        Npz.read(new ByteArrayInputStream(new byte[100]));
    }

    @Test
    public void anArchiveOfNumPyIsRead() {
        assertTrue(Vectors.get("tensor.real").size() == 192);
    }
}

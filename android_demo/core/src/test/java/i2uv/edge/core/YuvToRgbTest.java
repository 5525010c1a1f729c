package i2uv.edge.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.nio.ByteBuffer;
import org.junit.Test;

public class YuvToRgbTest {
    private static YuvToRgb.Plane plane(String name, int pixelStride) {
        Npz.Array found = Vectors.get(name);
        YuvToRgb.Plane made = new YuvToRgb.Plane();
        // The last row of a camera's plane ends with its last value.
        byte[] bytes = found.bytes();
        made.set(ByteBuffer.wrap(bytes, 0, bytes.length), found.shape[1], pixelStride);
        return made;
    }

    @Test
    public void everyTurnAndStrideIsPythonsToOneLevel() {
        int cases = 0;
        YuvToRgb converter = new YuvToRgb();
        Frame made = new Frame();
        for (; Vectors.has("camera." + cases + ".made"); cases++) {
            String name = "camera." + cases;
            int[] layout = Vectors.get(name + ".layout").ints();
            converter.convert(
                    plane(name + ".luma", 1), plane(name + ".u", layout[3]),
                    plane(name + ".v", layout[3]), layout[0], layout[1], layout[2], made);
            Npz.Array wanted = Vectors.get(name + ".made");
            assertArrayEquals(new int[] {made.height, made.width, 3}, wanted.shape);
            int apart = Vectors.apart(made.rgb, wanted.bytes());
            assertTrue(name + ": " + apart + " levels", apart <= 1);
        }
        assertEquals(4, cases);
    }

    @Test(expected = IllegalArgumentException.class)
    public void anOddPictureIsRefused() {
        YuvToRgb.Plane plane = new YuvToRgb.Plane();
        plane.set(ByteBuffer.allocate(100), 10, 1);
        new YuvToRgb().convert(plane, plane, plane, 9, 10, 0, new Frame());
    }
}

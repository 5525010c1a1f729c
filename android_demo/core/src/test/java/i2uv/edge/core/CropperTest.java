package i2uv.edge.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import org.junit.Test;

public class CropperTest {
    @Test
    public void everyCropIsPythonsToOneLevel() {
        int cases = 0;
        for (; Vectors.has("crop." + cases + ".made"); cases++) {
            Npz.Array wanted = Vectors.get("crop." + cases + ".made");
            int side = wanted.shape[0];
            byte[] made = new byte[3 * side * side];
            Frame picture = Vectors.frame("crop." + cases + ".picture");
            new Cropper(side).crop(picture, Vectors.box("crop." + cases + ".box"), made);
            int apart = Vectors.apart(made, wanted.bytes());
            assertTrue("case " + cases + ": " + apart + " levels", apart <= 1);
            // OpenCV grows pictures in fixed point, which is not without bias itself.
            boolean grows = Vectors.box("crop." + cases + ".box").side < side;
            double limit = grows ? 0.2 : 0.02;
            double bias = bias(made, wanted.bytes());
            assertTrue("case " + cases + ": " + bias + " levels on average", bias < limit);
        }
        assertTrue(cases >= 8);
    }

    /** Half a level where rounding always goes one way. */
    private static double bias(byte[] one, byte[] other) {
        long sum = 0;
        for (int i = 0; i < one.length; i++) {
            sum += (one[i] & 0xff) - (other[i] & 0xff);
        }
        return Math.abs((double) sum / one.length);
    }

    @Test
    public void aSecondCropDoesNotSeeTheFirst() {
        Frame white = new Frame();
        white.resize(64, 64);
        java.util.Arrays.fill(white.rgb, (byte) 255);
        Cropper cropper = new Cropper(16);
        byte[] first = new byte[3 * 16 * 16];
        cropper.crop(white, new Box(0, 0, 64), first);
        byte[] second = new byte[first.length];
        cropper.crop(white, new Box(-32, -32, 64), second);
        assertEquals(255, first[0] & 0xff);
        assertEquals(0, second[0]);
        assertEquals(0, second[3 * 15]); // beside the picture
        assertEquals(0, second[3 * 16 * 15]);
        assertEquals(255, second[second.length - 1] & 0xff);
    }

    @Test(expected = IllegalArgumentException.class)
    public void aBoxBesideThePictureIsRefused() {
        Frame picture = new Frame();
        picture.resize(10, 10);
        new Cropper(4).crop(picture, new Box(10, 0, 5), new byte[48]);
    }

    @Test
    public void boxesAreCentredAsPythonDoesIt() {
        Box box = new Box();
        box.whole(3, 6);
        assertEquals("-2 0 6", box.left + " " + box.top + " " + box.side);
        box.inside(7, 4);
        assertEquals("1 0 4", box.left + " " + box.top + " " + box.side);
    }
}

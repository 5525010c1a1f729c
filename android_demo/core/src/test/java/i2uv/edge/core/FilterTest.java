package i2uv.edge.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;

import org.junit.Test;

public class FilterTest {
    @Test
    public void theFilterIsThatOfThePaper() {
        float[] values = Vectors.get("filter.values").floats();
        float[] wanted = Vectors.get("filter.made").floats();
        int count = Vectors.get("filter.values").shape[1];
        double[] times = new double[values.length / count];
        float[] rough = Vectors.get("filter.times").floats();
        OneEuro filter = new OneEuro(count, 1.5f, 0.02f);
        float[] row = new float[count];
        for (int t = 0; t < times.length; t++) {
            System.arraycopy(values, t * count, row, 0, count);
            filter.filter(row, rough[t]);
            float[] expected = java.util.Arrays.copyOfRange(wanted, t * count, (t + 1) * count);
            assertEquals("row " + t, 0, Vectors.apart(row, expected), 1e-2);
        }
    }

    @Test
    public void afterAResetTheNextValuesPass() {
        OneEuro filter = new OneEuro(1, 1f, 0f);
        filter.filter(new float[] {0}, 1);
        float[] moved = {10};
        filter.filter(moved, 1.03);
        assertTrue(moved[0] > 0 && moved[0] < 5);
        filter.reset();
        moved[0] = 10;
        filter.filter(moved, 1.06);
        assertEquals(10, moved[0], 0);
    }

    @Test
    public void aClockThatStandsStillLetsValuesPass() {
        OneEuro filter = new OneEuro(1, 1f, 0f);
        filter.filter(new float[] {0}, 2);
        float[] next = {7};
        filter.filter(next, 2);
        assertEquals(7, next[0], 0);
    }

    @Test
    public void ratesAreMeansThatAPauseDoesNotDisturb() {
        Rate rate = new Rate(2);
        assertEquals(0, rate.perSecond(), 0);
        for (long t = 1; t <= 50; t++) {
            rate.frame(t * 40000000L);
            rate.stage(1, 3000000);
        }
        assertEquals(25, rate.perSecond(), 1e-6);
        assertEquals(3, rate.milliseconds(1), 1e-9);
        rate.pause();
        rate.frame(900L * 1000000000L);
        assertEquals(25, rate.perSecond(), 1e-6);
    }

    @Test
    public void aPictureIsFittedIntoAView() {
        Viewport view = new Viewport();
        view.fit(640, 480, 1000, 1000, false);
        assertArrayEquals(new float[] {-1, 1}, ends(view, 640, true), 1e-6f);
        assertArrayEquals(new float[] {0.75f, -0.75f}, ends(view, 480, false), 1e-6f);
        view.fit(640, 480, 1000, 1000, true);
        assertArrayEquals(new float[] {1, -1}, ends(view, 640, true), 1e-6f);
    }

    private static float[] ends(Viewport view, int length, boolean across) {
        float scale = across ? view.scaleX : view.scaleY;
        float shift = across ? view.shiftX : view.shiftY;
        return new float[] {shift, length * scale + shift};
    }

    @Test
    public void aHandIsFollowedUntilItIsLost() {
        Follower follower = new Follower(1.25f);
        Box guide = new Box(80, 0, 480);
        Box next = new Box();
        float[] hand = {200, 100, 0, 360, 300, 0};
        assertTrue(follower.next(hand, 640, 480, guide, next));
        assertEquals("155 75 250", next.left + " " + next.top + " " + next.side);
        float[] speck = {200, 100, 0, 210, 110, 0};
        assertFalse(follower.next(speck, 640, 480, guide, next));
        assertEquals("80 0 480", next.left + " " + next.top + " " + next.side);
        float[] outside = {600, 100, 0, 900, 300, 0};
        assertFalse(follower.next(outside, 640, 480, guide, next));
        float[] broken = {Float.NaN, 100, 0, 300, 300, 0};
        assertFalse(follower.next(broken, 640, 480, guide, next));
    }
}

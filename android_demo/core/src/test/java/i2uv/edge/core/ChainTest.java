package i2uv.edge.core;

import static org.junit.Assert.assertArrayEquals;

import org.junit.Test;

public class ChainTest {
    private final Chain chain = new Chain(-0.25f, 1.25f, 1e-3f);

    @Test
    public void eachAxisGoesFromItsLeastToItsGreatestVertex() {
        chain.measure(new float[] {1, 10, -1, 3, 20, 1});
        float[] map = {1, 10, -1, 3, 20, 1, 2, 15, 0};
        chain.normalise(map);
        float[] wanted = {0, 0, 0, 1, 1, 1, 0.5f, 0.5f, 0.5f};
        assertArrayEquals(wanted, map, 1e-6f);
        chain.restore(map);
        assertArrayEquals(new float[] {1, 10, -1, 3, 20, 1, 2, 15, 0}, map, 1e-5f);
    }

    @Test
    public void whatLiesFarBetweenVerticesIsClipped() {
        chain.measure(new float[] {0, 0, 0, 1, 1, 1});
        float[] map = {-3, 0.5f, 1.2f, 1.3f, -0.2f, -0.3f};
        chain.normalise(map);
        assertArrayEquals(new float[] {-0.25f, 0.5f, 1.2f, 1.25f, -0.2f, -0.25f}, map, 1e-6f);
    }

    @Test
    public void aFlatHandIsNotBlownUp() {
        chain.measure(new float[] {0, 0, 0.5f, 1, 1, 0.5f});
        float[] map = {0, 0, 0.5001f};
        chain.normalise(map);
        assertArrayEquals(new float[] {0, 0, 0.1f}, map, 1e-3f);
    }
}

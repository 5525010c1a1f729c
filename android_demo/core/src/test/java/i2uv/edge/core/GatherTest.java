package i2uv.edge.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import i2uv.edge.host.FolderFiles;
import org.junit.BeforeClass;
import org.junit.Test;

/** From maps to what is drawn, against Python: everything to a hundredth of a millimetre. */
public class GatherTest {
    private static final int SAMPLES = 4;
    private static final double UNIT_MM = 250; // more than a crop ever is wide
    private static final double LIMIT = 0.01 / UNIT_MM;

    private static Bundle bundle;

    @BeforeClass
    public static void open() throws BundleException {
        bundle = Bundle.open(new FolderFiles(Vectors.bundle()));
    }

    private static float[] floats(int sample, String part) {
        return Vectors.get("chain." + sample + "." + part).floats();
    }

    @Test
    public void coarseVerticesArePythons() {
        for (int sample = 0; sample < SAMPLES; sample++) {
            float[] made = new float[3 * bundle.coarse.vertices];
            bundle.coarse.read(floats(sample, "affinenet"), made);
            assertEquals(0, Vectors.apart(made, floats(sample, "coarse")), LIMIT);
        }
    }

    @Test
    public void whatSrnetIsFedIsPythons() {
        for (int sample = 0; sample < SAMPLES; sample++) {
            float[] map = floats(sample, "affinenet");
            bundle.chain.measure(floats(sample, "coarse"));
            bundle.chain.normalise(map);
            assertEquals(0, Vectors.apart(map, floats(sample, "feed")), 1e-5);
        }
    }

    @Test
    public void fineVerticesArePythonsThoughTheyAreGatheredBeforeTheyAreRestored() {
        for (int sample = 0; sample < SAMPLES; sample++) {
            float[] made = new float[3 * bundle.fine.vertices];
            bundle.chain.measure(floats(sample, "coarse"));
            bundle.fine.read(floats(sample, "srnet"), made);
            bundle.chain.restore(made);
            assertEquals(0, Vectors.apart(made, floats(sample, "vertices")), LIMIT);
        }
    }

    @Test
    public void verticesAreSeenInThePictureWherePythonSeesThem() {
        for (int sample = 0; sample < SAMPLES; sample++) {
            Box box = Vectors.box("chain." + sample + ".box");
            float[] made = new float[3 * bundle.fine.vertices];
            Mesh.place(floats(sample, "vertices"), box, false, made);
            double pixelMm = UNIT_MM / box.side;
            assertEquals(0, pixelMm * Vectors.apart(made, floats(sample, "placed")), 0.01);
        }
    }

    @Test
    public void normalsArePythons() {
        for (int sample = 0; sample < SAMPLES; sample++) {
            float[] placed = floats(sample, "placed");
            float[] made = new float[placed.length];
            Mesh.normals(placed, bundle.fine.faces, false, made);
            float[] wanted = floats(sample, "normals");
            double worst = 0;
            for (int i = 0; i < made.length; i += 3) {
                double cosine = made[i] * wanted[i] + made[i + 1] * wanted[i + 1]
                        + made[i + 2] * wanted[i + 2];
                worst = Math.max(worst, Math.toDegrees(Math.acos(Math.min(1, cosine))));
            }
            assertTrue(worst + " degrees", worst < 0.5);
        }
    }

    @Test
    public void aMirroredMeshIsTheMirrorImageWithNormalsOutward() {
        Box box = new Box(10, 20, 300);
        float[] vertices = floats(0, "vertices");
        float[] right = new float[vertices.length];
        float[] left = new float[vertices.length];
        Mesh.place(vertices, box, false, right);
        Mesh.place(vertices, box, true, left);
        float[] ofRight = new float[vertices.length];
        float[] ofLeft = new float[vertices.length];
        Mesh.normals(right, bundle.fine.faces, false, ofRight);
        Mesh.normals(left, bundle.fine.faces, true, ofLeft);
        for (int i = 0; i < vertices.length; i += 3) {
            assertEquals(2 * box.left + box.side - right[i], left[i], 1e-3);
            assertEquals(right[i + 1], left[i + 1], 0);
            assertEquals(-ofRight[i], ofLeft[i], 2e-3);
            assertEquals(ofRight[i + 2], ofLeft[i + 2], 2e-3);
        }
    }

    @Test
    public void aHandIsSomeTwoHundredMillimetresToAMapUnit() {
        double unit = bundle.fine.unitMillimetres(floats(0, "vertices"));
        assertTrue("" + unit, unit > 120 && unit < 320);
    }
}

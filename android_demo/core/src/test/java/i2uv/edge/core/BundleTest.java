package i2uv.edge.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import i2uv.edge.host.FolderFiles;
import java.io.ByteArrayInputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.Map;
import org.junit.Test;

public class BundleTest {
    /** The bundle with some files exchanged. */
    private static final class Changed implements BundleFiles {
        final Map<String, byte[]> changed = new HashMap<String, byte[]>();
        private final BundleFiles files = new FolderFiles(Vectors.bundle());

        Changed without(String path) {
            changed.put(path, null);
            return this;
        }

        Changed with(String path, byte[] content) {
            changed.put(path, content);
            return this;
        }

        Changed text(String old, String other) throws IOException {
            String text = new String(Bytes.all(files.open(Bundle.MANIFEST)), "UTF-8");
            assertTrue(old, text.contains(old));
            return with(Bundle.MANIFEST, text.replace(old, other).getBytes("UTF-8"));
        }

        @Override
        public InputStream open(String path) throws IOException {
            if (!changed.containsKey(path)) {
                return files.open(path);
            }
            if (changed.get(path) == null) {
                throw new FileNotFoundException(path);
            }
            return new ByteArrayInputStream(changed.get(path));
        }

        @Override
        public ByteBuffer map(String path) throws IOException {
            return Bytes.direct(Bytes.all(open(path)));
        }

        @Override
        public String[] list(String folder) throws IOException {
            return files.list(folder);
        }
    }

    private static void refused(BundleFiles files, String... words) {
        try {
            Bundle.open(files).golden();
        } catch (BundleException error) {
            for (String word : words) {
                assertTrue(error.getMessage(), error.getMessage().contains(word));
            }
            assertTrue(error.getMessage(), error.getMessage().contains("to do: "));
            return;
        }
        fail("taken, though it should say " + java.util.Arrays.toString(words));
    }

    @Test
    public void aBundleIsOpenedWithAllThatAnAppNeeds() throws BundleException {
        Bundle bundle = Bundle.open(new FolderFiles(Vectors.bundle()));
        assertEquals(64, bundle.sha256.length());
        assertEquals(256, bundle.affinenet.input.side());
        assertNotNull(bundle.srnet);
        assertEquals(bundle.srnet.output.side(), bundle.fine.mapSide);
        assertEquals(4, bundle.golden().size());
        assertTrue(bundle.pictures().contains("00000"));
        assertTrue(bundle.margin > 1 && bundle.margin < 1.5);
    }

    @Test
    public void missingFilesAreNamed() {
        for (String path : new String[] {
            Bundle.MANIFEST, "affinenet.tflite", "srnet.tflite", "atlas.npz", "golden/dump.json",
            "golden/0000.vertices.bin",
        }) {
            refused(new Changed().without(path), "there is no " + path);
        }
    }

    @Test
    public void damagedFilesAreNamedWithTheirHash() {
        for (String path : new String[] {"affinenet.tflite", "srnet.tflite", "atlas.npz"}) {
            Changed files = new Changed().with(path, new byte[] {1, 2, 3});
            refused(files, path + " is damaged", "039058c6");
        }
    }

    @Test
    public void aManifestOfAnotherVersionIsRefused() throws IOException {
        refused(new Changed().text("\"schema\": 1", "\"schema\": 2"), "schema 2", "one version");
    }

    @Test
    public void whatTheAppDoesNotKnowIsRefusedByName() throws IOException {
        String[][] changes = {
            {"min-max of the read vertices, per axis", "by the bone", "normalisation"},
            {"\"colour\": \"RGB\"", "\"colour\": \"BGR\"", "preprocess.colour"},
            {"\"size\": 256", "\"size\": 224", "preprocess.size"},
            {"\"dtype\": \"float32\"", "\"dtype\": \"float16\"", "dtype is float16"},
            {"\"layout\": \"NHWC\"", "\"layout\": \"NCHW\"", "layout is NCHW"},
            {"(cv2.INTER_AREA)", "(Lanczos)", "preprocess.interpolation"},
            {"\"minimum_span\": 0.001", "\"minimum_span\": \"small\"", "minimum_span is a String"},
            {"\"recipe\": {", "\"recipes\": {", "manifest.json.recipe is missing"},
        };
        for (String[] change : changes) {
            refused(new Changed().text(change[0], change[1]), change[2]);
        }
    }

    @Test
    public void aManifestThatIsCutShortIsRefused() throws IOException {
        byte[] half = "{\"schema\": 1, \"artifacts\": [".getBytes("UTF-8");
        refused(new Changed().with(Bundle.MANIFEST, half), "no JSON at character");
    }
}

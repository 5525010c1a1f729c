package i2uv.edge.core;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * A placed bundle: what its manifest says, and its files, each checked by its hash before it is
 * used. A model without an SRNet is one network; its vertices are those of the coarse map.
 */
public final class Bundle {
    public static final String MANIFEST = "manifest.json";
    static final String ATLAS = "atlas.npz";
    static final String REMEDY = "export the bundle again and place it with place_bundle.py";
    private static final int SCHEMA = 1;
    private static final String INTERPOLATION =
            "8-bit: area when shrinking (cv2.INTER_AREA), else bilinear; half-pixel";

    /** One network: its file, and how that stores its one input and its one output. */
    public static final class Model {
        public final String file;
        public final TensorSpec input;
        public final TensorSpec output;
        public final ByteBuffer content;

        private Model(String file, TensorSpec input, TensorSpec output, ByteBuffer content) {
            this.file = file;
            this.input = input;
            this.output = output;
            this.content = content;
        }
    }

    /** The manifest's own hash: it names the bundle. */
    public final String sha256;

    public final String name;
    public final String recipe;
    public final Model affinenet;

    /** Null where the model has none. */
    public final Model srnet;

    public final Atlas coarse;

    /** Of the last map. */
    public final Atlas fine;

    /** Null where the model has no SRNet. */
    public final Chain chain;

    /** The side of a crop in sides of the hand, the middle of what the networks were trained on. */
    public final float margin;

    private final BundleFiles files;
    private final Map<String, String> hashes = new HashMap<String, String>();

    private Bundle(BundleFiles files) throws BundleException {
        this.files = files;
        byte[] manifest = content(MANIFEST);
        sha256 = hex(digest().digest(manifest));
        Fields fields = document(manifest);
        if (fields.whole("schema") != SCHEMA) {
            throw new BundleException(
                    MANIFEST + " is of schema " + fields.whole("schema"),
                    "schema " + SCHEMA,
                    "use the app and the toolkit of one version");
        }
        for (Fields artifact : fields.objects("artifacts")) {
            hashes.put(artifact.text("path"), artifact.text("sha256"));
        }
        name = fields.text("model");
        recipe = fields.object("recipe").text("name");
        margin = preprocessing(fields.object("preprocess"));
        Fields networks = fields.object("networks");
        affinenet = model(networks, "affinenet");
        srnet = networks.has("srnet") ? model(networks, "srnet") : null;
        int picture = fields.object("preprocess").whole("size");
        if (picture != affinenet.input.side()) {
            throw fields.fault(
                    "preprocess.size", "" + picture, "the input's " + affinenet.input.side());
        }
        Map<String, Npz.Array> arrays = atlases();
        if (srnet == null) {
            chain = null;
            coarse = Atlas.of(arrays, "", affinenet.output.side());
            fine = coarse;
        } else {
            if (srnet.input.side() != affinenet.output.side()) {
                throw networks.fault("srnet", "of another size", "AffineNet's map as its input");
            }
            chain = Chain.of(fields.object("chain"));
            coarse = Atlas.of(arrays, "affinenet_", affinenet.output.side());
            fine = Atlas.of(arrays, "", srnet.output.side());
        }
    }

    /**
     * Opens a bundle and checks what an app needs of it.
     *
     * @throws BundleException a file is missing or damaged, or of a version that is not known.
     */
    public static Bundle open(BundleFiles files) throws BundleException {
        return new Bundle(files);
    }

    /** The ids of the pictures that were placed with the bundle: still pictures, and for a dump. */
    public List<String> pictures() throws BundleException {
        List<String> ids = new ArrayList<String>();
        try {
            for (String file : files.list("eval")) {
                if (file.endsWith(".jpg")) {
                    ids.add(file.substring(0, file.length() - ".jpg".length()));
                }
            }
        } catch (IOException error) {
            throw unreadable("eval", error);
        }
        return ids;
    }

    /** The JPEG file of a picture. */
    public byte[] picture(String id) throws BundleException {
        return checked("eval/" + id + ".jpg");
    }

    /** A sample to test a runtime with: what goes in, and the vertices that should come out. */
    public static final class Golden {
        public final String id;
        public final byte[] picture;
        public final float[] vertices;

        private Golden(String id, byte[] picture, float[] vertices) {
            this.id = id;
            this.picture = picture;
            this.vertices = vertices;
        }
    }

    /** The golden samples that were placed. */
    public List<Golden> golden() throws BundleException {
        Fields dump = document("golden/dump.json", checked("golden/dump.json"));
        List<Golden> made = new ArrayList<Golden>();
        for (Fields sample : dump.objects("samples")) {
            int side = affinenet.input.side();
            byte[] picture = tensor(sample.object("input"), "uint8", 3 * side * side);
            byte[] packed = tensor(sample.object("vertices"), "float32", 12 * fine.vertices);
            float[] vertices = new float[3 * fine.vertices];
            ByteBuffer floats = ByteBuffer.wrap(packed).order(ByteOrder.LITTLE_ENDIAN);
            floats.asFloatBuffer().get(vertices);
            made.add(new Golden(sample.text("id"), picture, vertices));
        }
        return made;
    }

    private byte[] tensor(Fields entry, String type, int bytes) throws BundleException {
        byte[] found = checked("golden/" + entry.text("file"));
        if (!entry.text("dtype").equals(type) || found.length != bytes) {
            throw entry.fault("file", found.length + " bytes of " + entry.text("dtype"),
                    bytes + " bytes of " + type);
        }
        return found;
    }

    private static float preprocessing(Fields fields) throws BundleException {
        if (!fields.text("colour").equals("RGB")) {
            throw fields.fault("colour", fields.text("colour"), "RGB");
        }
        if (!fields.text("interpolation").equals(INTERPOLATION)) {
            throw fields.fault("interpolation", fields.text("interpolation"), INTERPOLATION);
        }
        if (!Arrays.equals(fields.numbers("range"), new double[] {0, 1})) {
            throw fields.fault("range", Arrays.toString(fields.numbers("range")), "0 to 1");
        }
        double[] margin = fields.numbers("margin");
        if (margin.length != 2 || !(margin[0] >= 1 && margin[1] >= margin[0])) {
            throw fields.fault("margin", Arrays.toString(margin), "the least and the greatest");
        }
        return (float) (margin[0] + margin[1]) / 2;
    }

    private Model model(Fields networks, String role) throws BundleException {
        Fields network = networks.object(role);
        Fields[] inputs = network.objects("inputs");
        Fields[] outputs = network.objects("outputs");
        if (inputs.length != 1 || outputs.length != 1) {
            throw networks.fault(role, "of " + inputs.length + " inputs and " + outputs.length
                    + " outputs", "one picture or map in and one map out");
        }
        String file = role + ".tflite";
        return new Model(file, TensorSpec.of(inputs[0]), TensorSpec.of(outputs[0]), mapped(file));
    }

    private Map<String, Npz.Array> atlases() throws BundleException {
        try {
            return Npz.read(new java.io.ByteArrayInputStream(checked(ATLAS)));
        } catch (IOException error) {
            throw unreadable(ATLAS, error);
        }
    }

    private byte[] checked(String path) throws BundleException {
        byte[] found = content(path);
        check(path, digest().digest(found));
        return found;
    }

    private ByteBuffer mapped(String path) throws BundleException {
        try {
            ByteBuffer found = files.map(path);
            MessageDigest digest = digest();
            digest.update(found.duplicate());
            check(path, digest.digest());
            return found;
        } catch (IOException error) {
            throw unreadable(path, error);
        }
    }

    private void check(String path, byte[] digest) throws BundleException {
        String listed = hashes.get(path);
        String found = hex(digest);
        if (!found.equals(listed)) {
            throw new BundleException(
                    path + " is damaged or of another bundle: its sha256 is " + found,
                    listed == null ? "a file that " + MANIFEST + " lists" : listed,
                    REMEDY);
        }
    }

    private byte[] content(String path) throws BundleException {
        try {
            InputStream stream = files.open(path);
            try {
                return Bytes.all(stream);
            } finally {
                stream.close();
            }
        } catch (IOException error) {
            throw unreadable(path, error);
        }
    }

    private static Fields document(byte[] content) throws BundleException {
        return document(MANIFEST, content);
    }

    private static Fields document(String path, byte[] content) throws BundleException {
        try {
            return Fields.of(Json.parse(new String(content, "UTF-8")), path);
        } catch (IllegalArgumentException error) {
            throw new BundleException(
                    path + ": " + error.getMessage(), "a document", REMEDY, error);
        } catch (java.io.UnsupportedEncodingException error) {
            throw new IllegalStateException(error);
        }
    }

    private static BundleException unreadable(String path, IOException error) {
        boolean missing = error instanceof FileNotFoundException;
        return new BundleException(
                missing ? "there is no " + path : path + " cannot be read: " + error.getMessage(),
                "a bundle in the app's assets",
                REMEDY,
                error);
    }

    private static MessageDigest digest() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error); // every Android and every JVM has it
        }
    }

    private static String hex(byte[] digest) {
        StringBuilder made = new StringBuilder();
        for (byte value : digest) {
            made.append(Character.forDigit(value >> 4 & 15, 16));
            made.append(Character.forDigit(value & 15, 16));
        }
        return made.toString();
    }
}

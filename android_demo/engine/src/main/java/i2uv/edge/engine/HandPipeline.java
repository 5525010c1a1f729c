package i2uv.edge.engine;

import i2uv.edge.core.Box;
import i2uv.edge.core.Bundle;
import i2uv.edge.core.Cropper;
import i2uv.edge.core.Dump;
import i2uv.edge.core.Frame;
import i2uv.edge.core.Mesh;
import i2uv.edge.core.OneEuro;
import i2uv.edge.core.Rate;
import java.io.IOException;

/**
 * A picture in, a mesh out: crop, AffineNet, SRNet, gather, filter, normals.
 *
 * <p>For one thread. After the first picture of a size nothing is allocated here; what a runtime
 * allocates in {@code run} is its own.
 */
public final class HandPipeline {
    /** What is timed; CONVERT is for who makes the frame. */
    public enum Stage {
        CONVERT("convert"),
        CROP("crop"),
        AFFINENET("AffineNet"),
        BETWEEN("between"),
        SRNET("SRNet"),
        MESH("mesh");

        public final String label;

        Stage(String label) {
            this.label = label;
        }
    }

    private static final float MIN_CUTOFF = 1.5f; // Hz
    private static final float BETA = 0.02f; // Hz for each pixel a second

    /** Means of the last frames. */
    public final Rate rate = new Rate(Stage.values().length);

    private final Bundle bundle;
    private final Network affinenet;
    private final Network srnet;
    private final Cropper cropper;
    private final byte[] picture;
    private final float[] coarseMap;
    private final float[] fineMap;
    private final float[] coarse;
    private final float[] vertices;
    private final float[] placed;
    private final float[] normals;
    private final OneEuro filter;
    private boolean mirrored;

    private HandPipeline(Bundle bundle, Network affinenet, Network srnet) {
        this.bundle = bundle;
        this.affinenet = affinenet;
        this.srnet = srnet;
        int side = bundle.affinenet.input.side();
        cropper = new Cropper(side);
        picture = new byte[3 * side * side];
        coarseMap = new float[bundle.affinenet.output.size()];
        coarse = new float[3 * bundle.coarse.vertices];
        fineMap = srnet == null ? coarseMap : new float[bundle.srnet.output.size()];
        vertices = srnet == null ? coarse : new float[3 * bundle.fine.vertices];
        placed = new float[vertices.length];
        normals = new float[vertices.length];
        filter = new OneEuro(placed.length, MIN_CUTOFF, BETA);
    }

    /** Loads the networks of a bundle; if the second fails, the first is closed again. */
    public static HandPipeline load(Bundle bundle, NetworkLoader loader, Attempt attempt)
            throws LoadException {
        Network first = loader.load(bundle.affinenet, attempt);
        Network second = null;
        boolean done = false;
        try {
            second = bundle.srnet == null ? null : loader.load(bundle.srnet, attempt);
            done = true;
        } finally {
            if (!done) {
                first.close();
            }
        }
        return new HandPipeline(bundle, first, second);
    }

    /**
     * Finds the hand in a square of a picture.
     *
     * @param mirror the hand is a left one: the networks know right hands.
     * @param smooth filter over time; else each picture stands for itself.
     * @param nanos the time of the picture.
     */
    public void run(Frame frame, Box box, boolean mirror, boolean smooth, long nanos) {
        long start = System.nanoTime();
        cropper.crop(frame, box, picture);
        mirrored = mirror;
        affinenet.input.putPicture(picture, mirror);
        long now = timed(Stage.CROP, start);
        now = networks(now);
        Mesh.place(vertices, box, mirror, placed);
        if (smooth) {
            filter.filter(placed, nanos / 1e9);
        } else {
            filter.reset();
        }
        Mesh.normals(placed, bundle.fine.faces, mirror, normals);
        now = timed(Stage.MESH, now);
        rate.frame(now);
    }

    /** Finds the hand in a picture that is cropped already; only {@link #vertices} are made. */
    public void runPicture(byte[] rgb) {
        System.arraycopy(rgb, 0, picture, 0, picture.length);
        mirrored = false;
        affinenet.input.putPicture(picture, false);
        networks(System.nanoTime());
    }

    /** (V, 3) of the last picture, crop sides, as the networks gave them. */
    public float[] vertices() {
        return vertices;
    }

    /** (V, 3) of the last frame, pixels of it; filtered, if that was asked for. */
    public float[] placed() {
        return placed;
    }

    /** (V, 3) unit normals of {@link #placed}. */
    public float[] normals() {
        return normals;
    }

    /** Lets the time between two frames not count: the app was away. */
    public void pause() {
        filter.reset();
        rate.pause();
    }

    /**
     * Adds what the last picture came to.
     *
     * @throws IllegalStateException it was mirrored, which no desktop does.
     */
    public void dump(Dump dump) throws IOException {
        if (mirrored) {
            throw new IllegalStateException("a mirrored picture cannot be compared");
        }
        dump.picture(picture, bundle.affinenet.input.side());
        dump.tensor("affinenet", affinenet.output);
        if (srnet != null) {
            // As the desktop has it: a map in crop sides, which no scale of a tensor can express.
            srnet.output.get(fineMap);
            bundle.chain.restore(fineMap);
            dump.values("srnet", fineMap, bundle.srnet.output.shape);
        }
        dump.values("vertices", vertices, new int[] {vertices.length / 3, 3});
    }

    /** Gives back what the runtime holds. */
    public void close() {
        affinenet.close();
        if (srnet != null) {
            srnet.close();
        }
    }

    private long networks(long start) {
        affinenet.run();
        long now = timed(Stage.AFFINENET, start);
        affinenet.output.get(coarseMap);
        bundle.coarse.read(coarseMap, coarse);
        if (srnet == null) {
            return timed(Stage.BETWEEN, now);
        }
        bundle.chain.measure(coarse);
        bundle.chain.normalise(coarseMap);
        srnet.input.put(coarseMap);
        now = timed(Stage.BETWEEN, now);
        srnet.run();
        now = timed(Stage.SRNET, now);
        srnet.output.get(fineMap);
        bundle.fine.read(fineMap, vertices);
        bundle.chain.restore(vertices);
        return now;
    }

    private long timed(Stage stage, long since) {
        long now = System.nanoTime();
        rate.stage(stage.ordinal(), now - since);
        return now;
    }
}

package i2uv.edge.engine;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import i2uv.edge.core.Box;
import i2uv.edge.core.Bundle;
import i2uv.edge.core.BundleException;
import i2uv.edge.core.Frame;
import i2uv.edge.core.Vectors;
import i2uv.edge.core.YuvToRgb;
import i2uv.edge.host.FolderFiles;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Random;
import org.junit.Before;
import org.junit.Test;

public class PipelineTest {
    private static final int SAMPLES = 4;

    private final Replay replay = new Replay();
    private Bundle bundle;

    @Before
    public void open() throws BundleException {
        bundle = Bundle.open(new FolderFiles(Vectors.bundle()));
    }

    @Test
    public void goldenPicturesComeOutAsGoldenVertices() throws Exception {
        HandPipeline pipeline = HandPipeline.load(bundle, replay, Attempt.CPU);
        for (int i = 0; i < SAMPLES; i++) {
            replay.next(i);
            Bundle.Golden golden = bundle.golden().get(i);
            pipeline.runPicture(golden.picture);
            double mm = 250 * Vectors.apart(pipeline.vertices(), golden.vertices);
            assertTrue(golden.id + ": " + mm + " mm", mm < 0.01);
        }
        pipeline.close();
        assertEquals(0, replay.open);
    }

    @Test
    public void aFrameGoesThroughCropAndNetworksToTheSameVertices() throws Exception {
        HandPipeline pipeline = HandPipeline.load(bundle, replay, Attempt.CPU);
        Bundle.Golden golden = bundle.golden().get(0);
        Frame frame = new Frame();
        frame.resize(bundle.affinenet.input.side(), bundle.affinenet.input.side());
        frame.rgb = golden.picture.clone();
        Box box = new Box(0, 0, frame.width);
        pipeline.run(frame, box, false, true, 1);
        float[] placed = pipeline.placed();
        for (int i = 0; i < placed.length; i += 3) {
            assertEquals(golden.vertices[i] * frame.width, placed[i], 1e-2);
            assertEquals(golden.vertices[i + 1] * frame.width, placed[i + 1], 1e-2);
        }
        assertEquals(2, replay.runs);
    }

    @Test
    public void aSecondNetworkThatFailsLeavesNoneOpen() throws Exception {
        replay.refused = Attempt.GPU;
        replay.refusedFile = "srnet";
        try {
            HandPipeline.load(bundle, replay, Attempt.GPU);
        } catch (LoadException expected) {
            assertEquals(0, replay.open);
            return;
        }
        throw new AssertionError("loaded");
    }

    /** A camera's frame of 640 x 480, and the time of what is not the networks'. */
    private final class Camera {
        final YuvToRgb converter = new YuvToRgb();
        final YuvToRgb.Plane y = plane(640, 480, 1);
        final YuvToRgb.Plane u = plane(640, 240, 2);
        final YuvToRgb.Plane v = plane(640, 240, 2);
        final Frame frame = new Frame();
        final Box box = new Box(0, 80, 480);
        final HandPipeline pipeline;
        long nanos;

        Camera() throws LoadException {
            replay.careless = true; // noise was not among the golden samples
            pipeline = HandPipeline.load(bundle, replay, Attempt.CPU);
        }

        private YuvToRgb.Plane plane(int stride, int rows, int step) {
            byte[] noise = new byte[stride * rows];
            new Random(1).nextBytes(noise);
            YuvToRgb.Plane made = new YuvToRgb.Plane();
            ByteBuffer bytes = ByteBuffer.allocateDirect(noise.length);
            bytes.put(noise);
            made.set(bytes, stride, step);
            return made;
        }

        void run() {
            converter.convert(y, u, v, 640, 480, 1, frame);
            nanos += 33000000;
            pipeline.run(frame, box, true, true, nanos);
        }
    }

    @Test
    public void nothingIsAllocatedForAFrame() throws Exception {
        com.sun.management.ThreadMXBean threads =
                (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
        Camera camera = new Camera();
        long self = Thread.currentThread().getId();
        for (int i = 0; i < 50; i++) {
            camera.run();
            threads.getThreadAllocatedBytes(self);
        }
        // The machine itself may take some bytes once, when it compiles; a frame takes them always.
        long least = Long.MAX_VALUE;
        for (int round = 0; round < 5; round++) {
            long before = threads.getThreadAllocatedBytes(self);
            for (int i = 0; i < 100; i++) {
                camera.run();
            }
            least = Math.min(least, threads.getThreadAllocatedBytes(self) - before);
        }
        assertEquals("bytes in 100 frames", 0, least);
    }

    @Test
    public void beforeAndAfterTheNetworksTakesFourMilliseconds() throws Exception {
        Camera camera = new Camera();
        java.lang.management.ThreadMXBean threads = ManagementFactory.getThreadMXBean();
        for (int i = 0; i < 400; i++) {
            camera.run();
        }
        // Time of the processor, not of the clock: others may be at work on this machine. Of a few
        // rounds the best: the compiler, too, may have to wait for them.
        double[] milliseconds = new double[100];
        double median = Double.MAX_VALUE;
        double clock = Double.MAX_VALUE;
        for (int round = 0; round < 5; round++) {
            long start = System.nanoTime();
            for (int i = 0; i < milliseconds.length; i++) {
                long before = threads.getCurrentThreadCpuTime();
                camera.run();
                milliseconds[i] = (threads.getCurrentThreadCpuTime() - before) / 1e6;
            }
            clock = Math.min(clock, (System.nanoTime() - start) / 1e6 / milliseconds.length);
            Arrays.sort(milliseconds);
            median = Math.min(median, milliseconds[milliseconds.length / 2]);
        }
        System.out.printf("one frame of 640 x 480, all but the networks: median %.2f ms of the "
                + "processor, mean %.2f ms of the clock%n", median, clock);
        assertTrue(median + " ms", median <= 4.0);
    }
}

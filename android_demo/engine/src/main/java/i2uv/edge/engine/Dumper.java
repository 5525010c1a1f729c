package i2uv.edge.engine;

import i2uv.edge.core.Box;
import i2uv.edge.core.Bundle;
import i2uv.edge.core.BundleException;
import i2uv.edge.core.Dump;
import i2uv.edge.core.Frame;
import java.io.File;
import java.io.IOException;
import java.util.List;

/** Runs the pictures of a bundle and writes down what came out, for the desktop to compare. */
public final class Dumper {
    /** What turns a JPEG file into a picture: it is not the same on a phone and on a desktop. */
    public interface Decoder {
        Frame decode(byte[] file) throws IOException;
    }

    private Dumper() {}

    /**
     * Writes a dump.
     *
     * @param most how many pictures at most.
     * @param folder must not hold anything.
     * @param source the device and what computed there.
     * @return how many samples it has.
     */
    public static int write(
            Bundle bundle, HandPipeline pipeline, Decoder decoder, int most, File folder,
            String source) throws BundleException, IOException {
        List<String> ids = bundle.pictures();
        int count = Math.min(most, ids.size());
        if (count == 0) {
            throw new BundleException("no pictures were placed with the bundle",
                    "its eval folder", "place the bundle again, with pictures");
        }
        Dump dump = new Dump(folder);
        Box box = new Box();
        for (String id : ids.subList(0, count)) {
            Frame frame = decoder.decode(bundle.picture(id));
            box.whole(frame.width, frame.height);
            pipeline.run(frame, box, false, false, 0);
            dump.sample(id);
            pipeline.dump(dump);
        }
        dump.close(bundle.sha256, source);
        return count;
    }

    /**
     * Writes a dump of the golden samples, whose pictures are there as the networks take them: what
     * differs from the golden outputs then comes of no decoder and no crop.
     */
    public static void writeGolden(
            Bundle bundle, HandPipeline pipeline, File folder, String source)
            throws BundleException, IOException {
        Dump dump = new Dump(folder);
        for (Bundle.Golden sample : bundle.golden()) {
            pipeline.runPicture(sample.picture);
            dump.sample(sample.id);
            pipeline.dump(dump);
        }
        dump.close(bundle.sha256, source);
    }
}

package i2uv.edge.host;

import i2uv.edge.core.Bundle;
import i2uv.edge.engine.Attempt;
import i2uv.edge.engine.Dumper;
import i2uv.edge.engine.HandPipeline;
import java.io.File;
import java.util.Arrays;

/**
 * Writes the dump that the app would write: {@code DumpMain BUNDLE OUT COUNT COMMAND...}; of the
 * golden samples where the count is 0.
 */
public final class DumpMain {
    private DumpMain() {}

    public static void main(String[] arguments) throws Exception {
        Bundle bundle = Bundle.open(new FolderFiles(new File(arguments[0])));
        String[] command = Arrays.copyOfRange(arguments, 3, arguments.length);
        HandPipeline pipeline =
                HandPipeline.load(bundle, new BridgeLoader(command), Attempt.CPU);
        File folder = new File(arguments[1]);
        int count = Integer.parseInt(arguments[2]);
        String source = "desktop JVM, LiteRT x86-64";
        try {
            if (count == 0) {
                Dumper.writeGolden(bundle, pipeline, folder, source);
            } else {
                Dumper.write(bundle, pipeline, new DesktopDecoder(), count, folder, source);
            }
        } finally {
            pipeline.close();
        }
    }

    private static final class DesktopDecoder implements Dumper.Decoder {
        @Override
        public i2uv.edge.core.Frame decode(byte[] file) throws java.io.IOException {
            return Pictures.decode(file);
        }
    }
}

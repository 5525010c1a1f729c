package i2uv.edge.host;

import i2uv.edge.core.Bundle;
import i2uv.edge.engine.Attempt;
import i2uv.edge.engine.Dumper;
import i2uv.edge.engine.HandPipeline;
import java.io.File;
import java.util.Arrays;

/** Writes the dump that the app would write: {@code DumpMain BUNDLE OUT COUNT COMMAND...}. */
public final class DumpMain {
    private DumpMain() {}

    public static void main(String[] arguments) throws Exception {
        Bundle bundle = Bundle.open(new FolderFiles(new File(arguments[0])));
        String[] command = Arrays.copyOfRange(arguments, 3, arguments.length);
        HandPipeline pipeline =
                HandPipeline.load(bundle, new BridgeLoader(command), Attempt.CPU);
        try {
            Dumper.write(bundle, pipeline, new DesktopDecoder(), Integer.parseInt(arguments[2]),
                    new File(arguments[1]), "desktop JVM, LiteRT x86-64");
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

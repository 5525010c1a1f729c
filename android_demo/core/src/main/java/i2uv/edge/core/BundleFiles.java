package i2uv.edge.core;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;

/** The files of a placed bundle, wherever they lie: the app's assets, a folder of a desktop. */
public interface BundleFiles {
    /** Opens a file by its path in the bundle. */
    InputStream open(String path) throws IOException;

    /** The content of a file, direct and in the machine's byte order, mapped where that goes. */
    ByteBuffer map(String path) throws IOException;

    /** The names of the files in a folder, sorted; none where there is no such folder. */
    String[] list(String folder) throws IOException;
}

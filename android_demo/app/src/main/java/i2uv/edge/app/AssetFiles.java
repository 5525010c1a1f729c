package i2uv.edge.app;

import android.content.res.AssetFileDescriptor;
import android.content.res.AssetManager;
import i2uv.edge.core.BundleFiles;
import i2uv.edge.core.Bytes;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.util.Arrays;

/** The bundle in the app's assets. */
final class AssetFiles implements BundleFiles {
    private static final String FOLDER = "bundle/";

    private final AssetManager assets;

    AssetFiles(AssetManager assets) {
        this.assets = assets;
    }

    @Override
    public InputStream open(String path) throws IOException {
        return assets.open(FOLDER + path);
    }

    @Override
    public ByteBuffer map(String path) throws IOException {
        AssetFileDescriptor file;
        try {
            file = assets.openFd(FOLDER + path);
        } catch (IOException compressed) {
            return copied(path);
        }
        try {
            FileInputStream stream = new FileInputStream(file.getFileDescriptor());
            return stream.getChannel()
                    .map(FileChannel.MapMode.READ_ONLY, file.getStartOffset(), file.getLength())
                    .order(ByteOrder.nativeOrder());
        } finally {
            file.close();
        }
    }

    @Override
    public String[] list(String folder) throws IOException {
        String[] found = assets.list(FOLDER + folder);
        String[] made = found == null ? new String[0] : found;
        Arrays.sort(made);
        return made;
    }

    private ByteBuffer copied(String path) throws IOException {
        InputStream stream = open(path);
        try {
            return Bytes.direct(Bytes.all(stream));
        } finally {
            stream.close();
        }
    }
}

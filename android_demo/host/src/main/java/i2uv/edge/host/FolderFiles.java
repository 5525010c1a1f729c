package i2uv.edge.host;

import i2uv.edge.core.BundleFiles;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.util.Arrays;

/** A bundle in a folder, as a desktop has it. */
public final class FolderFiles implements BundleFiles {
    private final File folder;

    public FolderFiles(File folder) {
        this.folder = folder;
    }

    @Override
    public InputStream open(String path) throws IOException {
        return new FileInputStream(new File(folder, path));
    }

    @Override
    public ByteBuffer map(String path) throws IOException {
        try (RandomAccessFile file = new RandomAccessFile(new File(folder, path), "r")) {
            return file.getChannel()
                    .map(FileChannel.MapMode.READ_ONLY, 0, file.length())
                    .order(ByteOrder.nativeOrder());
        }
    }

    @Override
    public String[] list(String name) {
        String[] found = new File(folder, name).list();
        String[] made = found == null ? new String[0] : found;
        Arrays.sort(made);
        return made;
    }
}

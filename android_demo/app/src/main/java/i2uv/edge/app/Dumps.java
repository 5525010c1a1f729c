package i2uv.edge.app;

import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import i2uv.edge.core.Frame;
import i2uv.edge.engine.Dumper;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/** Dumps as folders, for adb, and as one file each, to be sent. */
final class Dumps {
    private Dumps() {}

    /** The phone's own JPEG decoder. */
    static final class PhoneDecoder implements Dumper.Decoder {
        @Override
        public Frame decode(byte[] file) throws IOException {
            Bitmap bitmap = BitmapFactory.decodeByteArray(file, 0, file.length);
            if (bitmap == null) {
                throw new IOException("a picture of the bundle cannot be read");
            }
            Frame made = new Frame();
            made.resize(bitmap.getWidth(), bitmap.getHeight());
            int[] row = new int[made.width];
            for (int y = 0, at = 0; y < made.height; y++) {
                bitmap.getPixels(row, 0, made.width, 0, y, made.width, 1);
                for (int packed : row) {
                    made.rgb[at++] = (byte) (packed >> 16);
                    made.rgb[at++] = (byte) (packed >> 8);
                    made.rgb[at++] = (byte) packed;
                }
            }
            bitmap.recycle();
            return made;
        }
    }

    /** A new folder, which `adb pull` reaches without root. */
    static File folder(Context context) {
        File root = context.getExternalFilesDir("dumps");
        if (root == null) {
            root = new File(context.getFilesDir(), "dumps"); // no external memory
        }
        return new File(root, "dump-" + System.currentTimeMillis());
    }

    /** Packs a folder into a file that the provider hands out. */
    static File pack(Context context, File folder) throws IOException {
        File target = new File(DumpProvider.folder(context), folder.getName() + ".zip");
        File root = target.getParentFile();
        if (root == null || !root.isDirectory() && !root.mkdirs()) {
            throw new IOException(root + " cannot be made");
        }
        File[] files = folder.listFiles();
        ZipOutputStream zip = new ZipOutputStream(new FileOutputStream(target));
        try {
            byte[] block = new byte[65536];
            for (File file : files == null ? new File[0] : files) {
                zip.putNextEntry(new ZipEntry(folder.getName() + "/" + file.getName()));
                FileInputStream stream = new FileInputStream(file);
                for (int count; (count = stream.read(block)) > 0; ) {
                    zip.write(block, 0, count);
                }
                stream.close();
            }
        } finally {
            zip.close();
        }
        return target;
    }
}

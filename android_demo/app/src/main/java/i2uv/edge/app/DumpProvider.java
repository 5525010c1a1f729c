package i2uv.edge.app;

import android.content.ContentProvider;
import android.content.ContentValues;
import android.content.Context;
import android.database.Cursor;
import android.database.MatrixCursor;
import android.net.Uri;
import android.os.ParcelFileDescriptor;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileNotFoundException;

/** Hands packed dumps to the app that a person chose to send them with, and nothing else. */
public final class DumpProvider extends ContentProvider {
    static final String AUTHORITY = "i2uv.edge.demo.dumps";

    static File folder(Context context) {
        return new File(context.getCacheDir(), "dumps");
    }

    static Uri of(File file) {
        return Uri.parse("content://" + AUTHORITY + "/" + file.getName());
    }

    @Override
    public boolean onCreate() {
        return true;
    }

    @Override
    public ParcelFileDescriptor openFile(Uri uri, String mode) throws FileNotFoundException {
        if (!mode.equals("r")) {
            throw new FileNotFoundException("dumps are to be read");
        }
        return ParcelFileDescriptor.open(file(uri), ParcelFileDescriptor.MODE_READ_ONLY);
    }

    @Override
    public Cursor query(
            Uri uri, String[] columns, String where, String[] values, String order) {
        MatrixCursor made = new MatrixCursor(
                new String[] {OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE}, 1);
        File file = file(uri);
        made.addRow(new Object[] {file.getName(), file.length()});
        return made;
    }

    @Override
    public String getType(Uri uri) {
        return "application/zip";
    }

    @Override
    public Uri insert(Uri uri, ContentValues values) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int delete(Uri uri, String where, String[] values) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int update(Uri uri, ContentValues values, String where, String[] arguments) {
        throw new UnsupportedOperationException();
    }

    /** The last segment alone: no path leads out of the folder. */
    private File file(Uri uri) {
        String name = new File(String.valueOf(uri.getLastPathSegment())).getName();
        return new File(folder(getContext()), name);
    }
}

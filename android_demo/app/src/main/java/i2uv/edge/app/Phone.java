package i2uv.edge.app;

import android.content.Context;
import android.system.ErrnoException;
import android.system.Os;
import android.util.Log;
import i2uv.edge.core.Bundle;
import i2uv.edge.core.BundleException;
import i2uv.edge.engine.NetworkLoader;
import i2uv.edge.engine.NoRuntime;
import i2uv.edge.engine.Session;
import i2uv.edge.engine.Store;
import i2uv.edge.engine.Trial;

/** What the engine needs of this phone. */
final class Phone implements Session.Platform {
    static final String TAG = "i2uv-edge";

    private final Context context;

    Phone(Context context) {
        this.context = context;
    }

    @Override
    public Bundle open() throws BundleException {
        return Bundle.open(new AssetFiles(context.getAssets()));
    }

    @Override
    public NetworkLoader loader() {
        String libraries = context.getApplicationInfo().nativeLibraryDir;
        // Where the DSP looks for its part, should the delegate's own option not reach it.
        try {
            Os.setenv("ADSP_LIBRARY_PATH", libraries + ";/system/lib/rfsa/adsp"
                    + ";/system/vendor/lib/rfsa/adsp;/dsp", true);
        } catch (ErrnoException error) {
            Log.w(TAG, "ADSP_LIBRARY_PATH could not be set", error);
        }
        return NoRuntime.orTflite(libraries, context.getCacheDir().getPath());
    }

    @Override
    public Trial trial(Bundle bundle) {
        return new TrialClient(context);
    }

    @Override
    public Store store() {
        return new Preferences(context);
    }
}

package i2uv.edge.engine;

import com.qualcomm.qti.QnnDelegate;
import java.util.Arrays;
import org.tensorflow.lite.Delegate;

/** Qualcomm's delegate for the DSP. A class of its own: an app may come without their library. */
final class DspDelegate {
    private DspDelegate() {}

    static Delegate make(Attempt attempt, String token, String libraries, String cache) {
        QnnDelegate.Options options = new QnnDelegate.Options();
        options.setBackendType(QnnDelegate.Options.BackendType.DSP_BACKEND);
        options.setSkelLibraryDir(libraries);
        options.setCacheDir(cache);
        options.setModelToken(token + "." + attempt);
        options.setLogLevel(QnnDelegate.Options.LogLevel.LOG_LEVEL_WARN);
        options.setDspOptions(
                QnnDelegate.Options.DspPerformanceMode.DSP_PERFORMANCE_BURST, domain(attempt));
        return new QnnDelegate(options);
    }

    /** By the end of its name, which is all that is known of two of the three. */
    private static QnnDelegate.Options.DspPdSession domain(Attempt attempt) {
        String ending = attempt.name().substring("DSP".length());
        for (QnnDelegate.Options.DspPdSession known : QnnDelegate.Options.DspPdSession.values()) {
            if (known.name().endsWith(ending)) {
                return known;
            }
        }
        throw new IllegalArgumentException("this delegate has no protection domain " + ending
                + ", only " + Arrays.toString(QnnDelegate.Options.DspPdSession.values()));
    }
}

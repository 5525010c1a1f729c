package i2uv.edge.engine;

import com.qualcomm.qti.QnnDelegate;
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

    private static QnnDelegate.Options.DspPdSession domain(Attempt attempt) {
        switch (attempt) {
            case DSP_SIGNED:
                return QnnDelegate.Options.DspPdSession.DSP_PD_SESSION_SIGNED;
            case DSP_ADAPTIVE:
                return QnnDelegate.Options.DspPdSession.DSP_PD_SESSION_ADAPTIVE;
            default:
                return QnnDelegate.Options.DspPdSession.DSP_PD_SESSION_UNSIGNED;
        }
    }
}

package com.qualcomm.qti;

import java.io.Closeable;
import org.tensorflow.lite.Delegate;

public class QnnDelegate implements Delegate, Closeable {
    public static class Options {
        public enum BackendType {
            DSP_BACKEND
        }

        public enum LogLevel {
            LOG_LEVEL_WARN
        }

        public enum DspPerformanceMode {
            DSP_PERFORMANCE_BURST
        }

        public enum DspPdSession {
            DSP_PD_SESSION_UNSIGNED,
            DSP_PD_SESSION_SIGNED,
            DSP_PD_SESSION_ADAPTIVE
        }

        public void setBackendType(BackendType type) {
            throw new UnsupportedOperationException();
        }

        public void setSkelLibraryDir(String folder) {
            throw new UnsupportedOperationException();
        }

        public void setCacheDir(String folder) {
            throw new UnsupportedOperationException();
        }

        public void setModelToken(String token) {
            throw new UnsupportedOperationException();
        }

        public void setLogLevel(LogLevel level) {
            throw new UnsupportedOperationException();
        }

        public void setDspOptions(DspPerformanceMode mode, DspPdSession session) {
            throw new UnsupportedOperationException();
        }
    }

    public QnnDelegate(Options options) {
        throw new UnsupportedOperationException();
    }

    @Override
    public long getNativeHandle() {
        throw new UnsupportedOperationException();
    }

    @Override
    public void close() {}
}

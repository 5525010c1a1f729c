package org.tensorflow.lite.gpu;

public class GpuDelegateFactory {
    public static class Options {
        public static final int INFERENCE_PREFERENCE_SUSTAINED_SPEED = 1;

        public Options setInferencePreference(int preference) {
            throw new UnsupportedOperationException();
        }
    }
}

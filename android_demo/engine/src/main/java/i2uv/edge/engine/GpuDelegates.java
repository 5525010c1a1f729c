package i2uv.edge.engine;

import org.tensorflow.lite.Delegate;
import org.tensorflow.lite.gpu.GpuDelegate;
import org.tensorflow.lite.gpu.GpuDelegateFactory;

/** TensorFlow Lite's delegate for the GPU. A class of its own, as {@link DspDelegate}. */
final class GpuDelegates {
    private GpuDelegates() {}

    static Delegate make() {
        GpuDelegateFactory.Options options = new GpuDelegateFactory.Options();
        options.setInferencePreference(
                GpuDelegateFactory.Options.INFERENCE_PREFERENCE_SUSTAINED_SPEED);
        return new GpuDelegate(options);
    }
}

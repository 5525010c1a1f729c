package org.tensorflow.lite.gpu;

import org.tensorflow.lite.Delegate;

public class GpuDelegate implements Delegate {
    public GpuDelegate(GpuDelegateFactory.Options options) {
        throw new UnsupportedOperationException();
    }

    @Override
    public long getNativeHandle() {
        throw new UnsupportedOperationException();
    }

    @Override
    public void close() {}
}

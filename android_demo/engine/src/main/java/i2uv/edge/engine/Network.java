package i2uv.edge.engine;

import i2uv.edge.core.Tensor;

/** A loaded network: fill {@code input}, run, read {@code output}. */
public interface Network {
    Tensor input();

    Tensor output();

    /** Computes the output of the input; throws whatever the runtime throws. */
    void run();

    /** Gives back what the runtime holds. */
    void close();
}

package i2uv.edge.engine;

import i2uv.edge.core.Bundle;
import i2uv.edge.core.Tensor;

/** A loaded network: fill {@code input}, run, read {@code output}. */
public abstract class Network {
    public final Tensor input;
    public final Tensor output;

    protected Network(Bundle.Model model) {
        input = new Tensor(model.input);
        output = new Tensor(model.output);
    }

    /** Computes the output of the input; throws whatever the runtime throws. */
    public abstract void run();

    /** Gives back what the runtime holds. */
    public abstract void close();
}

package i2uv.edge.engine;

import i2uv.edge.core.Bundle;

/** What loads a model file for one way of running it. */
public interface NetworkLoader {
    /**
     * Loads a network.
     *
     * @throws LoadException it cannot be run that way; the message is the runtime's own.
     */
    Network load(Bundle.Model model, Attempt attempt) throws LoadException;
}

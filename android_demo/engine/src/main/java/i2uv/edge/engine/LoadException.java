package i2uv.edge.engine;

/** A network that cannot be run in one way; the message is what the runtime said. */
public final class LoadException extends Exception {
    private static final long serialVersionUID = 1L;

    public LoadException(String message, Throwable cause) {
        super(message, cause);
    }
}

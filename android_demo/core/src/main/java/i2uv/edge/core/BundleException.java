package i2uv.edge.core;

/** A bundle that cannot be used: what is wrong, what was expected, what to do. Shown as it is. */
public final class BundleException extends Exception {
    private static final long serialVersionUID = 1L;

    public BundleException(String what, String expected, String remedy) {
        super(text(what, expected, remedy));
    }

    public BundleException(String what, String expected, String remedy, Throwable cause) {
        super(text(what, expected, remedy), cause);
    }

    private static String text(String what, String expected, String remedy) {
        return what + "\nexpected: " + expected + "\nto do: " + remedy;
    }
}

package i2uv.edge.engine;

import i2uv.edge.core.Bundle;

/** Stands where there is no runtime: the app was built against signatures alone. */
public final class NoRuntime implements NetworkLoader {
    public static final String TEXT =
            "this app was built without a runtime: put the AARs of TensorFlow Lite into a folder"
                    + " and build it again, see the README";

    /**
     * What loads networks in this app: TensorFlow Lite, or this where there is none.
     *
     * @param libraries where the app's native libraries were unpacked.
     * @param cache a folder for what a delegate compiles.
     */
    public static NetworkLoader orTflite(String libraries, String cache) {
        try {
            // By name: TfliteLoader itself cannot even be linked without TensorFlow Lite.
            Class.forName("org.tensorflow.lite.Interpreter");
        } catch (ClassNotFoundException error) {
            return new NoRuntime();
        }
        return new TfliteLoader(libraries, cache);
    }

    @Override
    public Network load(Bundle.Model model, Attempt attempt) throws LoadException {
        throw new LoadException(TEXT, null);
    }
}

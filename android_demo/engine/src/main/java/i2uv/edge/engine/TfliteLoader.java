package i2uv.edge.engine;

import i2uv.edge.core.Bundle;
import i2uv.edge.core.TensorSpec;
import java.io.Closeable;
import java.io.IOException;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.tensorflow.lite.Delegate;
import org.tensorflow.lite.Interpreter;

/**
 * Loads networks with TensorFlow Lite and its delegates.
 *
 * <p>A GPU delegate is bound to the thread that made it: load, run and close on one thread.
 */
public final class TfliteLoader implements NetworkLoader {
    private static final int THREADS = 4; // the Cortex-A77 of a Snapdragon 865

    private final String libraries;
    private final String cache;

    /**
     * @param libraries where the app's native libraries were unpacked; the DSP's own are there too.
     * @param cache a folder for what a delegate compiles.
     */
    public TfliteLoader(String libraries, String cache) {
        this.libraries = libraries;
        this.cache = cache;
    }

    @Override
    public Network load(Bundle.Model model, Attempt attempt) throws LoadException {
        Delegate delegate = null;
        Interpreter interpreter = null;
        boolean done = false;
        try {
            delegate = delegate(attempt, model.file);
            Interpreter.Options options = new Interpreter.Options();
            options.setNumThreads(THREADS);
            options.setUseXNNPACK(true); // for what a delegate leaves, too
            if (delegate != null) {
                options.addDelegate(delegate);
            }
            interpreter = new Interpreter(model.content, options);
            check(model.file + " input", interpreter.getInputTensor(0), model.input);
            check(model.file + " output", interpreter.getOutputTensor(0), model.output);
            Network made = new TfliteNetwork(interpreter, delegate, model);
            done = true;
            return made;
        } catch (RuntimeException error) {
            throw new LoadException(said(error), error);
        } catch (LinkageError error) {
            // No library, or one that needs another: there is nothing of it in this app or phone.
            throw new LoadException(said(error), error);
        } finally {
            if (!done) {
                close(interpreter, delegate);
            }
        }
    }

    private Delegate delegate(Attempt attempt, String token) {
        switch (attempt.backend) {
            case DSP:
                return DspDelegate.make(attempt, token, libraries, cache);
            case GPU:
                return GpuDelegates.make();
            default:
                return null;
        }
    }

    private static void check(String what, org.tensorflow.lite.Tensor found, TensorSpec listed) {
        String type = found.dataType().name();
        String wanted = listed.type.name();
        if (!type.equals(wanted) || !Arrays.equals(found.shape(), listed.shape)) {
            throw new IllegalArgumentException(what + " is " + type + " "
                    + Arrays.toString(found.shape()) + ", the manifest says " + wanted + " "
                    + Arrays.toString(listed.shape));
        }
    }

    private static String said(Throwable error) {
        Throwable root = error;
        while (root.getCause() != null && root.getCause() != root) {
            root = root.getCause();
        }
        String own = error.getMessage() == null ? error.toString() : error.getMessage();
        return root == error ? own : own + " (" + root + ")";
    }

    private static void close(Interpreter interpreter, Delegate delegate) {
        if (interpreter != null) {
            interpreter.close();
        }
        // Not every version of the interface says that a delegate can be closed; all of them can.
        if (delegate instanceof Closeable) {
            try {
                ((Closeable) delegate).close();
            } catch (IOException error) {
                throw new IllegalStateException(error); // none of them writes a file
            }
        }
    }

    private static final class TfliteNetwork extends Network {
        private final Interpreter interpreter;
        private final Delegate delegate;
        private final Object[] inputs;
        private final Map<Integer, Object> outputs = new HashMap<Integer, Object>();

        TfliteNetwork(Interpreter interpreter, Delegate delegate, Bundle.Model model) {
            super(model);
            this.interpreter = interpreter;
            this.delegate = delegate;
            inputs = new Object[] {input.memory};
            outputs.put(0, output.memory);
        }

        @Override
        public void run() {
            input.memory.rewind();
            output.memory.clear();
            interpreter.runForMultipleInputsOutputs(inputs, outputs);
        }

        @Override
        public void close() {
            TfliteLoader.close(interpreter, delegate);
        }
    }
}

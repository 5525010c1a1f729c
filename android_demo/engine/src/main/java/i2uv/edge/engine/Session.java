package i2uv.edge.engine;

import i2uv.edge.core.Box;
import i2uv.edge.core.Bundle;
import i2uv.edge.core.BundleException;
import i2uv.edge.core.Frame;
import java.io.File;
import java.io.IOException;
import java.util.Locale;

/**
 * The life of bundle, networks and marks, whatever the phone does: what cannot go on leaves a
 * message and not an exception. For one thread, which is the one that runs the networks.
 */
public final class Session {
    /** What a platform has to provide. */
    public interface Platform {
        /** Opens the bundle anew. */
        Bundle open() throws BundleException;

        NetworkLoader loader();

        /** Tries a way of running this bundle where a crash does no harm. */
        Trial trial(Bundle bundle);

        Store store();
    }

    private final Platform platform;
    private Bundle bundle;
    private Marks marks;
    private Chooser chooser;
    private Chooser.Choice choice;
    private Attempt.Backend wanted = Attempt.Backend.AUTO;
    private boolean resting;
    private String message = "";
    private String log = "";

    public Session(Platform platform) {
        this.platform = platform;
    }

    /** Opens the bundle and finds a way to run it; see {@link #message} for how that ended. */
    public void start(Attempt.Backend backend) {
        wanted = backend;
        release();
        message = "";
        log = "";
        try {
            if (bundle == null) {
                bundle = platform.open();
                marks = new Marks(platform.store(), bundle.sha256);
                marks.recover();
                chooser = new Chooser(
                        bundle, platform.loader(), platform.trial(bundle), marks);
            }
            choice = chooser.choose(wanted);
            log = choice.log;
            if (choice.pipeline == null) {
                message = "No way to run the networks on this phone:\n" + log
                        + "\nWhat is marked bad is tried again after Clear marks";
            }
        } catch (BundleException error) {
            message = error.getMessage();
        } catch (OutOfMemoryError error) {
            forget("There is not enough memory for the networks");
        }
    }

    /** The app is no longer seen: what happens to it now is no delegate's doing. */
    public void rest() {
        resting = true;
        if (running()) {
            marks.leave(choice.attempt);
            choice.pipeline.pause();
        }
    }

    /** The app is seen again; what was given up for memory is loaded again. */
    public void resume() {
        boolean rested = resting;
        resting = false;
        if (running()) {
            marks.enter(choice.attempt);
        } else if (rested && bundle == null) {
            start(wanted);
        }
    }

    /** Memory is short: gives up the networks while nobody looks. */
    public void lowMemory() {
        if (resting) {
            forget("");
        }
    }

    /** Forgets which ways crashed, and tries again. */
    public void clearMarks() {
        if (marks != null) {
            marks.clear();
        }
        start(wanted);
    }

    /**
     * Finds the hand in a picture; see {@link HandPipeline#run}.
     *
     * @return whether it was done. A runtime that fails here is marked bad, and the next way tried.
     */
    public boolean run(Frame frame, Box box, boolean mirror, boolean smooth, long nanos) {
        if (!running() || resting) {
            return false;
        }
        try {
            choice.pipeline.run(frame, box, mirror, smooth, nanos);
            return true;
        } catch (RuntimeException error) {
            marks.markBad(choice.attempt, "failed while running: " + error.getMessage());
            start(wanted);
        } catch (OutOfMemoryError error) {
            forget("There is not enough memory to go on");
        }
        return false;
    }

    /**
     * Writes a dump of the bundle's pictures.
     *
     * @return how many samples it has.
     * @throws IOException there is nothing to run, or the dump cannot be written.
     */
    public int dump(Dumper.Decoder decoder, int most, File folder, String device)
            throws IOException {
        if (!running()) {
            throw new IOException("no network is loaded");
        }
        try {
            String source = device + ", " + choice.attempt.label;
            return Dumper.write(bundle, choice.pipeline, decoder, most, folder, source);
        } catch (BundleException error) {
            throw new IOException(error.getMessage(), error);
        }
    }

    /** Ends in good order. */
    public void close() {
        forget("");
    }

    /** Null while there is none. */
    public HandPipeline pipeline() {
        return running() ? choice.pipeline : null;
    }

    /** Null while there is none. */
    public Bundle bundle() {
        return bundle;
    }

    /** What keeps the app from working; empty where nothing does. */
    public String message() {
        return message;
    }

    /** What each way of running said. */
    public String log() {
        return log;
    }

    /** A few lines for the screen: what runs, how fast, where the time goes. */
    public String status() {
        if (!running()) {
            return "";
        }
        StringBuilder made = new StringBuilder();
        made.append(bundle.name).append(", ").append(bundle.recipe).append("\n");
        made.append(choice.attempt.label).append(" loaded");
        if (wanted != Attempt.Backend.AUTO && wanted != choice.attempt.backend) {
            made.append(" (").append(wanted.label).append(" was asked for, see the log)");
        }
        made.append(String.format(Locale.ROOT, "\n%.1f fps", choice.pipeline.rate.perSecond()));
        double total = 0;
        for (HandPipeline.Stage stage : HandPipeline.Stage.values()) {
            double taken = choice.pipeline.rate.milliseconds(stage.ordinal());
            total += taken;
            made.append(String.format(Locale.ROOT, "\n%s %.1f ms", stage.label, taken));
        }
        made.append(String.format(Locale.ROOT, "\ntogether %.1f ms", total));
        return made.toString();
    }

    private boolean running() {
        return choice != null && choice.pipeline != null;
    }

    private void release() {
        if (choice != null) {
            chooser.release(choice);
            choice = null;
        }
    }

    private void forget(String why) {
        release();
        bundle = null;
        message = why;
    }
}

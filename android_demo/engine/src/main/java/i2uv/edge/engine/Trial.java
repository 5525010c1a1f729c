package i2uv.edge.engine;

/** Tries a way of running where a crash does no harm: on the phone, in a process of its own. */
public interface Trial {
    /** What came of it. */
    final class Outcome {
        public final boolean loaded;
        public final boolean crashed;

        /** What a person should read: the runtime's own words, or how well it did. */
        public final String text;

        private Outcome(boolean loaded, boolean crashed, String text) {
            this.loaded = loaded;
            this.crashed = crashed;
            this.text = text;
        }

        public static Outcome loaded(String text) {
            return new Outcome(true, false, text);
        }

        public static Outcome failed(String text) {
            return new Outcome(false, false, text);
        }

        /** The process ended, or did not answer in time. */
        public static Outcome crashed(String text) {
            return new Outcome(false, true, text);
        }
    }

    /** Waits until it is known. */
    Outcome run(Attempt attempt);
}

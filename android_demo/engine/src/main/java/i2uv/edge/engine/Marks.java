package i2uv.edge.engine;

import java.util.ArrayList;

/**
 * Which ways of running have ended the process. A native crash leaves no time to write anything, so
 * what is about to be used is written down first and crossed out when it ended well.
 *
 * <p>Marks are kept by bundle: another model may run where this one does not.
 */
public final class Marks {
    private static final String BAD = "bad.";
    private static final String USED = "used.";

    private final Store store;
    private final String bundle;

    public Marks(Store store, String bundle) {
        this.store = store;
        this.bundle = bundle.substring(0, Math.min(12, bundle.length())) + ".";
    }

    /** Call once at the start: what was in use when the process ended is marked bad. */
    public void recover() {
        for (Attempt attempt : Attempt.values()) {
            if (store.get(USED + bundle + attempt) != null) {
                markBad(attempt, "the app ended while this was in use");
                leave(attempt);
            }
        }
    }

    /** About to use it; {@code leave} when that ended, well or with an exception. */
    public void enter(Attempt attempt) {
        store.put(USED + bundle + attempt, "yes");
    }

    public void leave(Attempt attempt) {
        store.put(USED + bundle + attempt, null);
    }

    public void markBad(Attempt attempt, String why) {
        store.put(BAD + bundle + attempt, why);
    }

    /** Why it is not to be tried; null where it may be. */
    public String bad(Attempt attempt) {
        return store.get(BAD + bundle + attempt);
    }

    /** Forgets every bad mark, of other bundles too. */
    public void clear() {
        for (String key : new ArrayList<String>(store.keys())) {
            if (key.startsWith(BAD)) {
                store.put(key, null);
            }
        }
    }
}

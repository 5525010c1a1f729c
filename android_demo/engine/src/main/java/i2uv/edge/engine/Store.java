package i2uv.edge.engine;

import java.util.Set;

/** Text by name that outlives the process: on the phone, the app's preferences. */
public interface Store {
    /** Null where there is none. */
    String get(String key);

    /** Written before it returns; null removes. */
    void put(String key, String value);

    Set<String> keys();
}

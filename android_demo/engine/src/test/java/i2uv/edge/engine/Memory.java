package i2uv.edge.engine;

import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** A store that lives as long as a test; a second one over the same map is the next process. */
final class Memory implements Store {
    final Map<String, String> values = new TreeMap<String, String>();

    @Override
    public String get(String key) {
        return values.get(key);
    }

    @Override
    public void put(String key, String value) {
        if (value == null) {
            values.remove(key);
        } else {
            values.put(key, value);
        }
    }

    @Override
    public Set<String> keys() {
        return values.keySet();
    }
}

package i2uv.edge.core;

import java.util.List;
import java.util.Map;

/** An object of a JSON document; whatever is missing or of another kind is named with its path. */
final class Fields {
    private final String path;
    private final Map<?, ?> values;

    private Fields(String path, Map<?, ?> values) {
        this.path = path;
        this.values = values;
    }

    static Fields of(Object document, String name) throws BundleException {
        return new Fields(name, cast(document, Map.class, name));
    }

    boolean has(String key) {
        return values.containsKey(key);
    }

    Fields object(String key) throws BundleException {
        return of(values.get(key), at(key));
    }

    /** The objects of a list. */
    Fields[] objects(String key) throws BundleException {
        List<?> list = cast(values.get(key), List.class, at(key));
        Fields[] made = new Fields[list.size()];
        for (int i = 0; i < made.length; i++) {
            made[i] = of(list.get(i), at(key) + "[" + i + "]");
        }
        return made;
    }

    String text(String key) throws BundleException {
        return cast(values.get(key), String.class, at(key));
    }

    double number(String key) throws BundleException {
        return cast(values.get(key), Double.class, at(key));
    }

    int whole(String key) throws BundleException {
        return whole(values.get(key), at(key));
    }

    double[] numbers(String key) throws BundleException {
        List<?> list = cast(values.get(key), List.class, at(key));
        double[] made = new double[list.size()];
        for (int i = 0; i < made.length; i++) {
            made[i] = cast(list.get(i), Double.class, at(key) + "[" + i + "]");
        }
        return made;
    }

    int[] wholes(String key) throws BundleException {
        List<?> list = cast(values.get(key), List.class, at(key));
        int[] made = new int[list.size()];
        for (int i = 0; i < made.length; i++) {
            made[i] = whole(list.get(i), at(key) + "[" + i + "]");
        }
        return made;
    }

    BundleException fault(String key, String what, String expected) {
        return new BundleException(at(key) + " is " + what, expected, Bundle.REMEDY);
    }

    private String at(String key) {
        return path + "." + key;
    }

    private static int whole(Object value, String path) throws BundleException {
        double number = cast(value, Double.class, path);
        if (number != (int) number) {
            throw new BundleException(path + " is " + number, "a whole number", Bundle.REMEDY);
        }
        return (int) number;
    }

    private static <T> T cast(Object value, Class<T> kind, String path) throws BundleException {
        if (!kind.isInstance(value)) {
            String found = value == null ? "missing" : "a " + value.getClass().getSimpleName();
            throw new BundleException(
                    path + " is " + found, "a " + kind.getSimpleName(), Bundle.REMEDY);
        }
        return kind.cast(value);
    }
}

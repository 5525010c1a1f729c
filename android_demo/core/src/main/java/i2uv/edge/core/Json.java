package i2uv.edge.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Strict JSON (RFC 8259): objects become maps in the order of the text, arrays lists, numbers
 * Double, null null. A key that occurs twice is refused, as is anything behind the document.
 *
 * <p>Android's own reader is not there on a desktop JVM, where the tests run.
 */
public final class Json {
    private static final int DEPTH = 64; // deeper than any manifest, shallower than the stack

    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /**
     * Reads a document.
     *
     * @throws IllegalArgumentException it is no JSON; the message says where.
     */
    public static Object parse(String text) {
        Json reader = new Json(text);
        Object value = reader.value(0);
        reader.space();
        if (reader.at != text.length()) {
            throw reader.fault("the end");
        }
        return value;
    }

    /** Writes maps, lists, strings, numbers, booleans and null; keys in the order they come. */
    public static String write(Object value) {
        StringBuilder made = new StringBuilder();
        write(value, made, "\n");
        return made.append('\n').toString();
    }

    private Object value(int depth) {
        space();
        if (depth > DEPTH) {
            throw fault("less nesting");
        }
        switch (peek()) {
            case '{':
                return object(depth);
            case '[':
                return array(depth);
            case '"':
                return string();
            case 't':
                return word("true", Boolean.TRUE);
            case 'f':
                return word("false", Boolean.FALSE);
            case 'n':
                return word("null", null);
            default:
                return number();
        }
    }

    private Map<String, Object> object(int depth) {
        Map<String, Object> made = new LinkedHashMap<String, Object>();
        at++;
        space();
        if (peek() == '}') {
            at++;
            return made;
        }
        while (true) {
            space();
            if (peek() != '"') {
                throw fault("a key");
            }
            String key = string();
            space();
            take(':');
            if (made.containsKey(key)) {
                throw fault("each key once, not a second \"" + key + "\"");
            }
            made.put(key, value(depth + 1));
            if (ends('}')) {
                return made;
            }
        }
    }

    private List<Object> array(int depth) {
        List<Object> made = new ArrayList<Object>();
        at++;
        space();
        if (peek() == ']') {
            at++;
            return made;
        }
        while (true) {
            made.add(value(depth + 1));
            if (ends(']')) {
                return made;
            }
        }
    }

    /** After an element: whether the closing bracket follows, else a comma has to. */
    private boolean ends(char bracket) {
        space();
        if (peek() == bracket) {
            at++;
            return true;
        }
        take(',');
        return false;
    }

    private String string() {
        StringBuilder made = new StringBuilder();
        at++;
        while (true) {
            char next = peek();
            at++;
            if (next == '"') {
                return made.toString();
            }
            if (next < ' ') {
                throw fault("an escape instead of a control character");
            }
            made.append(next == '\\' ? escape() : next);
        }
    }

    private char escape() {
        char next = peek();
        at++;
        switch (next) {
            case '"':
            case '\\':
            case '/':
                return next;
            case 'b':
                return '\b';
            case 'f':
                return '\f';
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 't':
                return '\t';
            case 'u':
                int code = 0;
                for (int i = 0; i < 4; i++, at++) {
                    int digit = Character.digit(peek(), 16);
                    if (digit < 0) {
                        throw fault("four hexadecimal digits");
                    }
                    code = 16 * code + digit;
                }
                return (char) code;
            default:
                throw fault("an escape that JSON knows");
        }
    }

    private Double number() {
        int start = at;
        accept("-");
        if (!accept("0")) {
            digits();
        }
        if (accept(".")) {
            digits();
        }
        if (accept("e") || accept("E")) {
            if (!accept("+")) {
                accept("-");
            }
            digits();
        }
        return Double.valueOf(text.substring(start, at));
    }

    private void digits() {
        int start = at;
        while (at < text.length() && text.charAt(at) >= '0' && text.charAt(at) <= '9') {
            at++;
        }
        if (at == start) {
            throw fault("a value");
        }
    }

    private boolean accept(String wanted) {
        boolean found = text.startsWith(wanted, at);
        if (found) {
            at += wanted.length();
        }
        return found;
    }

    private Object word(String wanted, Object meaning) {
        if (!accept(wanted)) {
            throw fault(wanted);
        }
        return meaning;
    }

    private void take(char wanted) {
        if (peek() != wanted) {
            throw fault("\"" + wanted + "\"");
        }
        at++;
    }

    private char peek() {
        if (at >= text.length()) {
            throw fault("more: it is cut short");
        }
        return text.charAt(at);
    }

    private void space() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private IllegalArgumentException fault(String expected) {
        return new IllegalArgumentException(
                "no JSON at character " + at + ": expected " + expected);
    }

    private static void write(Object value, StringBuilder out, String line) {
        if (value instanceof Map) {
            boolean first = true;
            out.append('{');
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
                out.append(first ? line : "," + line).append("  ");
                write(String.valueOf(entry.getKey()), out, line);
                out.append(": ");
                write(entry.getValue(), out, line + "  ");
                first = false;
            }
            out.append(first ? "" : line).append('}');
        } else if (value instanceof List) {
            boolean first = true;
            out.append('[');
            for (Object item : (List<?>) value) {
                out.append(first ? line : "," + line).append("  ");
                write(item, out, line + "  ");
                first = false;
            }
            out.append(first ? "" : line).append(']');
        } else if (value instanceof String) {
            quote((String) value, out);
        } else if (value instanceof Double || value instanceof Float) {
            double number = ((Number) value).doubleValue();
            if (Double.isNaN(number) || Double.isInfinite(number)) {
                throw new IllegalArgumentException("JSON has no " + number);
            }
            out.append(number);
        } else if (value == null || value instanceof Number || value instanceof Boolean) {
            out.append(value);
        } else {
            throw new IllegalArgumentException("JSON has no " + value.getClass());
        }
    }

    private static void quote(String value, StringBuilder out) {
        out.append('"');
        for (int i = 0; i < value.length(); i++) {
            char next = value.charAt(i);
            if (next == '"' || next == '\\') {
                out.append('\\').append(next);
            } else if (next < ' ') {
                out.append(String.format(java.util.Locale.ROOT, "\\u%04x", (int) next));
            } else {
                out.append(next);
            }
        }
        out.append('"');
    }
}

package i2uv.edge.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.fail;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.Test;

public class JsonTest {
    @Test
    public void aDocumentIsReadWithItsKinds() {
        Map<?, ?> made = (Map<?, ?>) Json.parse(" {\"a\": [1, -2.5e-3, true, null], \"b\": {}} ");
        assertEquals(Arrays.asList(1.0, -0.0025, true, null), made.get("a"));
        assertEquals(0, ((Map<?, ?>) made.get("b")).size());
        assertNull(((List<?>) made.get("a")).get(3));
    }

    @Test
    public void escapesAreUndone() {
        assertEquals("\"\\/\b\f\n\r\t\u00e9", Json.parse("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\""));
    }

    @Test
    public void whatWasWrittenIsReadAgain() {
        String text = "{\"a\":[1.5,\"x\\u0001\\\"\",[]],\"b\":{\"c\":null},\"d\":false}";
        Object value = Json.parse(text);
        assertEquals(value, Json.parse(Json.write(value)));
        assertEquals("3\n", Json.write(3));
    }

    @Test
    public void whatIsNoJsonIsRefused() {
        String[] wrong = {
            "", " ", "{", "[1,]", "{\"a\":1,}", "{a:1}", "01", "1.", "+1", "nul", "NaN", "\"\n\"",
            "\"\\x\"", "\"\\u12g4\"", "[1] 2", "{\"a\":1,\"a\":2}", "\"abc", "'a'", "[1 2]", "-",
        };
        for (String text : wrong) {
            try {
                Json.parse(text);
            } catch (IllegalArgumentException expected) {
                continue;
            }
            fail("taken: " + text);
        }
    }

    @Test(expected = IllegalArgumentException.class)
    public void endlessNestingIsRefusedBeforeTheStackEnds() {
        char[] deep = new char[100000];
        Arrays.fill(deep, '[');
        Json.parse(new String(deep));
    }

    @Test(expected = IllegalArgumentException.class)
    public void whatJsonDoesNotHaveIsNotWritten() {
        Json.write(Double.NaN);
    }
}

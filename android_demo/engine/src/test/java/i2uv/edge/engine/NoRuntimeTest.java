package i2uv.edge.engine;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;

import i2uv.edge.core.Bundle;
import i2uv.edge.core.Vectors;
import i2uv.edge.host.FolderFiles;
import org.junit.Test;

public class NoRuntimeTest {
    @Test
    public void anAppWithoutARuntimeSaysSoOfEachWay() throws Exception {
        Bundle bundle = Bundle.open(new FolderFiles(Vectors.bundle()));
        NetworkLoader loader = NoRuntime.orTflite("/nowhere", "/nowhere");
        for (Attempt attempt : Attempt.values()) {
            Trial.Outcome outcome = new GoldenTrial(bundle, loader).run(attempt);
            assertFalse(outcome.loaded);
            assertEquals(NoRuntime.TEXT, outcome.text);
        }
    }
}

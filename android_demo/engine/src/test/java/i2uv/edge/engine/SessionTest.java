package i2uv.edge.engine;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import i2uv.edge.core.Box;
import i2uv.edge.core.Bundle;
import i2uv.edge.core.BundleException;
import i2uv.edge.core.Frame;
import i2uv.edge.core.Vectors;
import i2uv.edge.host.FolderFiles;
import java.io.File;
import java.io.IOException;
import org.junit.Before;
import org.junit.Test;

public class SessionTest {
    private final Memory memory = new Memory();
    private final Replay replay = new Replay();
    private final Frame frame = new Frame();
    private final Box box = new Box(0, 0, 256);
    private Session session;
    private boolean damaged;
    private boolean poor;

    private final class Desktop implements Session.Platform {
        @Override
        public Bundle open() throws BundleException {
            if (poor) {
                throw new OutOfMemoryError("test");
            }
            if (damaged) {
                throw new BundleException("affinenet.tflite is damaged", "whole", "place it again");
            }
            return Bundle.open(new FolderFiles(Vectors.bundle()));
        }

        @Override
        public NetworkLoader loader() {
            return replay;
        }

        @Override
        public Trial trial(Bundle bundle) {
            return new Trial() {
                @Override
                public Outcome run(Attempt attempt) {
                    return Outcome.loaded("fine");
                }
            };
        }

        @Override
        public Store store() {
            return memory;
        }
    }

    @Before
    public void start() {
        frame.resize(256, 256);
        replay.careless = true;
        session = new Session(new Desktop());
    }

    private boolean run() {
        return session.run(frame, box, false, false, 0);
    }

    @Test
    public void beforeTheStartNothingIsDoneAndNothingIsSaid() {
        assertFalse(run());
        assertEquals("", session.status());
        session.rest();
        session.lowMemory();
        session.close();
    }

    @Test
    public void aDamagedBundleIsAMessageAndMayBeMended() {
        damaged = true;
        session.start(Attempt.Backend.AUTO);
        assertTrue(session.message().contains("place it again"));
        assertFalse(run());
        damaged = false;
        session.start(Attempt.Backend.AUTO);
        assertEquals("", session.message());
        assertTrue(run());
    }

    @Test
    public void theStatusSaysWhatReallyLoaded() {
        replay.refused = Attempt.GPU;
        session.start(Attempt.Backend.GPU);
        assertTrue(run());
        String status = session.status();
        assertTrue(status, status.contains("CPU, XNNPACK loaded (GPU was asked for, see the log)"));
        assertTrue(status, status.contains("AffineNet "));
        assertTrue(session.log(), session.log().contains("affinenet.tflite is not for GPU"));
    }

    @Test
    public void beingKilledInTheBackgroundIsNoDelegatesFault() {
        session.start(Attempt.Backend.AUTO);
        session.rest();
        assertFalse(run());
        Session next = new Session(new Desktop()); // another process over the same store
        next.start(Attempt.Backend.AUTO);
        assertTrue(next.log(), next.log().startsWith("QNN DSP, unsigned PD: fine"));
    }

    @Test
    public void beingKilledWhileInUseIs() {
        session.start(Attempt.Backend.AUTO);
        session.rest();
        session.resume();
        assertTrue(run());
        Session next = new Session(new Desktop());
        next.start(Attempt.Backend.AUTO);
        String bad = "marked bad (the app ended while this was in use)";
        assertTrue(next.log(), next.log().contains(bad));
        next.clearMarks();
        assertTrue(next.log(), next.log().startsWith("QNN DSP, unsigned PD: fine"));
    }

    @Test
    public void aRuntimeThatFailsWhileRunningIsPassedOverForTheNext() {
        session.start(Attempt.Backend.AUTO);
        replay.broken = true;
        for (Attempt attempt : Attempt.values()) {
            assertTrue(attempt.label, session.message().isEmpty());
            assertFalse(run());
        }
        assertTrue(session.message(), session.message().startsWith("No way to run"));
        assertFalse(run());
        assertEquals(0, replay.open);
        replay.broken = false;
        session.clearMarks();
        assertTrue(run());
    }

    @Test
    public void networksAreGivenUpForMemoryInTheBackgroundAloneAndComeBack() {
        session.start(Attempt.Backend.AUTO);
        session.lowMemory();
        assertNotNull(session.pipeline());
        session.rest();
        session.lowMemory();
        assertNull(session.pipeline());
        assertEquals(0, replay.open);
        session.resume();
        assertTrue(run());
    }

    @Test
    public void tooLittleMemoryIsAMessage() {
        poor = true;
        session.start(Attempt.Backend.AUTO);
        assertTrue(session.message(), session.message().contains("memory"));
        assertFalse(run());
    }

    @Test
    public void aDumpNeedsANetwork() throws Exception {
        try {
            session.dump(null, 1, new File("/nowhere"), "x");
        } catch (IOException expected) {
            assertEquals("no network is loaded", expected.getMessage());
            return;
        }
        fail("dumped");
    }
}

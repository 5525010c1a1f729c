package i2uv.edge.engine;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;

import i2uv.edge.core.Bundle;
import i2uv.edge.core.BundleException;
import i2uv.edge.core.Vectors;
import i2uv.edge.host.FolderFiles;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import org.junit.Before;
import org.junit.Test;

public class ChooserTest {
    /** Answers as told, and "fine" otherwise; keeps what was tried. */
    private static final class Told implements Trial {
        final Map<Attempt, Outcome> told = new EnumMap<Attempt, Outcome>(Attempt.class);
        final List<Attempt> tried = new ArrayList<Attempt>();

        @Override
        public Outcome run(Attempt attempt) {
            tried.add(attempt);
            return told.containsKey(attempt) ? told.get(attempt) : Outcome.loaded("fine");
        }
    }

    private final Memory memory = new Memory();
    private final Told trial = new Told();
    private final Replay replay = new Replay();
    private Bundle bundle;
    private Marks marks;
    private Chooser chooser;

    @Before
    public void open() throws BundleException {
        bundle = Bundle.open(new FolderFiles(Vectors.bundle()));
        start();
    }

    /** What happens when the app starts. */
    private void start() {
        marks = new Marks(memory, bundle.sha256);
        marks.recover();
        trial.tried.clear();
        chooser = new Chooser(bundle, replay, trial, marks);
    }

    private void dspFails() {
        for (Attempt attempt : Attempt.values()) {
            if (attempt.backend == Attempt.Backend.DSP) {
                trial.told.put(attempt, Trial.Outcome.failed("skel signature of " + attempt.label));
            }
        }
    }

    @Test
    public void theDspIsTriedInEachDomainThenTheGpuThenTheCpu() {
        dspFails();
        trial.told.put(Attempt.GPU, Trial.Outcome.failed("no OpenCL"));
        Chooser.Choice choice = chooser.choose(Attempt.Backend.AUTO);
        assertEquals(Attempt.CPU, choice.attempt);
        assertEquals(java.util.Arrays.asList(Attempt.values()), trial.tried);
        assertTrue(choice.log, choice.log.contains("skel signature of QNN DSP, signed PD"));
        assertTrue(choice.log, choice.log.contains("GPU: no OpenCL"));
        assertTrue(choice.log, choice.log.endsWith("CPU, XNNPACK: fine"));
    }

    @Test
    public void theFirstThatWorksIsTakenAndNothingElseIsTried() {
        assertEquals(Attempt.DSP_UNSIGNED, chooser.choose(Attempt.Backend.AUTO).attempt);
        assertEquals(1, trial.tried.size());
    }

    @Test
    public void whatAPersonChoseIsTriedAndThenTheCpu() {
        trial.told.put(Attempt.GPU, Trial.Outcome.failed("no OpenCL"));
        assertEquals(Attempt.CPU, chooser.choose(Attempt.Backend.GPU).attempt);
        assertEquals(java.util.Arrays.asList(Attempt.GPU, Attempt.CPU), trial.tried);
    }

    @Test
    public void whatCrashesIsMarkedAndNotTriedAgainUntilTheMarksAreCleared() {
        trial.told.put(Attempt.DSP_UNSIGNED, Trial.Outcome.crashed("the trial process ended"));
        chooser.release(chooser.choose(Attempt.Backend.AUTO));
        assertNotNull(marks.bad(Attempt.DSP_UNSIGNED));
        start();
        Chooser.Choice choice = chooser.choose(Attempt.Backend.AUTO);
        assertEquals(Attempt.DSP_SIGNED, choice.attempt);
        assertTrue(choice.log, choice.log.contains("marked bad (the trial process ended)"));
        chooser.release(choice);
        marks.clear();
        start();
        chooser.choose(Attempt.Backend.AUTO);
        assertEquals(Attempt.DSP_UNSIGNED, trial.tried.get(0));
    }

    @Test
    public void whatWasInUseWhenTheAppEndedIsMarkedAtTheNextStart() {
        chooser.choose(Attempt.Backend.AUTO); // and then the process is gone
        start();
        assertEquals(Attempt.DSP_SIGNED, chooser.choose(Attempt.Backend.AUTO).attempt);
        start();
        start();
        assertEquals(Attempt.DSP_ADAPTIVE, chooser.choose(Attempt.Backend.AUTO).attempt);
    }

    @Test
    public void whatWasReleasedIsNotMarked() {
        chooser.release(chooser.choose(Attempt.Backend.AUTO));
        start();
        assertNull(marks.bad(Attempt.DSP_UNSIGNED));
    }

    @Test
    public void aWayThatFailsAfterItsTrialIsPassedOverAndNotMarked() {
        replay.refused = Attempt.DSP_UNSIGNED;
        Chooser.Choice choice = chooser.choose(Attempt.Backend.AUTO);
        assertEquals(Attempt.DSP_SIGNED, choice.attempt);
        assertTrue(choice.log, choice.log.contains("loaded in its trial, then: "));
        start();
        assertNull(marks.bad(Attempt.DSP_UNSIGNED));
    }

    @Test
    public void whereNothingWorksThereIsNoPipelineButALog() {
        for (Attempt attempt : Attempt.values()) {
            trial.told.put(attempt, Trial.Outcome.failed("no runtime"));
        }
        Chooser.Choice choice = chooser.choose(Attempt.Backend.AUTO);
        assertNull(choice.pipeline);
        assertEquals(Attempt.values().length, choice.log.split("\n").length);
        chooser.release(choice);
    }

    @Test
    public void marksOfOneBundleAreNotThoseOfAnother() {
        marks.markBad(Attempt.GPU, "crash");
        assertNull(new Marks(memory, "ffffffffffffffff").bad(Attempt.GPU));
        assertNotNull(new Marks(memory, bundle.sha256).bad(Attempt.GPU));
    }

    @Test
    public void theGoldenTrialMeasuresMillimetres() {
        replay.careless = true;
        Trial golden = new GoldenTrial(bundle, replay);
        Trial.Outcome wrong = golden.run(Attempt.CPU); // the same answer to each of four pictures
        assertTrue(wrong.text, !wrong.loaded && wrong.text.startsWith("computes something else"));
        assertEquals(0, replay.open);
    }

    @Test
    public void theGoldenTrialTellsWhatTheRuntimeSaid() {
        replay.refused = Attempt.GPU;
        Trial.Outcome outcome = new GoldenTrial(bundle, replay).run(Attempt.GPU);
        assertEquals("affinenet.tflite is not for GPU", outcome.text);
    }
}

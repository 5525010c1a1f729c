package i2uv.edge.engine;

import i2uv.edge.core.Bundle;

/** Finds the first way of running that works, and keeps what every other one said. */
public final class Chooser {
    /** What was found; {@code pipeline} and {@code attempt} are null where nothing works. */
    public static final class Choice {
        public final HandPipeline pipeline;
        public final Attempt attempt;

        /** A line for each way that was considered. */
        public final String log;

        private Choice(HandPipeline pipeline, Attempt attempt, String log) {
            this.pipeline = pipeline;
            this.attempt = attempt;
            this.log = log;
        }
    }

    private final Bundle bundle;
    private final NetworkLoader loader;
    private final Trial trial;
    private final Marks marks;

    public Chooser(Bundle bundle, NetworkLoader loader, Trial trial, Marks marks) {
        this.bundle = bundle;
        this.loader = loader;
        this.trial = trial;
        this.marks = marks;
    }

    /**
     * Tries in turn. What is chosen counts as in use until {@link #release}.
     *
     * <p>A way that crashes in its trial is marked bad and not tried again before the marks are
     * cleared, so no start of the app ends in the same crash.
     */
    public Choice choose(Attempt.Backend wanted) {
        StringBuilder log = new StringBuilder();
        for (Attempt attempt : Attempt.of(wanted)) {
            log.append(log.length() > 0 ? "\n" : "").append(attempt.label).append(": ");
            String bad = marks.bad(attempt);
            if (bad != null) {
                log.append("marked bad (").append(bad).append(")");
                continue;
            }
            Trial.Outcome outcome = trial.run(attempt);
            log.append(outcome.text);
            if (outcome.crashed) {
                marks.markBad(attempt, outcome.text);
                log.append("; marked bad");
            }
            if (!outcome.loaded) {
                continue;
            }
            marks.enter(attempt);
            try {
                HandPipeline pipeline = HandPipeline.load(bundle, loader, attempt);
                return new Choice(pipeline, attempt, log.toString());
            } catch (LoadException error) {
                marks.leave(attempt);
                log.append("; loaded in its trial, then: ").append(error.getMessage());
            }
        }
        return new Choice(null, null, log.toString());
    }

    /** Ends the use of a choice in good order. */
    public void release(Choice choice) {
        if (choice.pipeline != null) {
            choice.pipeline.close();
            marks.leave(choice.attempt);
        }
    }
}

package i2uv.edge.engine;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** A way of running a network, in the order in which they are tried. */
public enum Attempt {
    // The DSP takes a process in one of these protection domains. Ordinary apps may use the
    // unsigned one; on some V66 phones that fails with a signature error, and so do the others.
    DSP_UNSIGNED("QNN DSP, unsigned PD", Backend.DSP),
    DSP_SIGNED("QNN DSP, signed PD", Backend.DSP),
    DSP_ADAPTIVE("QNN DSP, adaptive PD", Backend.DSP),
    GPU("GPU", Backend.GPU),
    CPU("CPU, XNNPACK", Backend.CPU);

    /** What a person can choose. */
    public enum Backend {
        AUTO("Auto"),
        DSP("DSP"),
        GPU("GPU"),
        CPU("CPU");

        public final String label;

        Backend(String label) {
            this.label = label;
        }

        public Backend next() {
            return values()[(ordinal() + 1) % values().length];
        }
    }

    public final String label;
    public final Backend backend;

    Attempt(String label, Backend backend) {
        this.label = label;
        this.backend = backend;
    }

    /** What is tried for a choice: what was asked for, and then the CPU, which always works. */
    public static List<Attempt> of(Backend chosen) {
        if (chosen == Backend.AUTO) {
            return Collections.unmodifiableList(Arrays.asList(values()));
        }
        List<Attempt> made = new ArrayList<Attempt>();
        for (Attempt attempt : values()) {
            if (attempt.backend == chosen || attempt == CPU) {
                made.add(attempt);
            }
        }
        return made;
    }
}

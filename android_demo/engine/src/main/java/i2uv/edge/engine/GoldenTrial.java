package i2uv.edge.engine;

import i2uv.edge.core.Bundle;
import i2uv.edge.core.BundleException;
import java.util.List;
import java.util.Locale;

/**
 * Loads both networks and runs the golden samples: a delegate that loads may still compute
 * something else.
 */
public final class GoldenTrial implements Trial {
    /**
     * How far vertices may be from the golden ones on average, millimetres. Half-precision on a GPU
     * is below 1; what is wrong (a layout, a warp) is off by tens.
     */
    public static final double LIMIT_MM = 3.0;

    private final Bundle bundle;
    private final NetworkLoader loader;

    public GoldenTrial(Bundle bundle, NetworkLoader loader) {
        this.bundle = bundle;
        this.loader = loader;
    }

    @Override
    public Outcome run(Attempt attempt) {
        HandPipeline pipeline = null;
        try {
            pipeline = HandPipeline.load(bundle, loader, attempt);
            List<Bundle.Golden> samples = bundle.golden();
            double worst = 0;
            double fastest = Double.POSITIVE_INFINITY; // the first run of some delegates compiles
            for (Bundle.Golden sample : samples) {
                long start = System.nanoTime();
                pipeline.runPicture(sample.picture);
                fastest = Math.min(fastest, (System.nanoTime() - start) / 1e6);
                double apart = apart(pipeline.vertices(), sample.vertices);
                worst = Math.max(worst, apart * bundle.fine.unitMillimetres(sample.vertices));
                if (Double.isNaN(apart)) {
                    worst = Double.POSITIVE_INFINITY;
                }
            }
            String text = String.format(
                    Locale.ROOT, "%.3f mm from the golden vertices, %.1f ms", worst, fastest);
            return worst <= LIMIT_MM
                    ? Outcome.loaded(text)
                    : Outcome.failed("computes something else: " + text);
        } catch (LoadException error) {
            return Outcome.failed(error.getMessage());
        } catch (BundleException error) {
            return Outcome.failed(error.getMessage());
        } catch (RuntimeException error) {
            return Outcome.failed(String.valueOf(error));
        } finally {
            if (pipeline != null) {
                pipeline.close();
            }
        }
    }

    /** Mean distance of two meshes, map units. */
    public static double apart(float[] one, float[] other) {
        double sum = 0;
        for (int i = 0; i < one.length; i += 3) {
            double x = one[i] - other[i];
            double y = one[i + 1] - other[i + 1];
            double z = one[i + 2] - other[i + 2];
            sum += Math.sqrt(x * x + y * y + z * z);
        }
        return sum / (one.length / 3);
    }
}

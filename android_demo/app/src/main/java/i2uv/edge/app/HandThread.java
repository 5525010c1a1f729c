package i2uv.edge.app;

import android.content.Context;
import android.media.Image;
import android.os.Build;
import android.os.Handler;
import android.os.HandlerThread;
import android.os.SystemClock;
import i2uv.edge.core.Box;
import i2uv.edge.core.BundleException;
import i2uv.edge.core.Follower;
import i2uv.edge.core.Frame;
import i2uv.edge.core.Orientation;
import i2uv.edge.core.YuvToRgb;
import i2uv.edge.engine.Attempt;
import i2uv.edge.engine.HandPipeline;
import i2uv.edge.engine.Session;
import java.io.File;
import java.io.IOException;
import java.util.List;

/** The thread that owns bundle and networks; what others ask of it is posted to its handler. */
final class HandThread implements CameraSource.Listener {
    /** Who is told; on this thread. */
    interface Listener {
        void onChanged();

        void onCameraPicture();

        void onCameraLost(String why);

        void onDump(File packed, String text);
    }

    static final int DUMPED = 64; // pictures at most

    final Handler handler;
    final Shown shown = new Shown();
    final CameraSource camera;

    /** How the screen is turned, degrees; set by who knows. */
    volatile int display;

    volatile boolean frozen;
    volatile boolean leftHand;
    volatile boolean follow;

    /** For the screen; replaced as a whole. */
    volatile String status = "";

    volatile String message = "";
    volatile String log = "";

    private final Context context;
    private final Session session;
    private final Listener listener;
    private final HandlerThread thread = new HandlerThread("hand");
    private final YuvToRgb converter = new YuvToRgb();
    private final YuvToRgb.Plane[] planes = {
        new YuvToRgb.Plane(), new YuvToRgb.Plane(), new YuvToRgb.Plane()
    };
    private final Frame frame = new Frame();
    private final Box guide = new Box();
    private final Box box = new Box();
    private Follower follower;
    private boolean following;
    private int still = -1;
    private long told;

    HandThread(Context context, Listener listener) {
        this.context = context;
        this.listener = listener;
        session = new Session(new Phone(context));
        thread.start();
        handler = new Handler(thread.getLooper());
        camera = new CameraSource(context, handler, this);
    }

    void start(final Attempt.Backend backend) {
        post(new Runnable() {
            @Override
            public void run() {
                session.start(backend);
            }
        });
    }

    void rest() {
        post(new Runnable() {
            @Override
            public void run() {
                session.rest();
            }
        });
    }

    void resume() {
        post(new Runnable() {
            @Override
            public void run() {
                session.resume();
            }
        });
    }

    void lowMemory() {
        post(new Runnable() {
            @Override
            public void run() {
                session.lowMemory();
            }
        });
    }

    void clearMarks() {
        post(new Runnable() {
            @Override
            public void run() {
                session.clearMarks();
            }
        });
    }

    /** Shows the next of the bundle's pictures. */
    void nextStill() {
        post(new Runnable() {
            @Override
            public void run() {
                still++;
                showStill();
            }
        });
    }

    void dump() {
        post(new Runnable() {
            @Override
            public void run() {
                File folder = Dumps.folder(context);
                try {
                    String device = Build.MANUFACTURER + " " + Build.MODEL;
                    int count = session.dump(new Dumps.PhoneDecoder(), DUMPED, folder, device);
                    String text = count + " samples in " + folder;
                    listener.onDump(Dumps.pack(context, folder), text);
                } catch (IOException error) {
                    listener.onDump(null, "No dump: " + error.getMessage());
                }
            }
        });
    }

    /** Ends after all that was posted. */
    void quit() {
        handler.post(new Runnable() {
            @Override
            public void run() {
                camera.close();
                session.close();
            }
        });
        thread.quitSafely();
    }

    @Override
    public void onPicture(Image image, int sensorDegrees, boolean front) {
        listener.onCameraPicture();
        if (frozen) {
            return;
        }
        long start = System.nanoTime();
        Image.Plane[] given = image.getPlanes();
        for (int i = 0; i < planes.length; i++) {
            planes[i].set(
                    given[i].getBuffer(), given[i].getRowStride(), given[i].getPixelStride());
        }
        int turns = Orientation.quarterTurns(sensorDegrees, display, front);
        converter.convert(planes[0], planes[1], planes[2],
                image.getWidth() & ~1, image.getHeight() & ~1, turns, frame);
        HandPipeline pipeline = session.pipeline();
        if (pipeline != null) {
            pipeline.rate.stage(HandPipeline.Stage.CONVERT.ordinal(), System.nanoTime() - start);
        }
        guide.inside(frame.width, frame.height);
        if (!follow || !following) {
            box.set(guide.left, guide.top, guide.side);
        }
        show(true, front, image.getTimestamp());
    }

    @Override
    public void onLost(String why) {
        listener.onCameraLost(why);
    }

    private void showStill() {
        if (session.bundle() == null) {
            return;
        }
        try {
            List<String> ids = session.bundle().pictures();
            if (ids.isEmpty()) {
                message = "No pictures were placed with the bundle";
                return;
            }
            byte[] file = session.bundle().picture(ids.get(still % ids.size()));
            frame.copy(new Dumps.PhoneDecoder().decode(file));
            box.whole(frame.width, frame.height);
            show(false, false, 0);
        } catch (BundleException error) {
            message = error.getMessage();
        } catch (IOException error) {
            message = error.getMessage();
        }
    }

    private void show(boolean live, boolean mirrored, long nanos) {
        boolean done = session.run(frame, box, live && leftHand, live, nanos);
        HandPipeline pipeline = session.pipeline();
        if (done && pipeline != null) {
            shown.put(frame, mirrored, box, pipeline.placed(), pipeline.normals(),
                    session.bundle().fine.faces);
            if (live && follow) {
                if (follower == null) {
                    follower = new Follower(session.bundle().margin);
                }
                following = follower.next(
                        pipeline.placed(), frame.width, frame.height, guide, box);
            }
        } else {
            shown.put(frame, mirrored, box, null, null, null);
        }
        long now = SystemClock.uptimeMillis();
        if (!done || !live || now - told > 500) {
            told = now;
            tell();
        }
    }

    private void tell() {
        status = session.status();
        log = session.log();
        if (!session.message().isEmpty()) {
            message = session.message();
        }
        listener.onChanged();
    }

    /** Work that ends with the screen told; whatever it throws ends in a message. */
    private void post(final Runnable work) {
        handler.post(new Runnable() {
            @Override
            public void run() {
                message = "";
                try {
                    work.run();
                } catch (OutOfMemoryError error) {
                    session.close();
                    message = "There is not enough memory";
                }
                tell();
            }
        });
    }
}

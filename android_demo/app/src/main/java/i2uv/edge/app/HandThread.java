package i2uv.edge.app;

import android.content.Context;
import android.media.Image;
import android.os.Build;
import android.os.Handler;
import android.os.HandlerThread;
import android.os.SystemClock;
import android.util.Log;
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
        /** Texts have changed. */
        void onChanged();

        /** There is something new to draw. */
        void onShown();

        void onCameraPicture();

        void onCameraLost(String why);

        void onDump(File packed, String text);
    }

    static final int DUMPED = 24; // pictures at most; a sample has 1 MB

    private static final long REFRESH_MS = 500; // texts that change faster cannot be read

    private static HandThread shared;

    final Handler handler;
    final Shown shown = new Shown();
    final CameraSource camera;

    /** How the screen is turned, degrees; set by who knows. */
    volatile int display;

    /** What was asked for. */
    volatile Attempt.Backend backend = Attempt.Backend.AUTO;

    volatile boolean frozen;
    volatile boolean leftHand;
    volatile boolean follow;

    /** For the screen; replaced as a whole. */
    volatile String status = "";

    volatile String message = "";
    volatile String log = "";

    private final Context context;
    private final Session session;
    private volatile Listener listener;
    private final HandlerThread thread = new HandlerThread("hand");
    private final YuvToRgb converter = new YuvToRgb();
    private final YuvToRgb.Plane[] planes = {
        new YuvToRgb.Plane(), new YuvToRgb.Plane(), new YuvToRgb.Plane()
    };
    private final Frame frame = new Frame();
    private final Box guide = new Box();
    private final Box box = new Box();
    private volatile boolean started;
    private Follower follower;
    private boolean following;
    private int still = -1;
    private long refreshed;

    /** One for the process: an activity may be made anew while the networks run. */
    static synchronized HandThread of(Context context) {
        if (shared == null) {
            shared = new HandThread(context.getApplicationContext());
        }
        return shared;
    }

    private HandThread(Context context) {
        this.context = context;
        session = new Session(new Phone(context));
        thread.start();
        handler = new Handler(thread.getLooper());
        camera = new CameraSource(context, handler, this);
    }

    /** Who is told from now on. */
    void tell(Listener listener) {
        this.listener = listener;
    }

    /** Nobody is told any more, unless somebody else is by now. */
    void tellNoMore(Listener gone) {
        if (listener == gone) {
            listener = null;
        }
    }

    /** Shows a text until something else is asked for. */
    void say(String text) {
        message = text;
        changed();
    }

    /** Once in the life of a process, or after it was finished. */
    void start() {
        if (!started) {
            choose(backend);
        }
    }

    void choose(final Attempt.Backend wanted) {
        started = true;
        backend = wanted;
        post("Looking for a way to run the networks", new Runnable() {
            @Override
            public void run() {
                session.start(wanted);
            }
        });
    }

    void rest() {
        post("", new Runnable() {
            @Override
            public void run() {
                session.rest();
            }
        });
    }

    void resume() {
        post("", new Runnable() {
            @Override
            public void run() {
                session.resume();
            }
        });
    }

    void lowMemory() {
        post("", new Runnable() {
            @Override
            public void run() {
                session.lowMemory();
            }
        });
    }

    void clearMarks() {
        post("Trying every way again", new Runnable() {
            @Override
            public void run() {
                session.clearMarks();
            }
        });
    }

    /** Shows the next of the bundle's pictures. */
    void nextStill() {
        post("", new Runnable() {
            @Override
            public void run() {
                still++;
                showStill();
            }
        });
    }

    void dump() {
        post("Writing a dump", new Runnable() {
            @Override
            public void run() {
                File folder = Dumps.folder(context);
                try {
                    String device = Build.MANUFACTURER + " " + Build.MODEL;
                    int count = session.dump(new Dumps.PhoneDecoder(), DUMPED, folder, device);
                    String text = count + " samples in " + folder;
                    dumped(Dumps.pack(context, folder), text);
                } catch (IOException error) {
                    dumped(null, "No dump: " + error.getMessage());
                }
            }
        });
    }

    /** Gives up camera and networks; a new start brings them back. */
    void finish() {
        started = false;
        post("", new Runnable() {
            @Override
            public void run() {
                camera.close();
                session.close();
            }
        });
    }

    @Override
    public void onPicture(Image image, int sensorDegrees, boolean front) {
        Listener told = listener;
        if (told != null) {
            told.onCameraPicture();
        }
        if (frozen) {
            return;
        }
        try {
            convert(image, Orientation.quarterTurns(sensorDegrees, display, front));
        } catch (RuntimeException error) {
            say("A picture of the camera cannot be used: " + error);
            return;
        }
        guide.inside(frame.width, frame.height);
        if (!follow || !following) {
            box.set(guide.left, guide.top, guide.side);
        }
        show(true, front, image.getTimestamp());
    }

    @Override
    public void onLost(String why) {
        Listener told = listener;
        if (told != null) {
            told.onCameraLost(why);
        }
    }

    private void convert(Image image, int turns) {
        long start = System.nanoTime();
        Image.Plane[] given = image.getPlanes();
        for (int i = 0; i < planes.length; i++) {
            planes[i].set(
                    given[i].getBuffer(), given[i].getRowStride(), given[i].getPixelStride());
        }
        converter.convert(planes[0], planes[1], planes[2],
                image.getWidth() & ~1, image.getHeight() & ~1, turns, frame);
        HandPipeline pipeline = session.pipeline();
        if (pipeline != null) {
            pipeline.rate.stage(HandPipeline.Stage.CONVERT.ordinal(), System.nanoTime() - start);
        }
    }

    private void showStill() {
        if (session.bundle() == null) {
            return;
        }
        try {
            List<String> ids = session.bundle().pictures();
            if (ids.isEmpty()) {
                say("No pictures were placed with the bundle");
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
        Listener told = listener;
        if (told != null) {
            told.onShown();
        }
        long now = SystemClock.uptimeMillis();
        if (!done || !live || now - refreshed > REFRESH_MS) {
            refreshed = now;
            refresh();
        }
    }

    private void refresh() {
        status = session.status();
        log = session.log();
        if (!session.message().isEmpty()) {
            message = session.message();
        }
        changed();
    }

    private void changed() {
        Listener told = listener;
        if (told != null) {
            told.onChanged();
        }
    }

    private void dumped(File packed, String text) {
        Listener told = listener;
        if (told != null) {
            told.onDump(packed, text);
        }
    }

    /** Work that may take long; whatever goes wrong in it ends in a message, and not the app. */
    private void post(final String doing, final Runnable work) {
        handler.post(new Runnable() {
            @Override
            public void run() {
                say(doing);
                try {
                    work.run();
                    if (message.equals(doing)) {
                        message = "";
                    }
                } catch (RuntimeException error) {
                    Log.e(Phone.TAG, doing, error);
                    message = "This went wrong: " + error;
                } catch (OutOfMemoryError error) {
                    session.close();
                    message = "There is not enough memory";
                }
                refresh();
            }
        });
    }
}

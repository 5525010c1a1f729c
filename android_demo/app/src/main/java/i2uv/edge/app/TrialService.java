package i2uv.edge.app;

import android.app.Service;
import android.content.Intent;
import android.os.Bundle;
import android.os.Handler;
import android.os.HandlerThread;
import android.os.IBinder;
import android.os.Looper;
import android.os.Message;
import android.os.Messenger;
import android.os.RemoteException;
import android.util.Log;
import i2uv.edge.core.BundleException;
import i2uv.edge.engine.Attempt;
import i2uv.edge.engine.GoldenTrial;
import i2uv.edge.engine.Trial;

/**
 * Tries a way of running, in a process of its own that may crash. Each way has its own: the DSP's
 * protection domain is chosen once in the life of a process.
 */
public abstract class TrialService extends Service {
    /** In the manifest, so public. */
    public static final class DspUnsigned extends TrialService {}

    /** In the manifest, so public. */
    public static final class DspSigned extends TrialService {}

    /** In the manifest, so public. */
    public static final class DspAdaptive extends TrialService {}

    /** In the manifest, so public. */
    public static final class Gpu extends TrialService {}

    /** In the manifest, so public. */
    public static final class Cpu extends TrialService {}

    static final String LOADED = "loaded";
    static final String TEXT = "text";
    static final String PROCESS = "process";

    static Class<? extends TrialService> of(Attempt attempt) {
        switch (attempt) {
            case DSP_UNSIGNED:
                return DspUnsigned.class;
            case DSP_SIGNED:
                return DspSigned.class;
            case DSP_ADAPTIVE:
                return DspAdaptive.class;
            case GPU:
                return Gpu.class;
            default:
                return Cpu.class;
        }
    }

    private HandlerThread thread;
    private Messenger messenger;

    @Override
    public void onCreate() {
        super.onCreate();
        thread = new HandlerThread("trial");
        thread.start();
        messenger = new Messenger(new Answering(thread.getLooper()));
    }

    @Override
    public IBinder onBind(Intent intent) {
        return messenger.getBinder();
    }

    @Override
    public void onDestroy() {
        super.onDestroy();
        // What a runtime has loaded stays in the process; the next trial has to begin without it.
        android.os.Process.killProcess(android.os.Process.myPid());
    }

    private final class Answering extends Handler {
        Answering(Looper looper) {
            super(looper);
        }

        @Override
        public void handleMessage(Message asked) {
            // First who is asked, so that it can be ended should it never answer.
            answer(asked.replyTo, false, "");
            Attempt attempt = Attempt.values()[asked.what];
            Trial.Outcome outcome;
            try {
                Phone phone = new Phone(TrialService.this);
                outcome = new GoldenTrial(phone.open(), phone.loader()).run(attempt);
            } catch (BundleException error) {
                outcome = Trial.Outcome.failed(error.getMessage());
            } catch (OutOfMemoryError error) {
                outcome = Trial.Outcome.failed("not enough memory");
            }
            answer(asked.replyTo, outcome.loaded, outcome.text);
        }

        private void answer(Messenger to, boolean loaded, String text) {
            Bundle data = new Bundle();
            data.putBoolean(LOADED, loaded);
            data.putString(TEXT, text);
            data.putInt(PROCESS, android.os.Process.myPid());
            Message message = Message.obtain();
            message.setData(data);
            try {
                to.send(message);
            } catch (RemoteException error) {
                Log.w(Phone.TAG, "who asked is gone", error);
            }
        }
    }
}

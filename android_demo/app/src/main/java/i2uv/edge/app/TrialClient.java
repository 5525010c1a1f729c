package i2uv.edge.app;

import android.content.ComponentName;
import android.content.Context;
import android.content.Intent;
import android.content.ServiceConnection;
import android.os.Bundle;
import android.os.Handler;
import android.os.IBinder;
import android.os.Looper;
import android.os.Message;
import android.os.Messenger;
import android.os.RemoteException;
import i2uv.edge.engine.Attempt;
import i2uv.edge.engine.Trial;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Asks the process of {@link TrialService}, and notices when that ends. */
final class TrialClient implements Trial {
    private static final int SECONDS = 60; // a GPU may compile its kernels for long

    private final Context context;

    TrialClient(Context context) {
        this.context = context;
    }

    @Override
    public Outcome run(Attempt attempt) {
        Asking asking = new Asking(attempt);
        Intent service = new Intent(context, TrialService.of(attempt));
        try {
            if (!context.bindService(service, asking, Context.BIND_AUTO_CREATE)) {
                return Outcome.failed("the trial process could not be started");
            }
            Outcome outcome = asking.answers.poll(SECONDS, TimeUnit.SECONDS);
            if (outcome == null && asking.process != 0) {
                android.os.Process.killProcess(asking.process);
            }
            return outcome != null
                    ? outcome
                    : Outcome.crashed("no answer in " + SECONDS + " seconds");
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            return Outcome.failed("interrupted");
        } finally {
            context.unbindService(asking);
        }
    }

    /** Callbacks come on the main thread. */
    private static final class Asking implements ServiceConnection {
        final LinkedBlockingQueue<Outcome> answers = new LinkedBlockingQueue<Outcome>();
        volatile int process;

        private final Attempt attempt;
        private final Messenger here = new Messenger(new Handler(Looper.getMainLooper()) {
            @Override
            public void handleMessage(Message message) {
                Bundle data = message.getData();
                String text = data.getString(TrialService.TEXT);
                process = data.getInt(TrialService.PROCESS);
                if (!text.isEmpty()) {
                    boolean loaded = data.getBoolean(TrialService.LOADED);
                    answers.add(loaded ? Outcome.loaded(text) : Outcome.failed(text));
                }
            }
        });

        Asking(Attempt attempt) {
            this.attempt = attempt;
        }

        @Override
        public void onServiceConnected(ComponentName name, IBinder binder) {
            Message message = Message.obtain();
            message.replyTo = here;
            message.what = attempt.ordinal();
            try {
                new Messenger(binder).send(message);
            } catch (RemoteException error) {
                answers.add(Outcome.crashed("the trial process ended at once"));
            }
        }

        @Override
        public void onServiceDisconnected(ComponentName name) {
            answers.add(Outcome.crashed("the trial process ended while it was tried"));
        }
    }
}

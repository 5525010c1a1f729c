package i2uv.edge.engine;

/**
 * What the camera is doing, from what happened to it. Every state but RUNNING has a message, and
 * none is left without a person's doing more than a few times: a camera that fails does not spin.
 */
public final class CameraFlow {
    /** What the app has to do next. */
    public enum Action {
        NONE,
        ASK_PERMISSION,
        OPEN,
        CLOSE
    }

    /** Where things are. */
    public enum State {
        AWAY,
        ASKING,
        DENIED,
        DENIED_FOR_GOOD,
        OPENING,
        RUNNING,
        LOST,
        FAILED,
        STILL
    }

    private static final int TRIES = 3;
    private static final long CALM_MS = 30000; // after which earlier losses are forgotten

    private volatile State state = State.AWAY; // read where pictures come from
    private boolean visible;
    private boolean still;
    private int losses;
    private long lastLoss;
    private String reason = "";

    public State state() {
        return state;
    }

    /** What to show; empty while pictures come. */
    public String message() {
        switch (state) {
            case ASKING:
                return "Waiting for the permission to use the camera";
            case DENIED:
                return "The camera was denied. Tap Retry to be asked again, or look at a still"
                        + " picture";
            case DENIED_FOR_GOOD:
                return "The camera was denied for good. Allow it in the system's settings of this"
                        + " app, or look at a still picture";
            case OPENING:
                return "Opening the camera";
            case LOST:
                return "The camera was lost (" + reason + "), opening it again";
            case FAILED:
                return "The camera failed (" + reason + "). Tap Retry, or look at a still picture";
            default:
                return "";
        }
    }

    /** The app came to the foreground. */
    public Action shown(boolean permitted) {
        visible = true;
        losses = 0;
        return start(permitted);
    }

    /** The app went to the background; another one may want the camera. */
    public Action hidden() {
        visible = false;
        boolean open = state == State.OPENING || state == State.RUNNING;
        state = State.AWAY;
        return open ? Action.CLOSE : Action.NONE;
    }

    /** A person turned still pictures on or off. */
    public Action still(boolean on, boolean permitted) {
        still = on;
        if (!on) {
            losses = 0;
            return visible ? start(permitted) : Action.NONE;
        }
        boolean open = state == State.OPENING || state == State.RUNNING;
        state = State.STILL;
        return open ? Action.CLOSE : Action.NONE;
    }

    /** The dialog was answered. */
    public Action answered(boolean granted, boolean mayAskAgain) {
        if (state != State.ASKING) {
            return Action.NONE;
        }
        if (granted) {
            state = State.OPENING;
            return Action.OPEN;
        }
        state = mayAskAgain ? State.DENIED : State.DENIED_FOR_GOOD;
        return Action.NONE;
    }

    /** A person tapped Retry. */
    public Action retry(boolean permitted) {
        losses = 0;
        boolean waits = state == State.DENIED || state == State.DENIED_FOR_GOOD
                || state == State.FAILED;
        return visible && waits ? start(permitted) : Action.NONE;
    }

    /** A picture came. */
    public void picture() {
        if (state == State.OPENING) { // a late one of a camera that is lost changes nothing
            state = State.RUNNING;
        }
    }

    /** The camera could not be opened, was taken away, or broke, at that time, milliseconds. */
    public Action lost(String why, long now) {
        if (state != State.OPENING && state != State.RUNNING) {
            return Action.NONE;
        }
        reason = why;
        losses = now - lastLoss > CALM_MS ? 1 : losses + 1;
        lastLoss = now;
        if (losses > TRIES) {
            state = State.FAILED;
            return Action.CLOSE;
        }
        state = State.LOST;
        return Action.CLOSE;
    }

    /** After a loss and a pause: once more. */
    public Action again() {
        if (state != State.LOST) {
            return Action.NONE;
        }
        state = State.OPENING;
        return Action.OPEN;
    }

    private Action start(boolean permitted) {
        if (still) {
            state = State.STILL;
            return Action.NONE;
        }
        state = permitted ? State.OPENING : State.ASKING;
        return permitted ? Action.OPEN : Action.ASK_PERMISSION;
    }
}

package i2uv.edge.app;

import android.Manifest;
import android.app.Activity;
import android.content.ClipData;
import android.content.Intent;
import android.content.pm.PackageManager;
import android.content.res.Configuration;
import android.graphics.Color;
import android.net.Uri;
import android.opengl.GLSurfaceView;
import android.os.Bundle;
import android.os.SystemClock;
import android.view.Gravity;
import android.view.Surface;
import android.view.View;
import android.view.ViewGroup;
import android.view.WindowManager;
import android.widget.Button;
import android.widget.FrameLayout;
import android.widget.HorizontalScrollView;
import android.widget.LinearLayout;
import android.widget.TextView;
import android.widget.Toast;
import i2uv.edge.demo.R;
import i2uv.edge.engine.CameraFlow;
import java.io.File;

/** The one screen: picture and mesh, what runs and how fast, a row of buttons. */
public final class MainActivity extends Activity implements HandThread.Listener {
    private static final int PERMISSION = 1;
    private static final long AGAIN_MS = 1500;

    private final CameraFlow flow = new CameraFlow();
    private HandThread hand;
    private GLSurfaceView surface;
    private TextView status;
    private TextView message;
    private boolean front;
    private boolean still;
    private boolean log;
    private boolean asked;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        getWindow().addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON);
        hand = HandThread.of(this);
        surface = new GLSurfaceView(this);
        surface.setEGLContextClientVersion(2);
        surface.setEGLConfigChooser(8, 8, 8, 8, 16, 0);
        surface.setRenderer(new HandRenderer(getAssets(), hand));
        surface.setRenderMode(GLSurfaceView.RENDERMODE_WHEN_DIRTY);
        FrameLayout root = new FrameLayout(this);
        root.addView(surface);
        status = text(root, Gravity.TOP | Gravity.START);
        message = text(root, Gravity.CENTER);
        message.setTextColor(Color.YELLOW);
        HorizontalScrollView row = new HorizontalScrollView(this);
        row.addView(buttons());
        root.addView(row, new FrameLayout.LayoutParams(ViewGroup.LayoutParams.MATCH_PARENT,
                ViewGroup.LayoutParams.WRAP_CONTENT, Gravity.BOTTOM));
        setContentView(root);
        hand.tell(this);
        hand.start();
    }

    @Override
    protected void onStart() {
        super.onStart();
        surface.onResume();
        hand.resume();
        act(flow.shown(permitted()));
    }

    @Override
    protected void onStop() {
        act(flow.hidden());
        hand.rest();
        surface.onPause();
        super.onStop();
    }

    @Override
    protected void onDestroy() {
        hand.tellNoMore(this);
        if (isFinishing()) {
            hand.finish();
        }
        super.onDestroy();
    }

    @Override
    public void onConfigurationChanged(Configuration configuration) {
        super.onConfigurationChanged(configuration);
        turned();
    }

    @Override
    public void onTrimMemory(int level) {
        super.onTrimMemory(level);
        if (level >= TRIM_MEMORY_BACKGROUND) {
            hand.lowMemory();
        } else if (level == TRIM_MEMORY_RUNNING_CRITICAL) {
            hand.say(getString(R.string.short_memory));
        }
    }

    @Override
    public void onRequestPermissionsResult(int code, String[] names, int[] results) {
        asked = false;
        if (results.length == 0) {
            return; // the dialog was taken away: it comes again with the next onStart
        }
        boolean granted = results[0] == PackageManager.PERMISSION_GRANTED;
        boolean again = shouldShowRequestPermissionRationale(Manifest.permission.CAMERA);
        act(flow.answered(granted, again));
    }

    // --- from the hand's thread ---------------------------------------------------------------

    @Override
    public void onChanged() {
        runOnUiThread(new Runnable() {
            @Override
            public void run() {
                refresh();
            }
        });
    }

    @Override
    public void onShown() {
        surface.requestRender();
    }

    @Override
    public void onCameraPicture() {
        if (flow.state() != CameraFlow.State.RUNNING) {
            runOnUiThread(new Runnable() {
                @Override
                public void run() {
                    flow.picture();
                    refresh();
                }
            });
        }
    }

    @Override
    public void onCameraLost(final String why) {
        runOnUiThread(new Runnable() {
            @Override
            public void run() {
                act(flow.lost(why, SystemClock.uptimeMillis()));
                message.postDelayed(new Runnable() {
                    @Override
                    public void run() {
                        act(flow.again());
                    }
                }, AGAIN_MS);
            }
        });
    }

    @Override
    public void onDump(final File packed, final String text) {
        runOnUiThread(new Runnable() {
            @Override
            public void run() {
                Toast.makeText(MainActivity.this, text, Toast.LENGTH_LONG).show();
                if (packed != null) {
                    share(packed);
                }
            }
        });
    }

    private void share(File packed) {
        Uri uri = DumpProvider.of(packed);
        Intent send = new Intent(Intent.ACTION_SEND);
        send.setType("application/zip");
        send.putExtra(Intent.EXTRA_STREAM, uri);
        send.setClipData(ClipData.newRawUri("", uri)); // carries the grant to who is chosen
        send.addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION);
        startActivity(Intent.createChooser(send, getString(R.string.share)));
    }

    // --- the screen -----------------------------------------------------------------------------

    private LinearLayout buttons() {
        final LinearLayout row = new LinearLayout(this);
        final Button choose = button(row, hand.backend.label);
        choose.setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View view) {
                hand.choose(hand.backend.next());
                choose.setText(hand.backend.label);
            }
        });
        final Button freeze = button(
                row, getString(hand.frozen ? R.string.go_on : R.string.freeze));
        freeze.setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View view) {
                hand.frozen = !hand.frozen;
                freeze.setText(hand.frozen ? R.string.go_on : R.string.freeze);
            }
        });
        button(row, getString(R.string.turn)).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View view) {
                front = !front;
                act(flow.still(true, permitted()));
                act(still ? CameraFlow.Action.NONE : flow.still(false, permitted()));
            }
        });
        final Button pictures = button(row, getString(R.string.still));
        final Button camera = button(row, getString(R.string.camera));
        camera.setVisibility(View.GONE);
        pictures.setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View view) {
                if (!still) {
                    still = true;
                    act(flow.still(true, permitted()));
                    pictures.setText(R.string.next);
                    camera.setVisibility(View.VISIBLE);
                }
                hand.nextStill();
            }
        });
        camera.setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View view) {
                still = false;
                pictures.setText(R.string.still);
                camera.setVisibility(View.GONE);
                act(flow.still(false, permitted()));
            }
        });
        final Button side = button(
                row, getString(hand.leftHand ? R.string.left_hand : R.string.right_hand));
        side.setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View view) {
                hand.leftHand = !hand.leftHand;
                side.setText(hand.leftHand ? R.string.left_hand : R.string.right_hand);
            }
        });
        final Button follow = button(
                row, getString(hand.follow ? R.string.follow : R.string.guide));
        follow.setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View view) {
                hand.follow = !hand.follow;
                follow.setText(hand.follow ? R.string.follow : R.string.guide);
            }
        });
        button(row, getString(R.string.dump)).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View view) {
                hand.dump();
            }
        });
        button(row, getString(R.string.log)).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View view) {
                log = !log;
                refresh();
            }
        });
        button(row, getString(R.string.clear)).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View view) {
                hand.clearMarks();
            }
        });
        button(row, getString(R.string.retry)).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View view) {
                act(flow.retry(permitted()));
            }
        });
        return row;
    }

    private Button button(LinearLayout row, String label) {
        Button made = new Button(this);
        made.setText(label);
        made.setAllCaps(false);
        row.addView(made);
        return made;
    }

    private TextView text(FrameLayout root, int gravity) {
        TextView made = new TextView(this);
        made.setTextColor(Color.WHITE);
        made.setBackgroundColor(0x80000000);
        made.setPadding(16, 16, 16, 16);
        root.addView(made, new FrameLayout.LayoutParams(ViewGroup.LayoutParams.WRAP_CONTENT,
                ViewGroup.LayoutParams.WRAP_CONTENT, gravity));
        return made;
    }

    private void refresh() {
        turned(); // half a turn comes without a change of configuration
        String shown = hand.status;
        status.setText(log ? shown + "\n\n" + hand.log : shown);
        String said = hand.message;
        if (!flow.message().isEmpty()) {
            said += (said.isEmpty() ? "" : "\n\n") + flow.message();
        }
        message.setText(said);
        message.setVisibility(said.isEmpty() ? View.GONE : View.VISIBLE);
    }

    // --- the camera -----------------------------------------------------------------------------

    private boolean permitted() {
        return checkSelfPermission(Manifest.permission.CAMERA)
                == PackageManager.PERMISSION_GRANTED;
    }

    private void act(CameraFlow.Action action) {
        switch (action) {
            case ASK_PERMISSION:
                if (!asked) {
                    asked = true;
                    requestPermissions(new String[] {Manifest.permission.CAMERA}, PERMISSION);
                }
                break;
            case OPEN:
                final boolean side = front;
                hand.handler.post(new Runnable() {
                    @Override
                    public void run() {
                        hand.camera.open(side);
                    }
                });
                break;
            case CLOSE:
                hand.handler.post(new Runnable() {
                    @Override
                    public void run() {
                        hand.camera.close();
                    }
                });
                break;
            default:
                break;
        }
        refresh();
    }

    private void turned() {
        switch (getWindowManager().getDefaultDisplay().getRotation()) {
            case Surface.ROTATION_90:
                hand.display = 90;
                break;
            case Surface.ROTATION_180:
                hand.display = 180;
                break;
            case Surface.ROTATION_270:
                hand.display = 270;
                break;
            default:
                hand.display = 0;
                break;
        }
    }
}

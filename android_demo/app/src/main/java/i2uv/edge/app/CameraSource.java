package i2uv.edge.app;

import android.annotation.SuppressLint;
import android.content.Context;
import android.graphics.ImageFormat;
import android.hardware.camera2.CameraAccessException;
import android.hardware.camera2.CameraCaptureSession;
import android.hardware.camera2.CameraCharacteristics;
import android.hardware.camera2.CameraDevice;
import android.hardware.camera2.CameraManager;
import android.hardware.camera2.CaptureRequest;
import android.hardware.camera2.params.StreamConfigurationMap;
import android.media.Image;
import android.media.ImageReader;
import android.os.Handler;
import android.util.Size;
import java.util.Collections;

/** Pictures of one camera, the newest alone; everything happens on the handler's thread. */
final class CameraSource {
    /** Who gets them. */
    interface Listener {
        /** The image is closed when this returns. */
        void onPicture(Image image, int sensorDegrees, boolean front);

        /** The camera is no longer there; it is closed already. */
        void onLost(String why);
    }

    private static final int WIDTH = 640;
    private static final int HEIGHT = 480;

    private final CameraManager manager;
    private final Handler handler;
    private final Listener listener;
    private CameraDevice device;
    private ImageReader reader;
    private int opening; // which try is the current one: answers to older ones are too late

    CameraSource(Context context, Handler handler, Listener listener) {
        manager = (CameraManager) context.getSystemService(Context.CAMERA_SERVICE);
        this.handler = handler;
        this.listener = listener;
    }

    /** Opens a camera; the permission is there, or the phone says that it is not. */
    @SuppressLint("MissingPermission")
    void open(boolean front) {
        close();
        final int turn = opening;
        try {
            String id = choose(front);
            if (id == null) {
                lost("this phone has no camera");
                return;
            }
            CameraCharacteristics facts = manager.getCameraCharacteristics(id);
            Size size = size(facts);
            Integer sensor = facts.get(CameraCharacteristics.SENSOR_ORIENTATION);
            reader = ImageReader.newInstance(
                    size.getWidth(), size.getHeight(), ImageFormat.YUV_420_888, 2);
            reader.setOnImageAvailableListener(
                    new Pictures(sensor == null ? 90 : sensor, faces(facts)), handler);
            manager.openCamera(id, new Opening(turn), handler);
        } catch (CameraAccessException error) {
            lost(String.valueOf(error.getMessage()));
        } catch (SecurityException error) {
            lost("not permitted");
        } catch (IllegalArgumentException error) {
            lost(String.valueOf(error.getMessage()));
        }
    }

    void close() {
        opening++;
        if (device != null) {
            device.close();
            device = null;
        }
        if (reader != null) {
            reader.close();
            reader = null;
        }
    }

    private void lost(String why) {
        close();
        listener.onLost(why);
    }

    /** The camera on the wanted side, else any. */
    private String choose(boolean front) throws CameraAccessException {
        String[] ids = manager.getCameraIdList();
        for (String id : ids) {
            if (faces(manager.getCameraCharacteristics(id)) == front) {
                return id;
            }
        }
        return ids.length > 0 ? ids[0] : null;
    }

    private static boolean faces(CameraCharacteristics facts) {
        Integer facing = facts.get(CameraCharacteristics.LENS_FACING);
        return facing != null && facing == CameraCharacteristics.LENS_FACING_FRONT;
    }

    /** The size nearest to what the networks need. */
    private static Size size(CameraCharacteristics facts) {
        StreamConfigurationMap map =
                facts.get(CameraCharacteristics.SCALER_STREAM_CONFIGURATION_MAP);
        Size[] sizes = map == null ? null : map.getOutputSizes(ImageFormat.YUV_420_888);
        Size best = new Size(WIDTH, HEIGHT);
        int least = Integer.MAX_VALUE;
        for (Size size : sizes == null ? new Size[0] : sizes) {
            int apart = Math.abs(size.getWidth() - WIDTH) + Math.abs(size.getHeight() - HEIGHT);
            if (apart < least) {
                least = apart;
                best = size;
            }
        }
        return best;
    }

    private final class Pictures implements ImageReader.OnImageAvailableListener {
        private final int sensor;
        private final boolean front;

        Pictures(int sensor, boolean front) {
            this.sensor = sensor;
            this.front = front;
        }

        @Override
        public void onImageAvailable(ImageReader from) {
            Image image = from == reader ? from.acquireLatestImage() : null;
            if (image != null) {
                try {
                    listener.onPicture(image, sensor, front);
                } finally {
                    image.close();
                }
            }
        }
    }

    private final class Opening extends CameraDevice.StateCallback {
        private final int turn;

        Opening(int turn) {
            this.turn = turn;
        }

        @Override
        public void onOpened(CameraDevice opened) {
            if (turn != opening) {
                opened.close();
                return;
            }
            device = opened;
            try {
                CaptureRequest.Builder request =
                        opened.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW);
                request.addTarget(reader.getSurface());
                opened.createCaptureSession(
                        Collections.singletonList(reader.getSurface()),
                        new Configuring(turn, request.build()), handler);
            } catch (CameraAccessException error) {
                lost(String.valueOf(error.getMessage()));
            } catch (IllegalStateException error) {
                lost(String.valueOf(error.getMessage()));
            }
        }

        @Override
        public void onDisconnected(CameraDevice gone) {
            gone.close();
            if (turn == opening) {
                lost("another app took it");
            }
        }

        @Override
        public void onError(CameraDevice broken, int code) {
            broken.close();
            if (turn == opening) {
                lost("error " + code);
            }
        }
    }

    private final class Configuring extends CameraCaptureSession.StateCallback {
        private final int turn;
        private final CaptureRequest request;

        Configuring(int turn, CaptureRequest request) {
            this.turn = turn;
            this.request = request;
        }

        @Override
        public void onConfigured(CameraCaptureSession session) {
            if (turn != opening) {
                return;
            }
            try {
                session.setRepeatingRequest(request, null, handler);
            } catch (CameraAccessException error) {
                lost(String.valueOf(error.getMessage()));
            } catch (IllegalStateException error) {
                lost(String.valueOf(error.getMessage()));
            }
        }

        @Override
        public void onConfigureFailed(CameraCaptureSession session) {
            if (turn == opening) {
                lost("it takes no such pictures");
            }
        }
    }
}

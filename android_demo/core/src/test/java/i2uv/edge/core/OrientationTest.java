package i2uv.edge.core;

import static org.junit.Assert.assertEquals;

import org.junit.Test;

public class OrientationTest {
    // The orientation of a JPEG as CameraCharacteristics.SENSOR_ORIENTATION's documentation has it:
    // sensor plus device for a camera at the back, sensor minus device for one at the front, where
    // the device is turned clockwise by as much as the screen is turned back.
    @Test
    public void turnsAreThoseOfAnUprightJpeg() {
        for (int sensor = 0; sensor < 360; sensor += 90) {
            for (int display = 0; display < 360; display += 90) {
                int device = (360 - display) % 360;
                int back = (sensor + device) % 360 / 90;
                int front = (sensor - device + 360) % 360 / 90;
                assertEquals(back, Orientation.quarterTurns(sensor, display, false));
                assertEquals(front, Orientation.quarterTurns(sensor, display, true));
            }
        }
    }

    @Test
    public void aPhoneHeldUprightTurnsItsBackCamerasPictureOnce() {
        assertEquals(1, Orientation.quarterTurns(90, 0, false));
        assertEquals(0, Orientation.quarterTurns(90, 90, false));
        assertEquals(3, Orientation.quarterTurns(270, 0, true));
    }
}

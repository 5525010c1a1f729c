package i2uv.edge.engine;

import static i2uv.edge.engine.CameraFlow.Action.ASK_PERMISSION;
import static i2uv.edge.engine.CameraFlow.Action.CLOSE;
import static i2uv.edge.engine.CameraFlow.Action.NONE;
import static i2uv.edge.engine.CameraFlow.Action.OPEN;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import org.junit.Test;

public class CameraFlowTest {
    private final CameraFlow flow = new CameraFlow();

    private void running() {
        assertEquals(OPEN, flow.shown(true));
        flow.picture();
        assertEquals(CameraFlow.State.RUNNING, flow.state());
        assertEquals("", flow.message());
    }

    @Test
    public void permissionIsAskedOnceAndThenTheCameraOpens() {
        assertEquals(ASK_PERMISSION, flow.shown(false));
        assertTrue(flow.message().contains("permission"));
        assertEquals(OPEN, flow.answered(true, true));
        assertEquals(NONE, flow.answered(true, true));
    }

    @Test
    public void aDenialIsNotAskedAgainUntilAPersonWantsIt() {
        flow.shown(false);
        assertEquals(NONE, flow.answered(false, true));
        assertTrue(flow.message(), flow.message().contains("Retry"));
        assertEquals(ASK_PERMISSION, flow.retry(false));
        flow.answered(false, false);
        assertTrue(flow.message(), flow.message().contains("settings"));
    }

    @Test
    public void aPermissionGivenInTheSettingsIsSeenOnReturn() {
        flow.shown(false);
        flow.answered(false, false);
        flow.hidden();
        assertEquals(OPEN, flow.shown(true));
    }

    @Test
    public void theCameraIsGivenUpInTheBackground() {
        running();
        assertEquals(CLOSE, flow.hidden());
        assertEquals(NONE, flow.hidden());
        assertEquals(NONE, flow.lost("disconnected", 0));
        assertEquals(NONE, flow.again());
        assertEquals(OPEN, flow.shown(true));
    }

    @Test
    public void aLostCameraIsOpenedAgainAFewTimesAndThenWaitsForAPerson() {
        running();
        for (int i = 0; i < 3; i++) {
            assertEquals(CLOSE, flow.lost("in use by another app", i));
            assertTrue(flow.message(), flow.message().contains("in use by another app"));
            assertEquals(NONE, flow.lost("twice the same", i));
            assertEquals(OPEN, flow.again());
            flow.picture();
        }
        assertEquals(CLOSE, flow.lost("broken", 4));
        assertEquals(NONE, flow.again());
        assertEquals(CameraFlow.State.FAILED, flow.state());
        assertEquals(OPEN, flow.retry(true));
    }

    @Test
    public void aLatePictureOfALostCameraDoesNotCount() {
        running();
        flow.lost("unplugged", 0);
        flow.picture();
        assertEquals(OPEN, flow.again());
    }

    @Test
    public void lossesAreForgottenAfterItWentWell() {
        running();
        for (int i = 0; i < 10; i++) {
            flow.lost("x", 31000L * i);
            assertEquals(OPEN, flow.again());
            flow.picture();
        }
        assertEquals(CameraFlow.State.RUNNING, flow.state());
    }

    @Test
    public void stillPicturesNeedNoCameraAndComeBackToIt() {
        running();
        assertEquals(CLOSE, flow.still(true, true));
        assertEquals("", flow.message());
        assertEquals(NONE, flow.hidden());
        assertEquals(NONE, flow.shown(false));
        assertEquals(CameraFlow.State.STILL, flow.state());
        assertEquals(OPEN, flow.still(false, true));
    }

    @Test
    public void aDeniedCameraDoesNotKeepFromStillPictures() {
        flow.shown(false);
        flow.answered(false, false);
        assertEquals(NONE, flow.still(true, false));
        assertEquals(ASK_PERMISSION, flow.still(false, false));
    }
}

package i2uv.edge.host;

import i2uv.edge.core.Box;
import i2uv.edge.core.Bundle;
import i2uv.edge.core.Frame;
import i2uv.edge.core.Viewport;
import i2uv.edge.engine.Attempt;
import i2uv.edge.engine.HandPipeline;
import java.awt.Color;
import java.awt.Font;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.File;
import java.util.Arrays;
import javax.imageio.ImageIO;

/**
 * Draws what the app's screen should show, without a phone: {@code PreviewMain BUNDLE OUT.png
 * VIEW_WIDTH VIEW_HEIGHT MIRRORED COMMAND...}. The mesh is drawn as the shaders draw it: the same
 * viewport, depth and light.
 */
public final class PreviewMain {
    private static final int COLUMNS = 3;

    private PreviewMain() {}

    public static void main(String[] arguments) throws Exception {
        Bundle bundle = Bundle.open(new FolderFiles(new File(arguments[0])));
        int width = Integer.parseInt(arguments[2]);
        int height = Integer.parseInt(arguments[3]);
        boolean mirrored = Boolean.parseBoolean(arguments[4]);
        String[] command = Arrays.copyOfRange(arguments, 5, arguments.length);
        HandPipeline pipeline =
                HandPipeline.load(bundle, new BridgeLoader(command), Attempt.CPU);
        BufferedImage sheet =
                new BufferedImage(COLUMNS * width, 2 * height, BufferedImage.TYPE_INT_RGB);
        try {
            for (int i = 0; i < 2 * COLUMNS; i++) {
                String id = bundle.pictures().get(i);
                Frame frame = Pictures.decode(bundle.picture(id));
                // A left hand is a right one in a mirror: the second row shows that way.
                boolean left = i >= COLUMNS;
                if (left) {
                    mirror(frame);
                }
                Box box = new Box();
                box.whole(frame.width, frame.height);
                pipeline.run(frame, box, left, false, 0);
                Screen screen = new Screen(width, height);
                Viewport view = new Viewport();
                view.fit(frame.width, frame.height, width, height, mirrored);
                screen.picture(frame, view);
                screen.box(box, view);
                screen.mesh(pipeline.placed(), pipeline.normals(), bundle.fine.faces, view);
                Graphics2D pen = sheet.createGraphics();
                pen.drawImage(screen.image, i % COLUMNS * width, i / COLUMNS * height, null);
                pen.setColor(Color.WHITE);
                pen.setFont(new Font(Font.MONOSPACED, Font.PLAIN, 14));
                String text = id + (left ? ", left hand" : ", right hand");
                pen.drawString(text, i % COLUMNS * width + 8, i / COLUMNS * height + 18);
                pen.dispose();
            }
        } finally {
            pipeline.close();
        }
        ImageIO.write(sheet, "png", new File(arguments[1]));
    }

    private static void mirror(Frame frame) {
        for (int row = 0; row < frame.height; row++) {
            for (int x = 0; x < frame.width / 2; x++) {
                for (int c = 0; c < 3; c++) {
                    int a = 3 * (row * frame.width + x) + c;
                    int b = 3 * (row * frame.width + frame.width - 1 - x) + c;
                    byte kept = frame.rgb[a];
                    frame.rgb[a] = frame.rgb[b];
                    frame.rgb[b] = kept;
                }
            }
        }
    }
}

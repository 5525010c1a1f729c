package i2uv.edge.host;

import i2uv.edge.core.Frame;
import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import javax.imageio.ImageIO;

/** Pictures of a desktop as the core has them. */
final class Pictures {
    private Pictures() {}

    static Frame decode(byte[] file) throws IOException {
        BufferedImage image = ImageIO.read(new ByteArrayInputStream(file));
        if (image == null) {
            throw new IOException("no picture that can be read");
        }
        Frame made = new Frame();
        made.resize(image.getWidth(), image.getHeight());
        for (int y = 0, at = 0; y < made.height; y++) {
            for (int x = 0; x < made.width; x++) {
                int packed = image.getRGB(x, y);
                made.rgb[at++] = (byte) (packed >> 16);
                made.rgb[at++] = (byte) (packed >> 8);
                made.rgb[at++] = (byte) packed;
            }
        }
        return made;
    }
}

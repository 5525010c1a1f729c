package i2uv.edge.host;

import i2uv.edge.core.Box;
import i2uv.edge.core.Frame;
import i2uv.edge.core.Viewport;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.util.Arrays;

/** What the shaders do, on a desktop: a picture, and a lit mesh with a depth buffer over it. */
final class Screen {
    private static final float COVER = 0.75f; // as in mesh.frag
    private static final float[] COLOUR = {0.35f, 0.71f, 0.91f};

    final BufferedImage image;
    private final float[] depth;

    Screen(int width, int height) {
        image = new BufferedImage(width, height, BufferedImage.TYPE_INT_RGB);
        depth = new float[width * height];
        Arrays.fill(depth, Float.MAX_VALUE);
    }

    void picture(Frame frame, Viewport view) {
        for (int row = 0; row < image.getHeight(); row++) {
            for (int column = 0; column < image.getWidth(); column++) {
                float clipX = 2f * (column + 0.5f) / image.getWidth() - 1;
                float clipY = 1 - 2f * (row + 0.5f) / image.getHeight();
                int x = (int) Math.floor((clipX - view.shiftX) / view.scaleX);
                int y = (int) Math.floor((clipY - view.shiftY) / view.scaleY);
                if (x >= 0 && x < frame.width && y >= 0 && y < frame.height) {
                    int at = 3 * (y * frame.width + x);
                    image.setRGB(column, row, (frame.rgb[at] & 0xff) << 16
                            | (frame.rgb[at + 1] & 0xff) << 8 | frame.rgb[at + 2] & 0xff);
                }
            }
        }
    }

    void box(Box box, Viewport view) {
        int left = column(box.left, view);
        int right = column(box.left + box.side, view);
        int top = row(box.top, view);
        int bottom = row(box.top + box.side, view);
        Graphics2D pen = image.createGraphics();
        pen.drawRect(Math.min(left, right), top, Math.abs(right - left) - 1, bottom - top - 1);
        pen.dispose();
    }

    private int column(int x, Viewport view) {
        return Math.round((x * view.scaleX + view.shiftX + 1) / 2 * image.getWidth());
    }

    private int row(int y, Viewport view) {
        return Math.round((1 - y * view.scaleY - view.shiftY) / 2 * image.getHeight());
    }

    void mesh(float[] placed, float[] normals, int[] faces, Viewport view) {
        int vertices = placed.length / 3;
        float[] x = new float[vertices];
        float[] y = new float[vertices];
        int[] covered = new int[depth.length];
        for (int v = 0; v < vertices; v++) {
            float clipX = placed[3 * v] * view.scaleX + view.shiftX;
            float clipY = placed[3 * v + 1] * view.scaleY + view.shiftY;
            x[v] = (clipX + 1) / 2 * image.getWidth();
            y[v] = (1 - clipY) / 2 * image.getHeight();
        }
        for (int f = 0; f < faces.length; f += 3) {
            triangle(faces[f], faces[f + 1], faces[f + 2], x, y, placed, normals, covered);
        }
        for (int i = 0; i < covered.length; i++) {
            if (depth[i] < Float.MAX_VALUE) {
                int column = i % image.getWidth();
                int row = i / image.getWidth();
                image.setRGB(column, row, blend(image.getRGB(column, row), covered[i]));
            }
        }
    }

    private void triangle(
            int a, int b, int c, float[] x, float[] y, float[] placed, float[] normals,
            int[] covered) {
        float area = (x[b] - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (y[b] - y[a]);
        if (area == 0) {
            return;
        }
        int top = least(y[a], y[b], y[c]);
        int end = greatest(y[a], y[b], y[c], image.getHeight());
        int left = least(x[a], x[b], x[c]);
        int right = greatest(x[a], x[b], x[c], image.getWidth());
        for (int row = top; row <= end; row++) {
            for (int column = left; column <= right; column++) {
                float px = column + 0.5f;
                float py = row + 0.5f;
                float p = ((x[b] - px) * (y[c] - py) - (x[c] - px) * (y[b] - py)) / area;
                float q = ((x[c] - px) * (y[a] - py) - (x[a] - px) * (y[c] - py)) / area;
                float r = 1 - p - q;
                int at = row * image.getWidth() + column;
                float z = p * placed[3 * a + 2] + q * placed[3 * b + 2] + r * placed[3 * c + 2];
                if (p >= 0 && q >= 0 && r >= 0 && z < depth[at]) {
                    depth[at] = z;
                    float toCamera = -(p * normals[3 * a + 2] + q * normals[3 * b + 2]
                            + r * normals[3 * c + 2]);
                    covered[at] = shade(Math.abs(toCamera));
                }
            }
        }
    }

    private static int least(float a, float b, float c) {
        return Math.max(0, (int) Math.floor(Math.min(a, Math.min(b, c))));
    }

    private static int greatest(float a, float b, float c, int length) {
        return Math.min(length - 1, (int) Math.ceil(Math.max(a, Math.max(b, c))));
    }

    private static int shade(float facing) {
        float light = 0.35f + 0.65f * Math.min(1f, facing);
        int made = 0;
        for (float part : COLOUR) {
            made = made << 8 | Math.round(255 * part * light);
        }
        return made;
    }

    private static int blend(int below, int above) {
        int made = 0;
        for (int shift = 16; shift >= 0; shift -= 8) {
            float mixed = COVER * (above >> shift & 0xff) + (1 - COVER) * (below >> shift & 0xff);
            made = made << 8 | Math.round(mixed);
        }
        return made;
    }
}

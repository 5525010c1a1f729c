package i2uv.edge.app;

import android.content.res.AssetManager;
import android.opengl.GLES20;
import android.opengl.GLSurfaceView;
import i2uv.edge.core.Bytes;
import i2uv.edge.core.Viewport;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.ShortBuffer;
import javax.microedition.khronos.egl.EGLConfig;
import javax.microedition.khronos.opengles.GL10;

/** Draws the picture and the mesh over it. */
final class HandRenderer implements GLSurfaceView.Renderer {
    private static final float[] CORNERS = {0, 0, 1, 0, 0, 1, 1, 1};

    private final AssetManager assets;
    private final HandThread hand;
    private final Shown own = new Shown();
    private final Viewport view = new Viewport();
    private final FloatBuffer corners = floats(8);
    private final FloatBuffer border = floats(8);
    private int version = -1;
    private int width = 1;
    private int height = 1;
    private int pictureProgram;
    private int meshProgram;
    private int position;
    private int normal;
    private int texture;
    private int textureWidth;
    private int textureHeight;
    private ByteBuffer pixels = ByteBuffer.allocateDirect(0);
    private FloatBuffer positions = floats(0);
    private FloatBuffer normals = floats(0);
    private ShortBuffer indices = ByteBuffer.allocateDirect(0).asShortBuffer();
    private int[] faces;

    HandRenderer(AssetManager assets, HandThread hand) {
        this.assets = assets;
        this.hand = hand;
        corners.put(CORNERS).rewind();
    }

    /** Also after the context was lost in the background: everything is made anew. */
    @Override
    public void onSurfaceCreated(GL10 unused, EGLConfig config) {
        try {
            pictureProgram = program("picture");
            meshProgram = program("mesh");
        } catch (IllegalStateException error) {
            pictureProgram = 0;
            hand.say("This phone cannot draw: " + error.getMessage());
        }
        int[] made = new int[1];
        GLES20.glGenTextures(1, made, 0);
        texture = made[0];
        textureWidth = 0;
        GLES20.glBindTexture(GLES20.GL_TEXTURE_2D, texture);
        int[] names = {GLES20.GL_TEXTURE_MIN_FILTER, GLES20.GL_TEXTURE_MAG_FILTER};
        for (int name : names) {
            GLES20.glTexParameteri(GLES20.GL_TEXTURE_2D, name, GLES20.GL_LINEAR);
        }
        int[] edges = {GLES20.GL_TEXTURE_WRAP_S, GLES20.GL_TEXTURE_WRAP_T};
        for (int edge : edges) {
            GLES20.glTexParameteri(GLES20.GL_TEXTURE_2D, edge, GLES20.GL_CLAMP_TO_EDGE);
        }
        GLES20.glPixelStorei(GLES20.GL_UNPACK_ALIGNMENT, 1);
        GLES20.glClearColor(0f, 0f, 0f, 1f);
        version = -1;
    }

    @Override
    public void onSurfaceChanged(GL10 unused, int width, int height) {
        this.width = width;
        this.height = height;
        GLES20.glViewport(0, 0, width, height);
    }

    @Override
    public void onDrawFrame(GL10 unused) {
        int now = hand.shown.take(version, own);
        GLES20.glDepthMask(true);
        GLES20.glClear(GLES20.GL_COLOR_BUFFER_BIT | GLES20.GL_DEPTH_BUFFER_BIT);
        if (own.frame.width == 0 || pictureProgram == 0) {
            return;
        }
        view.fit(own.frame.width, own.frame.height, width, height, own.mirrored);
        if (now != version) {
            version = now;
            upload();
        }
        drawPicture();
        drawBox();
        if (own.mesh) {
            drawMesh();
        }
    }

    private void upload() {
        byte[] rgb = own.frame.rgb;
        if (pixels.capacity() != rgb.length) {
            pixels = ByteBuffer.allocateDirect(rgb.length);
        }
        pixels.clear();
        pixels.put(rgb).rewind();
        GLES20.glBindTexture(GLES20.GL_TEXTURE_2D, texture);
        if (textureWidth != own.frame.width || textureHeight != own.frame.height) {
            textureWidth = own.frame.width;
            textureHeight = own.frame.height;
            GLES20.glTexImage2D(GLES20.GL_TEXTURE_2D, 0, GLES20.GL_RGB, textureWidth, textureHeight,
                    0, GLES20.GL_RGB, GLES20.GL_UNSIGNED_BYTE, pixels);
        } else {
            GLES20.glTexSubImage2D(GLES20.GL_TEXTURE_2D, 0, 0, 0, textureWidth, textureHeight,
                    GLES20.GL_RGB, GLES20.GL_UNSIGNED_BYTE, pixels);
        }
        if (own.mesh) {
            if (positions.capacity() != own.placed.length) {
                positions = floats(own.placed.length);
                normals = floats(own.placed.length);
            }
            positions.clear();
            positions.put(own.placed).rewind();
            normals.clear();
            normals.put(own.normals).rewind();
            if (faces != own.faces) {
                faces = own.faces;
                indices = ByteBuffer.allocateDirect(2 * faces.length)
                        .order(ByteOrder.nativeOrder()).asShortBuffer();
                for (int vertex : faces) {
                    indices.put((short) vertex);
                }
                indices.rewind();
            }
        }
    }

    private void drawPicture() {
        GLES20.glUseProgram(pictureProgram);
        GLES20.glDisable(GLES20.GL_DEPTH_TEST);
        GLES20.glDisable(GLES20.GL_BLEND);
        GLES20.glUniform2f(GLES20.glGetUniformLocation(pictureProgram, "scale"),
                view.scaleX * own.frame.width, view.scaleY * own.frame.height);
        GLES20.glUniform2f(
                GLES20.glGetUniformLocation(pictureProgram, "shift"), view.shiftX, view.shiftY);
        int corner = GLES20.glGetAttribLocation(pictureProgram, "corner");
        GLES20.glEnableVertexAttribArray(corner);
        GLES20.glVertexAttribPointer(corner, 2, GLES20.GL_FLOAT, false, 0, corners);
        GLES20.glDrawArrays(GLES20.GL_TRIANGLE_STRIP, 0, 4);
        GLES20.glDisableVertexAttribArray(corner);
    }

    /** Where the hand is looked for: a frame of the mesh's own program, seen from the front. */
    private void drawBox() {
        float left = own.box.left;
        float top = own.box.top;
        float right = left + own.box.side;
        float bottom = top + own.box.side;
        border.clear();
        border.put(left).put(top).put(right).put(top);
        border.put(right).put(bottom).put(left).put(bottom).rewind();
        useMesh(1f, 1f, 1f, 1f);
        GLES20.glVertexAttrib3f(normal, 0f, 0f, 1f);
        GLES20.glEnableVertexAttribArray(position);
        GLES20.glVertexAttribPointer(position, 2, GLES20.GL_FLOAT, false, 0, border);
        GLES20.glDrawArrays(GLES20.GL_LINE_LOOP, 0, 4);
        GLES20.glDisableVertexAttribArray(position);
    }

    private void useMesh(float red, float green, float blue, float cover) {
        GLES20.glUseProgram(meshProgram);
        GLES20.glUniform3f(GLES20.glGetUniformLocation(meshProgram, "scale"),
                view.scaleX, view.scaleY, view.scaleZ);
        GLES20.glUniform2f(
                GLES20.glGetUniformLocation(meshProgram, "shift"), view.shiftX, view.shiftY);
        GLES20.glUniform4f(
                GLES20.glGetUniformLocation(meshProgram, "colour"), red, green, blue, cover);
        position = GLES20.glGetAttribLocation(meshProgram, "position");
        normal = GLES20.glGetAttribLocation(meshProgram, "normal");
    }

    /** First the depth alone, then the nearest surface: a see-through hand shows no inside. */
    private void drawMesh() {
        useMesh(0.35f, 0.71f, 0.91f, 0.75f);
        GLES20.glEnable(GLES20.GL_DEPTH_TEST);
        GLES20.glEnableVertexAttribArray(position);
        GLES20.glEnableVertexAttribArray(normal);
        GLES20.glVertexAttribPointer(position, 3, GLES20.GL_FLOAT, false, 0, positions);
        GLES20.glVertexAttribPointer(normal, 3, GLES20.GL_FLOAT, false, 0, normals);
        GLES20.glColorMask(false, false, false, false);
        GLES20.glDepthFunc(GLES20.GL_LESS);
        triangles();
        GLES20.glColorMask(true, true, true, true);
        GLES20.glDepthFunc(GLES20.GL_EQUAL);
        GLES20.glEnable(GLES20.GL_BLEND);
        GLES20.glBlendFunc(GLES20.GL_SRC_ALPHA, GLES20.GL_ONE_MINUS_SRC_ALPHA);
        triangles();
        GLES20.glDisableVertexAttribArray(position);
        GLES20.glDisableVertexAttribArray(normal);
    }

    private void triangles() {
        GLES20.glDrawElements(
                GLES20.GL_TRIANGLES, faces.length, GLES20.GL_UNSIGNED_SHORT, indices);
    }

    private int program(String name) {
        int program = GLES20.glCreateProgram();
        GLES20.glAttachShader(program, shader(GLES20.GL_VERTEX_SHADER, name + ".vert"));
        GLES20.glAttachShader(program, shader(GLES20.GL_FRAGMENT_SHADER, name + ".frag"));
        GLES20.glLinkProgram(program);
        return program;
    }

    private int shader(int kind, String file) {
        int shader = GLES20.glCreateShader(kind);
        try {
            InputStream stream = assets.open("shaders/" + file);
            GLES20.glShaderSource(shader, new String(Bytes.all(stream), "UTF-8"));
            stream.close();
        } catch (IOException error) {
            throw new IllegalStateException(error); // it is part of this APK
        }
        GLES20.glCompileShader(shader);
        int[] done = new int[1];
        GLES20.glGetShaderiv(shader, GLES20.GL_COMPILE_STATUS, done, 0);
        if (done[0] == 0) {
            throw new IllegalStateException(file + ": " + GLES20.glGetShaderInfoLog(shader));
        }
        return shader;
    }

    private static FloatBuffer floats(int count) {
        return ByteBuffer.allocateDirect(4 * count).order(ByteOrder.nativeOrder()).asFloatBuffer();
    }
}

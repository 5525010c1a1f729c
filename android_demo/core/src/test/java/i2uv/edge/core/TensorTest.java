package i2uv.edge.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;

import org.junit.Test;

public class TensorTest {
    private static final String[] PORTS = {"a.int8", "b.uint8", "c.int8", "d.float32"};

    private static Tensor tensor(String port) {
        String[] parts = port.split("\\.");
        float[] scale = Vectors.get("tensor." + parts[0] + ".scale").floats();
        TensorSpec.Type type = TensorSpec.Type.valueOf(parts[1].toUpperCase());
        int[] shape = Vectors.get("tensor.real").shape;
        return new Tensor(new TensorSpec(port, shape, type, scale[0], (int) scale[1]));
    }

    @Test
    public void valuesAreStoredAndReadAsPythonDoes() {
        for (String port : PORTS) {
            Tensor tensor = tensor(port);
            tensor.put(Vectors.get("tensor.real").floats());
            assertArrayEquals(port, Vectors.get("tensor." + port).bytes(), tensor.content());
            float[] back = new float[tensor.spec.size()];
            tensor.get(back);
            float[] wanted = Vectors.get("tensor." + port.charAt(0) + ".back").floats();
            assertEquals(port, 0, Vectors.apart(back, wanted), 1e-6);
        }
    }

    @Test
    public void picturesAreStoredAsPythonDoes() {
        for (String port : PORTS) {
            Tensor tensor = tensor(port);
            tensor.putPicture(Vectors.get("tensor.levels").bytes(), false);
            byte[] wanted = Vectors.get("tensor." + port.charAt(0) + ".picture").bytes();
            assertArrayEquals(port, wanted, tensor.content());
        }
    }

    @Test
    public void aMirroredPictureHasItsColoursInOrder() {
        for (String port : PORTS) {
            Tensor tensor = tensor(port);
            byte[] picture = Vectors.get("tensor.levels").bytes();
            byte[] turned = new byte[picture.length];
            int side = tensor.spec.side();
            for (int i = 0; i < picture.length; i++) {
                int row = i / (3 * side);
                int column = side - 1 - i / 3 % side;
                turned[3 * (row * side + column) + i % 3] = picture[i];
            }
            tensor.putPicture(turned, false);
            byte[] wanted = tensor.content();
            tensor.putPicture(picture, true);
            assertArrayEquals(port, wanted, tensor.content());
            assertFalse(java.util.Arrays.equals(picture, turned));
        }
    }
}

package i2uv.edge.host;

import i2uv.edge.core.Bundle;
import i2uv.edge.engine.Attempt;
import i2uv.edge.engine.LoadException;
import i2uv.edge.engine.Network;
import i2uv.edge.engine.NetworkLoader;
import java.io.DataInputStream;
import java.io.File;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;

/**
 * Runs networks by the LiteRT of this desktop, in a process beside the JVM.
 *
 * <p>The process reads an input from its standard input and writes the output to its standard
 * output, byte for byte as the interpreter has them; first it says how many bytes each has.
 */
public final class BridgeLoader implements NetworkLoader {
    private final String[] command;

    /** @param command what runs a model; the model's file is added to it. */
    public BridgeLoader(String... command) {
        this.command = command.clone();
    }

    @Override
    public Network load(Bundle.Model model, Attempt attempt) throws LoadException {
        try {
            File file = File.createTempFile("model", ".tflite");
            byte[] content = new byte[model.content.remaining()];
            model.content.duplicate().get(content);
            Files.write(file.toPath(), content);
            String[] full = java.util.Arrays.copyOf(command, command.length + 1);
            full[command.length] = file.getPath();
            Process process = new ProcessBuilder(full)
                    .redirectError(ProcessBuilder.Redirect.INHERIT)
                    .start();
            return new Bridged(process, file, model);
        } catch (IOException error) {
            throw new LoadException("no process runs " + model.file + ": " + error, error);
        }
    }

    private static final class Bridged extends Network {
        private final Process process;
        private final File file;
        private final OutputStream to;
        private final DataInputStream from;

        Bridged(Process process, File file, Bundle.Model model) throws IOException {
            super(model);
            this.process = process;
            this.file = file;
            to = process.getOutputStream();
            from = new DataInputStream(process.getInputStream());
            int takes = from.readInt();
            int gives = from.readInt();
            if (takes != input.memory.capacity() || gives != output.memory.capacity()) {
                close();
                throw new IOException("it takes " + takes + " and gives " + gives + " bytes");
            }
        }

        @Override
        public void run() {
            try {
                to.write(input.content());
                to.flush();
                byte[] made = new byte[output.memory.capacity()];
                from.readFully(made);
                output.memory.clear();
                output.memory.put(made);
            } catch (IOException error) {
                throw new IllegalStateException("the process of the interpreter ended", error);
            }
        }

        @Override
        public void close() {
            try {
                to.close();
                process.waitFor();
            } catch (IOException | InterruptedException error) {
                process.destroy();
            }
            file.delete();
        }
    }
}

import java.io.IOException;
import java.io.UncheckedIOException;

/** One broker for all tests of this JVM, started by the first that asks for it. It ends when the JVM does. */
final class Amqpd {
    static final String URL = start();

    private static String start() {
        var command = new ProcessBuilder("amqpd", "testserver", "--exit-with-parent");
        try {
            var broker = command.redirectError(ProcessBuilder.Redirect.INHERIT).start();
            return broker.inputReader().readLine().split("\"")[3]; // {"url": "amqp://...", ...
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}

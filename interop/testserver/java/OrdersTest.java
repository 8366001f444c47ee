import static org.junit.jupiter.api.Assertions.assertEquals;

import com.rabbitmq.client.ConnectionFactory;
import org.junit.jupiter.api.Test;

class OrdersTest {
    @Test
    void anOrderArrives() throws Exception {
        var factory = new ConnectionFactory();
        factory.setUri(Amqpd.URL);
        try (var connection = factory.newConnection(); var channel = connection.createChannel()) {
            var queue = channel.queueDeclare().getQueue();
            channel.basicPublish("", queue, null, "one kettle".getBytes());
            assertEquals("one kettle", new String(channel.basicGet(queue, true).getBody()));
        }
    }
}

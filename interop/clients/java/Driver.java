import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.BuiltinExchangeType;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.LongString;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.Method;
import com.rabbitmq.client.MissedHeartbeatException;
import com.rabbitmq.client.RpcClient;
import com.rabbitmq.client.ShutdownSignalException;
import com.rabbitmq.client.StringRpcServer;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.reflect.InvocationTargetException;
import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** RabbitMQ's own client for Java, as Debian has it, with the recovery that it does by itself. */
public class Driver {
    static final BasicProperties PERSISTENT = MessageProperties.PERSISTENT_BASIC;
    static final BufferedReader ANSWERS = new BufferedReader(new InputStreamReader(System.in));

    public static void main(String[] arguments) throws Throwable {
        if (arguments[0].equals("version")) {
            System.out.println("version " + new ConnectionFactory().getClientProperties().get("version"));
            return;
        }
        try {
            Driver.class.getDeclaredMethod(arguments[0]).invoke(null);
        } catch (InvocationTargetException error) {
            error.getCause().printStackTrace();
            System.exit(1);
        }
        System.exit(0);
    }

    static void connect() throws Exception {
        Connection connection = factory().newConnection();
        Map<String, Object> properties = connection.getServerProperties();
        System.out.println(properties.get("product") + " " + properties.get("version"));
        Map<?, ?> capabilities = (Map<?, ?>) properties.get("capabilities");
        for (String name : List.of("publisher_confirms", "basic.nack", "connection.blocked", "consumer_cancel_notify")) {
            same(true, capabilities.get(name));
        }
        connection.close();
        same(200, ((AMQP.Connection.Close) reasonOf(connection)).getReplyCode());
    }

    static void auth_failure() throws Exception {
        ConnectionFactory factory = factory();
        factory.setPassword("wrong");
        Throwable error = failure(factory::newConnection);
        same(AuthenticationFailureException.class, error.getClass());
        sure(error.getMessage().startsWith("ACCESS_REFUSED - Login was refused"), error.getMessage());
    }

    static void no_vhost() throws Exception {
        ConnectionFactory factory = factory();
        factory.setVirtualHost("nowhere");
        AMQP.Connection.Close close = (AMQP.Connection.Close) reason(failure(factory::newConnection));
        same(530, close.getReplyCode());
        sure(close.getReplyText().startsWith("NOT_ALLOWED - vhost nowhere"), close.getReplyText());
    }

    static void publish_confirm() throws Exception {
        Channel channel = open();
        channel.queueDeclare("q", true, false, false, null);
        List<String> texts = numbers(100);
        send(channel, "", "q", PERSISTENT, texts);
        same(100L, channel.messageCount("q"));
        same(texts, texts(channel, "q"));
    }

    static void mandatory_return() throws Exception {
        Channel channel = open();
        CompletableFuture<String> returned = new CompletableFuture<>();
        channel.addReturnListener(
                message -> returned.complete(String.join(" ", message.getReplyCode() + "", message.getReplyText(),
                        message.getExchange(), message.getRoutingKey(), message.getProperties().getMessageId(),
                        text(message.getBody()))));
        BasicProperties properties = new BasicProperties.Builder().messageId("m1").build();
        channel.basicPublish("amq.direct", "nobody", true, properties, bytes("lost"));
        same("312 NO_ROUTE amq.direct nobody m1 lost", returned.get(20, TimeUnit.SECONDS));
        channel.waitForConfirmsOrDie();
    }

    static void get() throws Exception {
        Channel channel = open();
        channel.queueDeclare("q", false, false, false, null);
        send(channel, "", "q", null, List.of("a", "b"));
        GetResponse message = channel.basicGet("q", false);
        same("a", text(message.getBody()));
        same(1, message.getMessageCount());
        same(false, message.getEnvelope().isRedeliver());
        channel.basicAck(message.getEnvelope().getDeliveryTag(), false);
        same(List.of("b"), texts(channel, "q"));
        same(null, channel.basicGet("q", false));
    }

    static void work_queue() throws Exception {
        Channel channel = open();
        channel.queueDeclare("q", false, false, false, null);
        BlockingQueue<Integer> workers = new LinkedBlockingQueue<>();
        BlockingQueue<String> done = new LinkedBlockingQueue<>();
        for (int number = 0; number < 2; number++) {
            Channel worker = channel.getConnection().createChannel();
            worker.basicQos(1);
            worker.basicConsume("q", false, (tag, delivery) -> {
                pause(5);
                worker.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
                workers.add(worker.getChannelNumber());
                done.add(text(delivery.getBody()));
            }, tag -> { });
        }
        send(channel, "", "q", null, numbers(20));
        List<String> all = new ArrayList<>();
        while (all.size() < 20) {
            all.add(take(done));
        }
        all.sort((one, other) -> Integer.valueOf(one) - Integer.valueOf(other));
        same(numbers(20), all);
        same(2, new TreeSet<>(workers).size());
        until(() -> channel.messageCount("q") == 0);
    }

    static void fanout() throws Exception {
        Channel channel = open();
        channel.exchangeDeclare("news", BuiltinExchangeType.FANOUT);
        for (String queue : List.of("a", "b", "c")) {
            bind(channel, queue, "news", "", null);
        }
        send(channel, "news", "any", null, List.of("hello"));
        for (String queue : List.of("a", "b", "c")) {
            same(List.of("hello"), texts(channel, queue));
        }
    }

    static void topic() throws Exception {
        Channel channel = open();
        channel.exchangeDeclare("logs", BuiltinExchangeType.TOPIC);
        bind(channel, "star", "logs", "*.error", null);
        bind(channel, "hash", "logs", "app.#", null);
        bind(channel, "all", "logs", "#", null);
        bind(channel, "middle", "logs", "app.*.disk", null);
        List<String> keys = List.of("app", "app.error", "db.error", "app.error.disk", "db.error.disk");
        for (String key : keys) {
            send(channel, "logs", key, null, List.of(key));
        }
        same(List.of("app.error", "db.error"), texts(channel, "star"));
        same(List.of("app", "app.error", "app.error.disk"), texts(channel, "hash"));
        same(keys, texts(channel, "all"));
        same(List.of("app.error.disk"), texts(channel, "middle"));
    }

    static void headers() throws Exception {
        Channel channel = open();
        channel.exchangeDeclare("h", BuiltinExchangeType.HEADERS);
        bind(channel, "all", "h", "", Map.of("x-match", "all", "kind", "report", "pages", 2));
        bind(channel, "any", "h", "", Map.of("x-match", "any", "kind", "report", "pages", 2));
        send(channel, "h", "", with(Map.of("kind", "report", "pages", 2, "more", true)), List.of("both"));
        send(channel, "h", "", with(Map.of("kind", "report", "pages", 3)), List.of("one"));
        send(channel, "h", "", with(Map.of("kind", "note")), List.of("none"));
        same(List.of("both"), texts(channel, "all"));
        same(List.of("both", "one"), texts(channel, "any"));
    }

    static void rpc() throws Exception {
        Channel channel = open();
        channel.queueDeclare("double", false, false, false, null);
        StringRpcServer server = new StringRpcServer(channel, "double") {
            @Override
            public String handleStringCall(String request, BasicProperties reply) {
                return String.valueOf(2 * Integer.parseInt(request));
            }
        };
        start(server::mainloop);
        RpcClient client = new RpcClient(open(), "", "double"); // its replies come by direct reply-to
        for (int number = 0; number < 10; number++) {
            same(String.valueOf(2 * number), client.stringCall(String.valueOf(number)));
        }
    }

    static void ordering() throws Exception {
        Channel channel = open();
        channel.queueDeclare("q", false, false, false, null);
        BlockingQueue<Delivery> inbox = consume(channel, "q", true);
        send(channel, "", "q", null, numbers(1000));
        for (String expected : numbers(1000)) {
            same(expected, text(take(inbox).getBody()));
        }
    }

    static void large_message() throws Exception {
        Channel channel = open();
        channel.queueDeclare("q", true, false, false, null);
        byte[] body = new byte[10 * 1024 * 1024];
        new Random().nextBytes(body);
        channel.basicPublish("", "q", PERSISTENT, body);
        channel.waitForConfirmsOrDie();
        sure(Arrays.equals(body, take(consume(channel, "q", true)).getBody()), "another body");
    }

    static void many_channels() throws Exception {
        Channel channel = open();
        channel.queueDeclare("q", false, false, false, null);
        List<Channel> channels = new ArrayList<>();
        while (channels.size() < 999) {
            channels.add(channel.getConnection().createChannel());
        }
        for (Channel other : channels) {
            other.confirmSelect();
            send(other, "", "q", null, List.of(String.valueOf(other.getChannelNumber())));
        }
        same(999, Set.copyOf(texts(channel, "q")).size());
    }

    static void table_types() throws Exception {
        Channel channel = open();
        channel.queueDeclare("q", false, false, false, null);
        Map<String, Object> headers = new HashMap<>();
        headers.put("byte", (byte) -128);
        headers.put("short", (short) -32768);
        headers.put("int", Integer.MIN_VALUE);
        headers.put("long", Long.MIN_VALUE);
        headers.put("float", 0.5f);
        headers.put("double", 0.1);
        headers.put("yes", true);
        headers.put("no", false);
        headers.put("price", new BigDecimal("19.99"));
        headers.put("when", new Date(1_700_000_000_000L));
        headers.put("bytes", new byte[] {0, -1, -128});
        headers.put("nothing", null);
        headers.put("unicode", "ü漢字🐰");
        headers.put("empty", "");
        headers.put("long text", "x".repeat(20_000));
        headers.put("list", Arrays.asList(1, "two", List.of(3L), Map.of("four", 4), null));
        headers.put("table", Map.of("inner", Map.of("deeper", List.of(true)), "none", List.of(), "nobody", Map.of()));
        send(channel, "", "q", with(headers), List.of("x"));
        same(plain(headers), plain(channel.basicGet("q", true).getProps().getHeaders()));
    }

    static void exclusive() throws Exception {
        Channel mine = open();
        mine.queueDeclare("mine", false, true, false, null);
        Channel other = open();
        AMQP.Channel.Close close = (AMQP.Channel.Close) reason(failure(() -> other.queueDeclarePassive("mine")));
        same(405, close.getReplyCode());
        sure(close.getReplyText().startsWith("RESOURCE_LOCKED"), close.getReplyText());
        mine.getConnection().close();
        until(() -> !exists(other.getConnection(), "mine"));
    }

    static void auto_delete() throws Exception {
        Channel channel = open();
        channel.queueDeclare("q", false, false, true, null);
        String first = channel.basicConsume("q", (tag, delivery) -> { }, tag -> { });
        String second = channel.basicConsume("q", (tag, delivery) -> { }, tag -> { });
        channel.basicCancel(first);
        sure(exists(channel.getConnection(), "q"), "gone before its last consumer");
        channel.basicCancel(second);
        until(() -> !exists(channel.getConnection(), "q"));
    }

    static void priorities() throws Exception {
        Channel channel = open();
        channel.queueDeclare("q", false, false, false, Map.of("x-max-priority", 10));
        for (int priority : List.of(1, 9, 5, 10, 0, 5)) {
            BasicProperties properties = new BasicProperties.Builder().priority(priority).build();
            send(channel, "", "q", properties, List.of(String.valueOf(priority)));
        }
        BlockingQueue<Delivery> inbox = consume(channel, "q", true);
        for (String expected : List.of("10", "9", "5", "5", "1", "0")) {
            same(expected, text(take(inbox).getBody()));
        }
    }

    static void retry_loop() throws Exception {
        Channel channel = open();
        channel.queueDeclare("work", true, false, false,
                Map.of("x-dead-letter-exchange", "", "x-dead-letter-routing-key", "retry"));
        channel.queueDeclare("retry", true, false, false,
                Map.of("x-message-ttl", 50, "x-dead-letter-exchange", "", "x-dead-letter-routing-key", "work"));
        send(channel, "", "work", null, List.of("try me"));
        BlockingQueue<Delivery> inbox = consume(channel, "work", false);
        channel.basicReject(take(inbox).getEnvelope().getDeliveryTag(), false);
        for (long round = 1; round <= 2; round++) {
            Delivery message = take(inbox);
            List<?> deaths = (List<?>) message.getProperties().getHeaders().get("x-death");
            same(Set.of("retry expired " + round, "work rejected " + round), deaths.stream()
                    .map(death -> (Map<?, ?>) death)
                    .map(death -> death.get("queue") + " " + death.get("reason") + " " + death.get("count"))
                    .collect(Collectors.toSet()));
            channel.basicReject(message.getEnvelope().getDeliveryTag(), false);
        }
    }

    static void tx() throws Exception {
        Channel channel = factory().newConnection().createChannel();
        channel.queueDeclare("q", false, false, false, null);
        channel.txSelect();
        channel.basicPublish("", "q", null, bytes("rolled back"));
        channel.txRollback();
        channel.basicPublish("", "q", null, bytes("committed"));
        same(0L, open().messageCount("q"));
        channel.txCommit();
        same(1L, open().messageCount("q"));
        for (boolean isCommitted : List.of(false, true)) {
            channel.basicAck(channel.basicGet("q", false).getEnvelope().getDeliveryTag(), false);
            if (isCommitted) {
                channel.txCommit();
            } else {
                channel.txRollback();
                channel.basicRecover(true); // rolled back is the ack: it is unacked, and ours, until then
            }
        }
        same(null, channel.basicGet("q", true));
    }

    static void recover() throws Exception {
        Channel channel = open();
        channel.queueDeclare("q", false, false, false, null);
        send(channel, "", "q", null, List.of("again"));
        BlockingQueue<Delivery> inbox = consume(channel, "q", false);
        same(false, take(inbox).getEnvelope().isRedeliver());
        channel.basicRecover(true);
        Delivery message = take(inbox);
        same(true, message.getEnvelope().isRedeliver());
        channel.basicNack(message.getEnvelope().getDeliveryTag(), false, true);
        message = take(inbox);
        same(true, message.getEnvelope().isRedeliver());
        channel.basicReject(message.getEnvelope().getDeliveryTag(), true);
        message = take(inbox);
        same("again", text(message.getBody()));
        channel.basicReject(message.getEnvelope().getDeliveryTag(), false);
        same(0L, channel.messageCount("q"));
    }

    static void unbind_purge_delete() throws Exception {
        Channel channel = open();
        bind(channel, "q", "amq.direct", "key", Map.of("reason", "test"));
        send(channel, "amq.direct", "key", null, List.of("a", "b", "c"));
        channel.queueUnbind("q", "amq.direct", "key", Map.of("reason", "test"));
        send(channel, "amq.direct", "key", null, List.of("unheard"));
        same(3, channel.queuePurge("q").getMessageCount());
        send(channel, "", "q", null, List.of("d", "e"));
        same(2, channel.queueDelete("q").getMessageCount());
        same(0, channel.queueDelete("q").getMessageCount());
    }

    static void consumer_cancel() throws Exception {
        Channel channel = open();
        channel.queueDeclare("q", false, false, false, null);
        BlockingQueue<String> cancelled = new LinkedBlockingQueue<>();
        String tag = channel.basicConsume("q", (consumer, delivery) -> { }, cancelled::add);
        ask("delete_queue q");
        same(tag, take(cancelled));
    }

    static void blocked() throws Exception {
        Channel channel = open();
        channel.queueDeclare("q", false, false, false, null);
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        channel.getConnection().addBlockedListener(told::add, () -> told.add("unblocked"));
        ask("block");
        channel.basicPublish("", "q", null, bytes("waits"));
        String reason = take(told);
        sure(reason.contains("memory"), reason);
        ask("unblock");
        same("unblocked", take(told));
        channel.waitForConfirmsOrDie();
        same(List.of("waits"), texts(channel, "q"));
    }

    static void reconnect() throws Exception {
        Connection connection = factory().newConnection(); // recovers by itself: channels, queues, consumers
        Channel channel = connection.createChannel();
        channel.confirmSelect();
        channel.queueDeclare("kept", true, false, false, null);
        channel.queueDeclare("work", true, false, false, null);
        Set<String> seen = ConcurrentHashMap.newKeySet();
        Channel worker = connection.createChannel(); // not of channel.getConnection(): that one stays lost
        worker.basicConsume("work", false, (tag, delivery) -> {
            seen.add(text(delivery.getBody()));
            worker.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
        }, tag -> { });
        publishUntilConfirmed(channel, "kept", numbers(20));
        Thread killer = start(() -> ask("kill"));
        publishUntilConfirmed(channel, "work", numbers(40));
        killer.join();
        publishUntilConfirmed(channel, "work", List.of("after", "that"));
        until(() -> seen.size() == 42);
        same(numbers(20), texts(channel, "kept"));
    }

    static void heartbeat_loss() throws Exception {
        ConnectionFactory factory = factory();
        factory.setRequestedHeartbeat(1);
        Connection connection = factory.newConnection();
        same(1, connection.getHeartbeat());
        Channel channel = connection.createChannel();
        BlockingQueue<Throwable> lost = new LinkedBlockingQueue<>();
        connection.addShutdownListener(signal -> lost.add(signal.getCause()));
        pause(3000); // heartbeats go both ways meanwhile
        same(null, lost.peek());
        ask("freeze 6");
        same(MissedHeartbeatException.class, take(lost).getClass());
        until(() -> {
            try {
                return channel.queueDeclare("back", false, false, false, null) != null;
            } catch (ShutdownSignalException error) {
                return false;
            }
        });
    }

    static void non_ascii() throws Exception {
        Channel channel = open();
        String queue = "größe-漢字";
        String exchange = "обмен-🐰";
        channel.exchangeDeclare(exchange, BuiltinExchangeType.TOPIC);
        bind(channel, queue, exchange, "ключ.*.漢", null);
        BlockingQueue<Delivery> inbox = new LinkedBlockingQueue<>();
        same("täg-🏷", channel.basicConsume(queue, true, "täg-🏷", (tag, delivery) -> inbox.add(delivery), tag -> { }));
        send(channel, exchange, "ключ.ü.漢", with(Map.of("schlüssel-鍵", "世界")), List.of("Grüße, 世界 🐇"));
        Delivery message = take(inbox);
        same("Grüße, 世界 🐇", text(message.getBody()));
        same(exchange, message.getEnvelope().getExchange());
        same("ключ.ü.漢", message.getEnvelope().getRoutingKey());
        same("世界", message.getProperties().getHeaders().get("schlüssel-鍵").toString());
        sure(exists(channel.getConnection(), queue), "no such queue");
    }

    static void error_codes() throws Exception {
        Connection connection = factory().newConnection();
        connection.createChannel().queueDeclare("durable", true, false, false, null);
        told(connection, "404 NOT_FOUND 50 10", channel -> channel.queueDeclarePassive("missing"));
        told(connection, "406 PRECONDITION_FAILED 50 10", channel -> channel.queueDeclare("durable", false, false, false, null));
        told(connection, "403 ACCESS_REFUSED 40 10", channel -> channel.exchangeDeclare("amq.mine", "direct"));
        told(connection, "406 PRECONDITION_FAILED 60 80", channel -> channel.basicAck(7, false));
        told(connection, "404 NOT_FOUND 60 40", channel -> channel.basicPublish("missing", "", null, bytes("x")));
        told(connection, "540 NOT_IMPLEMENTED 60 10", channel -> channel.basicQos(1, 1, false));
        told(factory().newConnection(), "540 NOT_IMPLEMENTED 60 40",
                channel -> channel.basicPublish("", "q", false, true, null, bytes("x")));
        told(factory().newConnection(), "530 NOT_ALLOWED 60 20", channel -> {
            for (int i = 0; i < 2; i++) {
                channel.basicConsume("durable", false, "twice", (tag, delivery) -> { }, tag -> { });
            }
        });
        told(factory().newConnection(), "503 COMMAND_INVALID 40 10", channel -> channel.exchangeDeclare("x", "no-such-type"));
    }

    // What the scenarios share.

    interface Step {
        void run() throws Exception;
    }

    interface Provocation {
        void on(Channel channel) throws Exception;
    }

    static void ask(String words) throws IOException {
        System.out.println("ask " + words);
        same("done", ANSWERS.readLine());
    }

    static ConnectionFactory factory() throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(System.getenv("AMQP_URL"));
        factory.setNetworkRecoveryInterval(200);
        return factory;
    }

    /** A channel with confirms on a connection of its own. */
    static Channel open() throws Exception {
        Channel channel = factory().newConnection().createChannel();
        channel.confirmSelect();
        return channel;
    }

    static void send(Channel channel, String exchange, String key, BasicProperties properties, List<String> texts)
            throws Exception {
        for (String text : texts) {
            channel.basicPublish(exchange, key, properties, bytes(text));
        }
        channel.waitForConfirmsOrDie();
    }

    static void publishUntilConfirmed(Channel channel, String queue, List<String> texts) throws Exception {
        for (String text : texts) {
            until(() -> {
                try {
                    send(channel, "", queue, PERSISTENT, List.of(text));
                    return true;
                } catch (IOException | ShutdownSignalException | IllegalStateException error) {
                    return false; // not until the channel, and that it confirms, has recovered
                }
            });
        }
    }

    static BlockingQueue<Delivery> consume(Channel channel, String queue, boolean isAutoAck) throws IOException {
        BlockingQueue<Delivery> inbox = new LinkedBlockingQueue<>();
        channel.basicConsume(queue, isAutoAck, (tag, delivery) -> inbox.add(delivery), tag -> { });
        return inbox;
    }

    static void bind(Channel channel, String queue, String exchange, String key, Map<String, Object> arguments)
            throws IOException {
        channel.queueDeclare(queue, false, false, false, null);
        channel.queueBind(queue, exchange, key, arguments);
    }

    static List<String> texts(Channel channel, String queue) throws IOException {
        List<String> texts = new ArrayList<>();
        for (GetResponse message; (message = channel.basicGet(queue, true)) != null;) {
            texts.add(text(message.getBody()));
        }
        return texts;
    }

    static boolean exists(Connection connection, String queue) throws Exception {
        Channel channel = connection.createChannel();
        try {
            channel.queueDeclarePassive(queue);
            return true;
        } catch (IOException error) {
            same(404, ((AMQP.Channel.Close) reason(error)).getReplyCode());
            return false;
        }
    }

    /** What the broker says when it closes the channel or the connection: code, name, class and method. */
    static void told(Connection connection, String expected, Provocation provocation) throws Exception {
        Channel channel = connection.createChannel();
        CompletableFuture<Method> reason = new CompletableFuture<>();
        channel.addShutdownListener(signal -> reason.complete(signal.getReason()));
        try {
            provocation.on(channel);
        } catch (IOException error) {
            same(ShutdownSignalException.class, error.getCause().getClass());
        }
        Method method = reason.get(20, TimeUnit.SECONDS);
        if (method instanceof AMQP.Channel.Close close) {
            same(expected, String.join(" ", close.getReplyCode() + "", close.getReplyText().split(" ")[0],
                    close.getClassId() + "", close.getMethodId() + ""));
        } else {
            AMQP.Connection.Close close = (AMQP.Connection.Close) method;
            same(expected, String.join(" ", close.getReplyCode() + "", close.getReplyText().split(" ")[0],
                    close.getClassId() + "", close.getMethodId() + ""));
        }
    }

    static Throwable failure(Callable<?> action) {
        try {
            action.call();
        } catch (Exception error) {
            return error;
        }
        throw new AssertionError("it did not fail");
    }

    static Method reason(Throwable error) {
        return ((ShutdownSignalException) error.getCause()).getReason();
    }

    static Method reasonOf(Connection connection) {
        return connection.getCloseReason().getReason();
    }

    static BasicProperties with(Map<String, Object> headers) {
        return new BasicProperties.Builder().headers(headers).build();
    }

    /** Field values in a form that knows how to be equal. */
    static Object plain(Object value) {
        if (value instanceof LongString text) {
            return text.toString();
        } else if (value instanceof byte[] bytes) {
            return ByteBuffer.wrap(bytes);
        } else if (value instanceof List<?> list) {
            return list.stream().map(Driver::plain).collect(Collectors.toCollection(ArrayList::new));
        } else if (value instanceof Map<?, ?> table) {
            Map<String, Object> plain = new HashMap<>();
            table.forEach((key, field) -> plain.put((String) key, plain(field)));
            return plain;
        }
        return value;
    }

    static Thread start(Step step) {
        Thread thread = new Thread(() -> {
            try {
                step.run();
            } catch (Exception error) {
                throw new AssertionError(error);
            }
        });
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    static <T> T take(BlockingQueue<T> inbox) throws InterruptedException {
        T item = inbox.poll(20, TimeUnit.SECONDS);
        sure(item != null, "nothing arrived within 20 s");
        return item;
    }

    static void until(Callable<Boolean> isTrue) throws Exception {
        while (!isTrue.call()) {
            pause(20);
        }
    }

    static void pause(int milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException error) {
            throw new AssertionError(error);
        }
    }

    static List<String> numbers(int count) {
        return IntStream.range(0, count).mapToObj(String::valueOf).toList();
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    static void same(Object expected, Object actual) {
        sure(Objects.equals(expected, actual), "expected " + expected + ", got " + actual);
    }

    static void sure(boolean isTrue, String otherwise) {
        if (!isTrue) {
            throw new AssertionError(otherwise);
        }
    }
}

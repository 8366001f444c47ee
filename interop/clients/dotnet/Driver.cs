// .NET's RabbitMQ.Client as Debian has it for Mono: of 2008, so it speaks AMQP 0-9, knows no confirms and recovers nothing.
using System;
using System.Collections;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using System.Threading;
using RabbitMQ.Client;
using RabbitMQ.Client.Events;
using RabbitMQ.Client.Exceptions;

static class Driver
{
    const int PatienceMs = 20000;

    static readonly Dictionary<string, Action> Scenarios = new Dictionary<string, Action>
    {
        ["connect"] = Connect, ["auth_failure"] = AuthFailure, ["no_vhost"] = NoVhost,
        ["mandatory_return"] = MandatoryReturn, ["get"] = Get, ["work_queue"] = WorkQueue, ["fanout"] = Fanout,
        ["topic"] = Topic, ["headers"] = Headers, ["rpc"] = Rpc, ["ordering"] = Ordering, ["large_message"] = LargeMessage,
        ["many_channels"] = ManyChannels, ["table_types"] = TableTypes, ["exclusive"] = Exclusive,
        ["auto_delete"] = AutoDelete, ["priorities"] = Priorities, ["retry_loop"] = RetryLoop, ["tx"] = Tx, ["recover"] = Recover,
        ["unbind_purge_delete"] = UnbindPurgeDelete, ["reconnect"] = Reconnect, ["heartbeat_loss"] = HeartbeatLoss,
        ["non_ascii"] = NonAscii, ["error_codes"] = ErrorCodes,
    };

    static int Main(string[] words)
    {
        var scenario = words.Last();
        if (scenario == "version")
        {
            Console.WriteLine("version " + typeof(ConnectionFactory).Assembly.GetName().Version);
        }
        else if (!Scenarios.ContainsKey(scenario))
        {
            Console.WriteLine("nobody wrote " + scenario);
            return 77;
        }
        else
        {
            Scenarios[scenario]();
        }
        Environment.Exit(0); // whatever threads of connections there are
        return 0;
    }

    static void Connect()
    {
        var connection = Factory().CreateConnection();
        var seen = connection.ServerProperties;
        Console.WriteLine("{0} {1}", Plain(seen["product"]), Plain(seen["version"]));
        var capabilities = (IDictionary) seen["capabilities"];
        Same(new object[] { true, true }, new[] { capabilities["publisher_confirms"], capabilities["connection.blocked"] });
        connection.Close();
        Same(new object[] { false, 200 }, new object[] { connection.IsOpen, (int) connection.CloseReason.ReplyCode });
    }

    static void AuthFailure()
    {
        var error = Throws<BrokerUnreachableException>(() => Factory(password: "wrong").CreateConnection());
        // A broker only closes the socket of a client that does not announce that it understands more.
        Same(typeof(PossibleAuthenticationFailureException).Name, error.ConnectionErrors.Values.Cast<object>().Single().GetType().Name);
    }

    static void NoVhost()
    {
        var error = Throws<BrokerUnreachableException>(() => Factory(vhost: "nowhere").CreateConnection());
        var reason = error.ConnectionErrors.Values.Cast<OperationInterruptedException>().Single().ShutdownReason;
        Same(530, (int) reason.ReplyCode);
        Same("NOT_ALLOWED - vhost nowhere not found", reason.ReplyText);
    }

    static void MandatoryReturn()
    {
        var channel = Open();
        var returned = new RabbitMQ.Util.SharedQueue();
        channel.BasicReturn += (model, message) => returned.Enqueue(message);
        channel.BasicPublish("amq.direct", "nobody", true, false, With(channel, how => how.MessageId = "m1"), Bytes("lost"));
        var back = (BasicReturnEventArgs) Take(returned);
        Same(new object[] { 312, "NO_ROUTE", "amq.direct", "nobody", "m1", "lost" }, new object[] {
            (int) back.ReplyCode, back.ReplyText, back.Exchange, back.RoutingKey, back.BasicProperties.MessageId, Text(back.Body) });
    }

    static void Get()
    {
        var channel = Declared("q");
        Send(channel, "", "q", "a", "b");
        var message = channel.BasicGet("q", false);
        Same(new object[] { "a", "", "q", false, 1 }, new object[] {
            Text(message.Body), message.Exchange, message.RoutingKey, message.Redelivered, (int) message.MessageCount });
        channel.BasicAck(message.DeliveryTag, false);
        Same(new[] { "b" }, Texts(channel, "q"));
        Same(null, channel.BasicGet("q", false));
    }

    static void WorkQueue()
    {
        var channel = Declared("q");
        var workers = new[] { new Inbox(Open(), "q", 1), new Inbox(Open(), "q", 1) };
        Send(channel, "", "q", Numbers(20));
        var done = new List<string>();
        for (var round = 0; round < 10; round++) // with a prefetch of 1 each has one whenever it has acked
        {
            foreach (var worker in workers)
            {
                var message = worker.Next();
                done.Add(Text(message.Body));
                worker.Model.BasicAck(message.DeliveryTag, false);
            }
        }
        Same(Numbers(20), done.OrderBy(int.Parse));
        Same(null, channel.BasicGet("q", true));
    }

    static void Fanout()
    {
        var channel = Open();
        channel.ExchangeDeclare("news", "fanout");
        foreach (var queue in new[] { "a", "b", "c" }) Bind(channel, queue, "news", "");
        Send(channel, "news", "any", "hello");
        foreach (var queue in new[] { "a", "b", "c" }) Same(new[] { "hello" }, Texts(channel, queue));
    }

    static void Topic()
    {
        var channel = Open();
        channel.ExchangeDeclare("logs", "topic");
        foreach (var pattern in new[] { "*.error", "app.#", "#", "app.*.disk" }) Bind(channel, pattern, "logs", pattern);
        var keys = new[] { "app", "app.error", "db.error", "app.error.disk", "db.error.disk" };
        foreach (var key in keys) Send(channel, "logs", key, key);
        Same(new[] { "app.error", "db.error" }, Texts(channel, "*.error"));
        Same(new[] { "app", "app.error", "app.error.disk" }, Texts(channel, "app.#"));
        Same(keys, Texts(channel, "#"));
        Same(new[] { "app.error.disk" }, Texts(channel, "app.*.disk"));
    }

    static void Headers()
    {
        var channel = Open();
        channel.ExchangeDeclare("h", "headers");
        foreach (var match in new[] { "all", "any" })
        {
            Bind(channel, match, "h", "", new Hashtable { ["x-match"] = match, ["kind"] = "report", ["pages"] = 2 });
        }
        SendWith(channel, "h", "", "both", how => how.Headers = new Hashtable { ["kind"] = "report", ["pages"] = 2, ["more"] = "yes" });
        SendWith(channel, "h", "", "one", how => how.Headers = new Hashtable { ["kind"] = "report", ["pages"] = 3 });
        SendWith(channel, "h", "", "none", how => how.Headers = new Hashtable { ["kind"] = "note" });
        Same(new[] { "both" }, Texts(channel, "all"));
        Same(new[] { "both", "one" }, Texts(channel, "any"));
    }

    static void Rpc()
    {
        var server = new Inbox(Declared("double"), "double", 1);
        var client = Open();
        var replies = new Inbox(client, "amq.rabbitmq.reply-to", isNoAck: true);
        foreach (var number in Numbers(10))
        {
            SendWith(client, "", "double", number, how =>
            {
                how.ReplyTo = "amq.rabbitmq.reply-to";
                how.CorrelationId = number;
            });
            var call = server.Next();
            Sure(call.BasicProperties.ReplyTo.StartsWith("amq.rabbitmq.reply-to."), call.BasicProperties.ReplyTo);
            var answer = (2 * int.Parse(Text(call.Body))).ToString();
            SendWith(server.Model, "", call.BasicProperties.ReplyTo, answer,
                how => how.CorrelationId = call.BasicProperties.CorrelationId);
            server.Model.BasicAck(call.DeliveryTag, false);
            var reply = replies.Next();
            Same(new[] { number, answer }, new[] { reply.BasicProperties.CorrelationId, Text(reply.Body) });
        }
    }

    static void Ordering()
    {
        var channel = Declared("q");
        var inbox = new Inbox(channel, "q", isNoAck: true);
        Send(channel, "", "q", Numbers(1000));
        Same(Numbers(1000), Enumerable.Range(0, 1000).Select(_ => Text(inbox.Next().Body)));
    }

    static void LargeMessage()
    {
        var channel = Declared("q");
        var body = new byte[10 * 1024 * 1024];
        new Random().NextBytes(body);
        channel.BasicPublish("", "q", With(channel, how => how.DeliveryMode = 2), body);
        Sure(new Inbox(channel, "q", isNoAck: true).Next().Body.SequenceEqual(body), "another body");
    }

    static void ManyChannels()
    {
        var connection = Factory().CreateConnection();
        var channels = Enumerable.Range(0, 1000).Select(_ => connection.CreateModel()).ToList();
        channels[0].QueueDeclare("q");
        foreach (var channel in channels)
        {
            channel.BasicPublish("", "q", null, Bytes("x"));
            channel.QueueDeclare("q"); // answered when the message is there
        }
        Same(1000, Texts(channels[0], "q").Length);
        foreach (var channel in channels) channel.Close();
    }

    static void TableTypes()
    {
        var channel = Declared("q");
        var headers = new Hashtable
        {
            ["text"] = "plain", ["empty"] = "", ["unicode"] = "ü漢字🐰", ["long"] = new string('x', 20000),
            ["small"] = -1, ["large"] = int.MaxValue, ["smallest"] = int.MinValue, ["price"] = 19.99m,
            ["when"] = new AmqpTimestamp(1700000000), ["yes"] = true, ["no"] = false, ["byte"] = (byte) 200, ["fraction"] = 0.1,
            ["single"] = 0.5f, ["wide"] = long.MinValue, ["short"] = (short) -2, ["nothing"] = null,
            ["list"] = new ArrayList { 1, "two", new ArrayList { 3 }, new Hashtable { ["four"] = 4 }, null },
            ["binary"] = new BinaryTableValue(new byte[] { 0, 255, 128 }),
            ["table"] = new Hashtable { ["inner"] = new Hashtable { ["deeper"] = 2 } }, ["nobody"] = new Hashtable(),
        };
        SendWith(channel, "", "q", "x", how => how.Headers = headers);
        var got = channel.BasicGet("q", true).BasicProperties.Headers;
        Same(headers.Count, got.Count);
        foreach (string name in headers.Keys) Same(name + " " + Shown(headers[name]), name + " " + Shown(got[name]));
    }

    static void Exclusive()
    {
        var mine = Factory().CreateConnection();
        mine.CreateModel().QueueDeclare("mine", false, false, true, false, false, null);
        Told(Open(), 405, "RESOURCE_LOCKED", 50, 10, channel => IsThere(channel, "mine"));
        mine.Close();
        Until(() => !Exists("mine"));
    }

    static void AutoDelete()
    {
        var channel = Open();
        channel.QueueDeclare("q", false, false, false, true, false, null);
        var consumers = new[] { new Inbox(channel, "q"), new Inbox(channel, "q") };
        channel.BasicCancel(consumers[0].Tag);
        Sure(Exists("q"), "gone too early");
        channel.BasicCancel(consumers[1].Tag);
        Until(() => !Exists("q"));
    }

    static void Priorities()
    {
        var channel = Open();
        channel.QueueDeclare("q", false, false, false, false, false, new Hashtable { ["x-max-priority"] = 10 });
        foreach (byte priority in new[] { 1, 9, 5, 10, 0, 5 })
        {
            SendWith(channel, "", "q", priority.ToString(), how => how.Priority = priority);
        }
        var inbox = new Inbox(channel, "q", isNoAck: true);
        Same(new[] { "10", "9", "5", "5", "1", "0" }, Enumerable.Range(0, 6).Select(_ => Text(inbox.Next().Body)));
    }

    static void RetryLoop()
    {
        var channel = Open();
        Func<string, Hashtable> to = key => new Hashtable { ["x-dead-letter-exchange"] = "", ["x-dead-letter-routing-key"] = key };
        channel.QueueDeclare("work", false, false, false, false, false, to("retry"));
        channel.QueueDeclare("retry", false, false, false, false, false, new Hashtable(to("work")) { ["x-message-ttl"] = 50 });
        Send(channel, "", "work", "try me");
        var inbox = new Inbox(channel, "work");
        for (var round = 0; round < 3; round++)
        {
            var message = inbox.Next();
            var deaths = (IList) message.BasicProperties.Headers?["x-death"] ?? new ArrayList();
            var told = deaths.Cast<IDictionary>().Select(death => Plain(death["queue"]) + " " + Plain(death["reason"]) + " " + death["count"]);
            Same(round == 0 ? new string[0] : new[] { "retry expired " + round, "work rejected " + round }, told.OrderBy(death => death));
            channel.BasicReject(message.DeliveryTag, false);
        }
    }

    static void Tx()
    {
        var channel = Declared("q");
        channel.TxSelect();
        Send(channel, "", "q", "kept");
        Same(null, channel.BasicGet("q", false));
        channel.TxCommit();
        Send(channel, "", "q", "forgotten");
        channel.BasicAck(channel.BasicGet("q", false).DeliveryTag, false);
        channel.TxRollback();
        channel.BasicRecover(true);
        var message = channel.BasicGet("q", false);
        Same(new object[] { "kept", true, 0 }, new object[] { Text(message.Body), message.Redelivered, (int) message.MessageCount });
    }

    static void Recover()
    {
        var channel = Declared("q");
        Send(channel, "", "q", "again");
        var inbox = new Inbox(channel, "q");
        Same(false, inbox.Next().Redelivered);
        channel.BasicRecover(true);
        var message = inbox.Next();
        Same(true, message.Redelivered);
        channel.BasicReject(message.DeliveryTag, true); // it has no nack
        message = inbox.Next();
        Same(new object[] { "again", true }, new object[] { Text(message.Body), message.Redelivered });
        channel.BasicReject(message.DeliveryTag, false);
        Same(0, (int) channel.QueueDelete("q", false, false, false));
    }

    static void UnbindPurgeDelete()
    {
        var channel = Open();
        var arguments = new Hashtable { ["reason"] = "test" };
        Bind(channel, "q", "amq.direct", "key", arguments);
        Send(channel, "amq.direct", "key", "a", "b", "c");
        channel.QueueUnbind("q", "amq.direct", "key", arguments);
        Send(channel, "amq.direct", "key", "unheard");
        Same(3, (int) channel.QueuePurge("q", false));
        Send(channel, "", "q", "d", "e");
        Same(2, (int) channel.QueueDelete("q", false, false, false));
        Same(0, (int) channel.QueueDelete("q", false, false, false));
    }

    static void Reconnect()
    {
        // In a transaction each, as it has no confirms: done when it is committed. A new connection whenever one is lost.
        IModel channel = null;
        Action<Action<IModel>> surely = act =>
        {
            for (;;)
            {
                try
                {
                    if (channel == null)
                    {
                        channel = Open();
                        channel.TxSelect();
                        foreach (var queue in new[] { "kept", "work" }) channel.QueueDeclare(queue, true);
                    }
                    act(channel);
                    channel.TxCommit();
                    return;
                }
                catch (Exception error) when (error is OperationInterruptedException || error is BrokerUnreachableException
                    || error is IOException)
                {
                    Console.WriteLine("lost: " + error.GetType());
                    channel = null;
                    Thread.Sleep(100);
                }
            }
        };
        Action<string, string[]> publish = (queue, texts) =>
        {
            foreach (var text in texts) surely(model => SendWith(model, "", queue, text, how => how.DeliveryMode = 2));
        };
        publish("kept", Numbers(20));
        var killing = new Thread(() => Ask("kill"));
        killing.Start();
        publish("work", Numbers(40));
        killing.Join();
        publish("work", new[] { "after", "that" });
        var seen = new HashSet<string>();
        while (seen.Count < 42)
        {
            surely(model =>
            {
                var message = model.BasicGet("work", false);
                if (message == null) return; // not back from a connection that was lost
                seen.Add(Text(message.Body));
                model.BasicAck(message.DeliveryTag, false);
            });
        }
        Same(Numbers(20), Texts(channel, "kept"));
    }

    static void HeartbeatLoss()
    {
        var factory = Factory();
        factory.RequestedHeartbeat = 1;
        var connection = factory.CreateConnection();
        var lost = new RabbitMQ.Util.SharedQueue();
        connection.ConnectionShutdown += (closed, reason) => lost.Enqueue(reason);
        Thread.Sleep(4000); // heartbeats go both ways meanwhile
        Sure(connection.IsOpen, "lost too early");
        Ask("freeze 6");
        Sure(((ShutdownEventArgs) Take(lost)).Cause is EndOfStreamException, "lost for another reason");
        Until(() =>
        {
            try
            {
                return Declared("back") != null; // when it moves again
            }
            catch (BrokerUnreachableException)
            {
                return false;
            }
        });
    }

    static void NonAscii()
    {
        string queue = "größe-漢字", to = "обмен-🐰", key = "ключ.ü.漢", text = "Grüße, 世界 🐇", tag = "täg-🏷";
        var channel = Open();
        channel.ExchangeDeclare(to, "topic");
        Bind(channel, queue, to, "ключ.*.漢");
        var inbox = new QueueingBasicConsumer(channel);
        Same(tag, channel.BasicConsume(queue, true, tag, null, inbox));
        SendWith(channel, to, key, text, how =>
        {
            how.Headers = new Hashtable { ["schlüssel-鍵"] = text };
            how.Type = "typ-ü";
        });
        var message = (BasicDeliverEventArgs) Take(inbox.Queue);
        var properties = message.BasicProperties;
        Same(new[] { to, key, tag, text, text, "typ-ü" }, new[] { message.Exchange, message.RoutingKey, message.ConsumerTag,
            Text(message.Body), Plain(properties.Headers["schlüssel-鍵"]), properties.Type });
        Sure(Exists(queue), "no such queue");
    }

    static void ErrorCodes()
    {
        Open().QueueDeclare("durable", true);
        Told(Open(), 404, "NOT_FOUND", 50, 10, channel => IsThere(channel, "missing"));
        Told(Open(), 406, "PRECONDITION_FAILED", 50, 10, channel => channel.QueueDeclare("durable"));
        Told(Open(), 403, "ACCESS_REFUSED", 40, 10, channel => channel.ExchangeDeclare("amq.mine", "direct"));
        Told(Open(), 406, "PRECONDITION_FAILED", 60, 80, channel => channel.BasicAck(7, false));
        Told(Open(), 404, "NOT_FOUND", 60, 40, channel => channel.BasicPublish("missing", "", null, Bytes("x")));
        Told(Open(), 503, "COMMAND_INVALID", 40, 10, channel => channel.ExchangeDeclare("x", "no-such-type"));
        Told(Open(), 530, "NOT_ALLOWED", 60, 20, channel =>
        {
            for (var i = 0; i < 2; i++) channel.BasicConsume("durable", true, "twice", null, new QueueingBasicConsumer(channel));
        });
        Told(Open(), 540, "NOT_IMPLEMENTED", 60, 10, channel => channel.BasicQos(1, 0, false));
        Told(Open(), 540, "NOT_IMPLEMENTED", 60, 40, channel => channel.BasicPublish("", "q", false, true, null, Bytes("x")));
    }

    // What the scenarios share.

    static void Ask(string words)
    {
        Console.WriteLine("ask " + words);
        Same("done", Console.ReadLine());
    }

    static ConnectionFactory Factory(string password = null, string vhost = null)
    {
        var url = new Uri(Environment.GetEnvironmentVariable("AMQP_URL"));
        var login = url.UserInfo.Split(':');
        return new ConnectionFactory
        {
            Protocol = Protocols.AMQP_0_9, HostName = url.Host, Port = url.Port, UserName = login[0],
            Password = password ?? login[1], VirtualHost = vhost ?? Uri.UnescapeDataString(url.AbsolutePath.Substring(1)),
        };
    }

    /// A channel on a connection of its own.
    static IModel Open() => Factory().CreateConnection().CreateModel();

    static IModel Declared(string queue)
    {
        var channel = Open();
        channel.QueueDeclare(queue);
        return channel;
    }

    static void Bind(IModel channel, string queue, string exchange, string key, IDictionary arguments = null)
    {
        channel.QueueDeclare(queue);
        channel.QueueBind(queue, exchange, key, false, arguments);
    }

    static IBasicProperties With(IModel channel, Action<IBasicProperties> set)
    {
        var properties = channel.CreateBasicProperties();
        set(properties);
        return properties;
    }

    static void SendWith(IModel channel, string exchange, string key, string text, Action<IBasicProperties> set) =>
        channel.BasicPublish(exchange, key, With(channel, set), Bytes(text));

    static void Send(IModel channel, string exchange, string key, params string[] texts)
    {
        foreach (var text in texts) channel.BasicPublish(exchange, key, null, Bytes(text));
    }

    /// A consumer and what it got.
    class Inbox
    {
        public readonly IModel Model;
        public readonly string Tag;
        readonly QueueingBasicConsumer consumer;

        public Inbox(IModel model, string queue, ushort prefetchCount = 0, bool isNoAck = false)
        {
            Model = model;
            consumer = new QueueingBasicConsumer(model);
            if (prefetchCount > 0) model.BasicQos(0, prefetchCount, false);
            Tag = model.BasicConsume(queue, isNoAck, null, consumer);
        }

        public BasicDeliverEventArgs Next() => (BasicDeliverEventArgs) Take(consumer.Queue);
    }

    static object Take(RabbitMQ.Util.SharedQueue queue)
    {
        Sure(queue.Dequeue(PatienceMs, out var item), "nothing arrived in time");
        return item;
    }

    static string[] Texts(IModel channel, string queue)
    {
        var texts = new List<string>();
        for (BasicGetResult message; (message = channel.BasicGet(queue, true)) != null;) texts.Add(Text(message.Body));
        return texts.ToArray();
    }

    static void IsThere(IModel channel, string queue) => channel.QueueDeclare(queue, true, false, false, false, false, null);

    static bool Exists(string queue)
    {
        try
        {
            IsThere(Open(), queue);
            return true;
        }
        catch (OperationInterruptedException error)
        {
            Same(404, (int) error.ShutdownReason.ReplyCode);
            return false;
        }
    }

    /// The broker closes the channel or its connection: code, name, class and method of what it minds.
    static void Told(IModel channel, int code, string name, int classId, int methodId, Action<IModel> provoke)
    {
        var closed = new RabbitMQ.Util.SharedQueue();
        channel.ModelShutdown += (model, reason) => closed.Enqueue(reason);
        try
        {
            provoke(channel);
        }
        catch (OperationInterruptedException)
        {
        }
        var told = (ShutdownEventArgs) Take(closed);
        Same(new[] { code, classId, methodId }, new int[] { told.ReplyCode, told.ClassId, told.MethodId });
        Sure(told.ReplyText.StartsWith(name + " - "), told.ReplyText);
    }

    static E Throws<E>(Action act) where E : Exception
    {
        try
        {
            act();
        }
        catch (E error)
        {
            return error;
        }
        throw new Exception("no " + typeof(E));
    }

    static void Until(Func<bool> isTrue)
    {
        while (!isTrue()) Thread.Sleep(20);
    }

    static string[] Numbers(int count) => Enumerable.Range(0, count).Select(number => number.ToString()).ToArray();

    static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    static string Text(byte[] bytes) => Encoding.UTF8.GetString(bytes);

    /// A text of a table, which is read as bytes.
    static string Plain(object value) => Text((byte[]) value);

    /// A value of a table in a form that knows how to be equal; texts are read as bytes.
    static string Shown(object value)
    {
        if (value is byte[]) return "text " + Text((byte[]) value);
        if (value is string) return "text " + value;
        if (value is BinaryTableValue) return "bytes " + BitConverter.ToString(((BinaryTableValue) value).Bytes);
        if (value is AmqpTimestamp) return "time " + ((AmqpTimestamp) value).UnixTime;
        var table = value as IDictionary;
        if (table != null)
        {
            var names = table.Keys.Cast<string>().OrderBy(name => name, StringComparer.Ordinal);
            return "{" + string.Join(", ", names.Select(name => name + ": " + Shown(table[name]))) + "}";
        }
        var list = value as IEnumerable;
        if (list != null) return "[" + string.Join(", ", list.Cast<object>().Select(Shown)) + "]";
        return value == null ? "null" : value.GetType().Name + " " + value;
    }

    static void Same(object expected, object got)
    {
        string wanted = Shown(expected), seen = Shown(got);
        Sure(wanted == seen, "expected " + wanted + ", got " + seen);
    }

    static void Sure(bool isTrue, string otherwise)
    {
        if (!isTrue) throw new Exception(otherwise);
    }
}

<?php
// php-amqp, the extension (on top of rabbitmq-c): everything blocks, and nothing recovers by itself.
declare(strict_types=1);

require __DIR__ . '/../stagehand.php';

/** `$act` throws an error of that class, with that code and text. */
function refused(string $class, int $code, string $text, callable $act): void
{
    $error = thrown($class, $act);
    same([$class, $code], [$error::class, $error->getCode()]);
    str_contains($error->getMessage(), $text) || throw $error;
}

function connect(array $changes = []): AMQPConnection
{
    $url = url();
    $connection = new AMQPConnection($changes + [
        'host' => $url['host'], 'port' => $url['port'], 'login' => $url['user'], 'password' => $url['pass'],
        'vhost' => $url['vhost'], 'read_timeout' => 20,
    ]);
    $connection->connect();
    return $connection;
}

function open(?AMQPConnection $connection = null): AMQPChannel
{
    return new AMQPChannel($connection ?? connect());
}

function queue(AMQPChannel $channel, string $name, array $arguments = [], int $flags = AMQP_NOPARAM): AMQPQueue
{
    $queue = new AMQPQueue($channel);
    $queue->setName($name);
    $queue->setFlags($flags);
    $queue->setArguments($arguments);
    $queue->declareQueue();
    return $queue;
}

/** The queue as it is: how many messages it has is what its declaration returns. */
function message_count(string $name): int
{
    $queue = new AMQPQueue(open());
    $queue->setName($name);
    $queue->setFlags(AMQP_PASSIVE);
    return $queue->declareQueue();
}

function exists(string $name): bool
{
    try {
        message_count($name);
        return true;
    } catch (AMQPQueueException $error) {
        same(404, $error->getCode());
        return false;
    }
}

function exchange(AMQPChannel $channel, string $name = '', ?string $type = null): AMQPExchange
{
    $exchange = new AMQPExchange($channel);
    if ($name) {
        $exchange->setName($name);
    }
    if ($type) {
        $exchange->setType($type);
        $exchange->declareExchange();
    }
    return $exchange;
}

/** Publishes on a channel of its own, and waits for the confirms. */
function send(string $exchange, string $key, array $texts, array $attributes = []): void
{
    $channel = open();
    $channel->confirmSelect();
    $to = exchange($channel, $exchange);
    foreach ($texts as $text) {
        $to->publish($text, $key, AMQP_NOPARAM, $attributes);
    }
    $wanted = count($texts);
    $channel->setConfirmCallback(fn (int $tag) => $tag < $wanted, fn () => throw new Exception('nack'));
    $channel->waitForConfirm(20);
}

/** All that a queue has, got one by one. */
function texts(AMQPQueue $queue): array
{
    for ($texts = []; $message = $queue->get(AMQP_AUTOACK);) {
        $texts[] = $message->getBody();
    }
    return $texts;
}

/** The next messages of a consumer, which is made if there is none. */
function consumed(AMQPQueue $queue, int $count, int $flags = AMQP_NOPARAM, string ...$tag): array
{
    $messages = [];
    $queue->consume(function (AMQPEnvelope $message) use (&$messages, $count) {
        $messages[] = $message;
        return count($messages) < $count;
    }, $flags | ($queue->getConsumerTag() ? AMQP_JUST_CONSUME : 0), ...$tag);
    return $messages;
}

$scenarios = [
    'connect' => function () {
        $connection = connect(); // it does not show the server's properties
        same(true, $connection->isConnected());
        same(131072, $connection->getMaxFrameSize());
        same(true, $connection->disconnect());
        same(false, $connection->isConnected());
    },

    'auth_failure' => fn () => refused(
        'AMQPConnectionException', 403, 'ACCESS_REFUSED - Login was refused', fn () => connect(['password' => 'wrong'])
    ),

    'no_vhost' => fn () => refused(
        'AMQPConnectionException', 530, 'NOT_ALLOWED - vhost nowhere not found', fn () => connect(['vhost' => 'nowhere'])
    ),

    'publish_confirm' => function () {
        $queue = queue(open(), 'q', flags: AMQP_DURABLE);
        send('', 'q', numbers(100), ['delivery_mode' => 2]);
        same(100, message_count('q'));
        same(numbers(100), texts($queue));
    },

    'mandatory_return' => function () {
        $channel = open();
        $returned = null;
        $channel->setReturnCallback(function (...$parts) use (&$returned) {
            $returned = $parts;
            return false;
        });
        exchange($channel, 'amq.direct')->publish('lost', 'nobody', AMQP_MANDATORY, ['message_id' => 'm1']);
        $channel->waitForBasicReturn(20);
        [$code, $text, $exchange, $key, $properties, $body] = $returned;
        same([312, 'NO_ROUTE', 'amq.direct', 'nobody'], [$code, $text, $exchange, $key]);
        same(['m1', 'lost'], [$properties->getMessageId(), $body]);
    },

    'get' => function () {
        $queue = queue(open(), 'q');
        send('', 'q', ['a', 'b']);
        $message = $queue->get();
        same(
            ['a', '', 'q', false],
            [$message->getBody(), $message->getExchangeName(), $message->getRoutingKey(), $message->isRedelivery()]
        );
        same(1, message_count('q'));
        $queue->ack($message->getDeliveryTag());
        same(['b'], texts($queue));
        same(false, $queue->get());
    },

    'work_queue' => function () {
        $workers = [];
        foreach ([0, 1] as $number) {
            $channel = open();
            $channel->qos(0, 1);
            $workers[] = queue($channel, 'q');
            end($workers)->consume(); // a consumer, nothing waited for yet
        }
        send('', 'q', numbers(20));
        $done = [];
        for ($round = 0; $round < 10; $round++) {
            foreach ($workers as $worker) {
                [$message] = consumed($worker, 1);
                $worker->ack($message->getDeliveryTag());
                $done[] = $message->getBody();
            }
        }
        sort($done, SORT_NUMERIC);
        same(numbers(20), $done);
        until(fn () => message_count('q') === 0);
    },

    'fanout' => function () {
        $channel = open();
        exchange($channel, 'news', AMQP_EX_TYPE_FANOUT);
        $queues = array_map(fn ($name) => queue($channel, $name), ['a', 'b', 'c']);
        array_map(fn ($queue) => $queue->bind('news'), $queues);
        send('news', 'any', ['hello']);
        same([['hello'], ['hello'], ['hello']], array_map('texts', $queues));
    },

    'topic' => function () {
        $channel = open();
        exchange($channel, 'logs', AMQP_EX_TYPE_TOPIC);
        $queues = [];
        foreach (['*.error', 'app.#', '#', 'app.*.disk'] as $pattern) {
            $queues[] = queue($channel, $pattern);
            end($queues)->bind('logs', $pattern);
        }
        $keys = ['app', 'app.error', 'db.error', 'app.error.disk', 'db.error.disk'];
        foreach ($keys as $key) {
            send('logs', $key, [$key]);
        }
        same(
            [['app.error', 'db.error'], ['app', 'app.error', 'app.error.disk'], $keys, ['app.error.disk']],
            array_map('texts', $queues)
        );
    },

    'headers' => function () {
        $channel = open();
        exchange($channel, 'h', AMQP_EX_TYPE_HEADERS);
        foreach (['all', 'any'] as $match) {
            $$match = queue($channel, $match);
            $$match->bind('h', '', ['x-match' => $match, 'kind' => 'report', 'pages' => 2]);
        }
        send('h', '', ['both'], ['headers' => ['kind' => 'report', 'pages' => 2, 'more' => true]]);
        send('h', '', ['one'], ['headers' => ['kind' => 'report', 'pages' => 3]]);
        send('h', '', ['none'], ['headers' => ['kind' => 'note']]);
        same([['both'], ['both', 'one']], [texts($all), texts($any)]);
    },

    'rpc' => function () {
        $server = queue(open(), 'double');
        $client = open();
        $replies = new AMQPQueue($client);
        $replies->setName('amq.rabbitmq.reply-to');
        $replies->consume(null, AMQP_AUTOACK);
        foreach (numbers(10) as $number) {
            $attributes = ['reply_to' => 'amq.rabbitmq.reply-to', 'correlation_id' => $number];
            exchange($client)->publish($number, 'double', AMQP_NOPARAM, $attributes);
            [$call] = consumed($server, 1, AMQP_AUTOACK);
            same(true, str_starts_with($call->getReplyTo(), 'amq.rabbitmq.reply-to.'));
            $answer = ['correlation_id' => $call->getCorrelationId()];
            exchange($server->getChannel())->publish((string) (2 * $call->getBody()), $call->getReplyTo(), AMQP_NOPARAM, $answer);
            [$reply] = consumed($replies, 1);
            same([$number, (string) (2 * $number)], [$reply->getCorrelationId(), $reply->getBody()]);
        }
    },

    'ordering' => function () {
        $queue = queue(open(), 'q');
        send('', 'q', numbers(1000));
        same(numbers(1000), bodies(consumed($queue, 1000, AMQP_AUTOACK)));
    },

    'large_message' => function () {
        $queue = queue(open(), 'q');
        $body = random_bytes(10 * 1024 * 1024);
        send('', 'q', [$body], ['delivery_mode' => 2]);
        same(true, $queue->get(AMQP_AUTOACK)->getBody() === $body);
    },

    'many_channels' => function () {
        $connection = connect();
        $queue = queue(open($connection), 'q');
        $count = $connection->getMaxChannels() - 1; // 256 by default
        $channels = array_map(fn () => open($connection), range(1, $count));
        foreach ($channels as $number => $channel) {
            exchange($channel)->publish((string) $number, 'q');
        }
        until(fn () => message_count('q') === $count);
        $all = texts($queue);
        sort($all, SORT_NUMERIC);
        same(numbers($count), $all);
    },

    'table_types' => function () {
        $queue = queue(open(), 'q');
        $headers = [
            'small' => -1, 'large' => PHP_INT_MAX, 'smallest' => PHP_INT_MIN, 'fraction' => 0.1, 'yes' => true, 'no' => false,
            'nothing' => null, 'text' => 'plain', 'empty' => '', 'unicode' => 'ü漢字🐰', 'bytes' => "\x00\xff\x80",
            'long' => str_repeat('x', 20_000), 'list' => ['one', 'two', ['four' => 4]], // it writes only texts and tables of a list
            'table' => ['inner' => ['deeper' => ['text']]],
        ];
        $typed = ['when' => new AMQPTimestamp(1700000000), 'price' => new AMQPDecimal(2, 1999)];
        send('', 'q', ['x'], ['headers' => $headers + $typed]);
        $got = $queue->get(AMQP_AUTOACK)->getHeaders();
        same('1700000000', $got['when']->getTimestamp());
        same([2, 1999], [$got['price']->getExponent(), $got['price']->getSignificand()]);
        foreach ($headers as $name => $value) {
            same([$name, $value], [$name, $got[$name] ?? null]);
        }
        same(count($headers) + count($typed), count($got));
    },

    'exclusive' => function () {
        $mine = connect();
        queue(open($mine), 'mine', flags: AMQP_EXCLUSIVE);
        refused('AMQPQueueException', 405, 'RESOURCE_LOCKED', fn () => message_count('mine'));
        $mine->disconnect();
        until(fn () => !exists('mine'));
    },

    'auto_delete' => function () {
        [$first, $second] = [queue(open(), 'q', flags: AMQP_AUTODELETE), queue(open(), 'q', flags: AMQP_AUTODELETE)];
        $first->consume();
        $second->consume();
        $first->cancel();
        same(true, exists('q'));
        $second->cancel();
        until(fn () => !exists('q'));
    },

    'priorities' => function () {
        $queue = queue(open(), 'q', ['x-max-priority' => 10]);
        foreach ([1, 9, 5, 10, 0, 5] as $priority) {
            send('', 'q', [(string) $priority], ['priority' => $priority]);
        }
        same(['10', '9', '5', '5', '1', '0'], bodies(consumed($queue, 6, AMQP_AUTOACK)));
    },

    'retry_loop' => function () {
        $channel = open();
        $to = fn ($key) => ['x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => $key];
        $work = queue($channel, 'work', $to('retry'));
        queue($channel, 'retry', $to('work') + ['x-message-ttl' => 50]);
        send('', 'work', ['try me']);
        foreach ([0, 1, 2] as $round) {
            [$message] = consumed($work, 1);
            $deaths = array_map(
                fn ($death) => [$death['queue'], $death['reason'], $death['count']],
                $message->getHeaders()['x-death'] ?? []
            );
            sort($deaths);
            same($round ? [['retry', 'expired', $round], ['work', 'rejected', $round]] : [], $deaths);
            $round < 2 ? $work->nack($message->getDeliveryTag()) : $work->ack($message->getDeliveryTag());
        }
    },

    'tx' => function () {
        $channel = open();
        $queue = queue($channel, 'q');
        $channel->startTransaction();
        exchange($channel)->publish('kept', 'q');
        same(0, message_count('q'));
        $channel->commitTransaction();
        same(1, message_count('q'));
        exchange($channel)->publish('forgotten', 'q');
        $queue->ack($queue->get()->getDeliveryTag());
        $channel->rollbackTransaction();
        $channel->basicRecover(true);
        $message = $queue->get();
        same(['kept', true, 0], [$message->getBody(), $message->isRedelivery(), message_count('q')]);
    },

    'recover' => function () {
        $queue = queue(open(), 'q');
        send('', 'q', ['again']);
        $retry = [
            fn () => $queue->getChannel()->basicRecover(true),
            fn (int $tag) => $queue->nack($tag, AMQP_REQUEUE),
            fn (int $tag) => $queue->reject($tag, AMQP_REQUEUE),
        ];
        foreach ($retry as $round => $give_back) {
            $message = $queue->get();
            same($round > 0, $message->isRedelivery());
            $give_back($message->getDeliveryTag());
        }
        $message = $queue->get();
        same(['again', true], [$message->getBody(), $message->isRedelivery()]);
        $queue->reject($message->getDeliveryTag());
        until(fn () => message_count('q') === 0);
    },

    'unbind_purge_delete' => function () {
        $queue = queue(open(), 'q');
        $queue->bind('amq.direct', 'key', ['reason' => 'test']);
        send('amq.direct', 'key', ['a', 'b', 'c']);
        $queue->unbind('amq.direct', 'key', ['reason' => 'test']);
        send('amq.direct', 'key', ['unheard']);
        same(3, message_count('q'));
        same(true, $queue->purge()); // it does not say how many
        send('', 'q', ['d', 'e']);
        same([2, 0], [$queue->delete(), $queue->delete()]);
    },

    'reconnect' => function () {
        // Until it is done, with a new connection each time.
        $surely = function (callable $act) {
            for (;;) {
                try {
                    return $act();
                } catch (AMQPException $error) {
                    echo 'lost: ', $error->getMessage(), "\n";
                    usleep(100_000);
                }
            }
        };
        $publish = fn (string $queue, string $text) => $surely(fn () => send('', $queue, [$text], ['delivery_mode' => 2]));
        queue(open(), 'kept', flags: AMQP_DURABLE);
        queue(open(), 'work', flags: AMQP_DURABLE);
        array_map(fn ($text) => $publish('kept', $text), numbers(20));
        ask('kill');
        array_map(fn ($text) => $publish('work', $text), numbers(40));
        answered();
        array_map(fn ($text) => $publish('work', $text), ['after', 'that']);
        $seen = [];
        $surely(function () use (&$seen) {
            $work = queue(open(), 'work', flags: AMQP_DURABLE);
            while (count($seen) < 42) {
                [$message] = consumed($work, 1);
                $seen[$message->getBody()] = true;
                $work->ack($message->getDeliveryTag());
            }
        });
        same(numbers(20), texts(queue(open(), 'kept', flags: AMQP_DURABLE)));
    },

    'heartbeat_loss' => function () {
        $connection = connect(['heartbeat' => 1, 'read_timeout' => 4]);
        $queue = queue(open($connection), 'q');
        $wait = fn () => $queue->consume(fn () => true, $queue->getConsumerTag() ? AMQP_JUST_CONSUME : 0);
        refused('AMQPQueueException', 0, 'Consumer timeout exceed', $wait); // heartbeats go both ways meanwhile
        ask('freeze 6');
        answered();
        refused('AMQPException', 0, 'heartbeat', $wait);
        queue(open(), 'back');
    },

    'non_ascii' => function () {
        $channel = open();
        [$name, $to, $key, $text] = ['größe-漢字', 'обмен-🐰', 'ключ.ü.漢', 'Grüße, 世界 🐇'];
        $queue = queue($channel, $name);
        exchange($channel, $to, AMQP_EX_TYPE_TOPIC);
        $queue->bind($to, 'ключ.*.漢');
        send($to, $key, [$text], ['headers' => ['schlüssel-鍵' => $text], 'type' => 'typ-ü']);
        [$message] = consumed($queue, 1, AMQP_AUTOACK, 'täg-🏷');
        same([$to, $key, 'täg-🏷'], [$message->getExchangeName(), $message->getRoutingKey(), $message->getConsumerTag()]);
        same([['schlüssel-鍵' => $text], 'typ-ü', $text], [$message->getHeaders(), $message->getType(), $message->getBody()]);
    },

    'error_codes' => function () {
        queue(open(), 'durable', flags: AMQP_DURABLE);
        refused('AMQPQueueException', 404, 'NOT_FOUND', fn () => message_count('missing'));
        refused('AMQPQueueException', 406, 'PRECONDITION_FAILED', fn () => queue(open(), 'durable'));
        refused('AMQPExchangeException', 403, 'ACCESS_REFUSED', fn () => exchange(open(), 'amq.mine', 'direct'));
        refused('AMQPConnectionException', 503, 'COMMAND_INVALID', fn () => exchange(open(), 'x', 'no-such-type'));
        refused('AMQPConnectionException', 540, 'NOT_IMPLEMENTED', fn () => open()->setPrefetchSize(1));
        refused('AMQPQueueException', 530, 'NOT_ALLOWED', function () {
            $queue = queue(open(), 'durable', flags: AMQP_DURABLE);
            $queue->consume(null, AMQP_NOPARAM, 'twice');
            $queue->consume(null, AMQP_NOPARAM, 'twice');
        });
    },
];

play($scenarios, phpversion('amqp'));

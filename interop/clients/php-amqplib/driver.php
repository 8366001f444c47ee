<?php
// php-amqplib: no recovery of its own, so with the loop that its documentation shows. One thread: wait() is its event loop.
declare(strict_types=1);

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPBasicCancelException;
use PhpAmqpLib\Exception\AMQPChannelClosedException;
use PhpAmqpLib\Exception\AMQPConnectionClosedException;
use PhpAmqpLib\Exception\AMQPExceptionInterface;
use PhpAmqpLib\Exception\AMQPHeartbeatMissedException;
use PhpAmqpLib\Exception\AMQPProtocolChannelException;
use PhpAmqpLib\Exception\AMQPTimeoutException;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Package;
use PhpAmqpLib\Wire\AMQPAbstractCollection as Type;
use PhpAmqpLib\Wire\AMQPDecimal;
use PhpAmqpLib\Wire\AMQPTable;

$composer = getenv('COMPOSER_VENDOR_DIR') . '/autoload.php';
require is_file($composer) ? $composer : 'PhpAmqpLib/autoload.php';
require __DIR__ . '/../stagehand.php';

function connect(array $changes = [], int $heartbeat = 0): AMQPStreamConnection
{
    $url = $changes + url();
    return new AMQPStreamConnection(
        $url['host'], $url['port'], $url['user'], $url['pass'], $url['vhost'], read_write_timeout: 30.0, heartbeat: $heartbeat
    );
}

function open(): AMQPChannel
{
    $channel = connect()->channel();
    $channel->confirm_select();
    return $channel;
}

function declared(AMQPChannel $channel, string $name, array $arguments = [], bool $durable = false, bool $auto_delete = false): int
{
    $channel->queue_declare($name, durable: $durable, auto_delete: $auto_delete, arguments: new AMQPTable($arguments));
    return message_count($channel, $name);
}

function message_count(AMQPChannel $channel, string $name): int
{
    return $channel->queue_declare($name, passive: true)[1];
}

function send(AMQPChannel $channel, string $exchange, string $key, array $texts, array $properties = [], bool $mandatory = false): void
{
    if (isset($properties['application_headers'])) {
        $properties['application_headers'] = new AMQPTable($properties['application_headers']);
    }
    foreach ($texts as $text) {
        $channel->basic_publish(new AMQPMessage($text, $properties), $exchange, $key, $mandatory);
    }
    $channel->wait_for_pending_acks_returns(20);
}

/** All that a queue has, got one by one. */
function texts(AMQPChannel $channel, string $queue): array
{
    for ($texts = []; $message = $channel->basic_get($queue, true);) {
        $texts[] = $message->getBody();
    }
    return $texts;
}

/** A consumer whose messages are appended to what is returned, whenever the channel waits. */
function inbox(AMQPChannel $channel, string $queue, bool $no_ack = true, string $tag = ''): ArrayObject
{
    $inbox = new ArrayObject();
    $channel->basic_consume($queue, $tag, no_ack: $no_ack, callback: fn ($message) => $inbox->append($message));
    return $inbox;
}

/** The next messages of an inbox. */
function next_of(AMQPChannel $channel, ArrayObject $inbox, int $count): array
{
    while (count($inbox) < $count) {
        $channel->wait(null, false, 20);
    }
    return taken($inbox, $count);
}

function taken(ArrayObject $inbox, int $count): array
{
    $all = $inbox->getArrayCopy();
    $inbox->exchangeArray(array_slice($all, $count));
    return array_slice($all, 0, $count);
}

function exists(AMQPStreamConnection $connection, string $queue): bool
{
    $channel = $connection->channel();
    try {
        $channel->queue_declare($queue, passive: true);
        $channel->close();
        return true;
    } catch (AMQPProtocolChannelException $error) {
        same(404, $error->amqp_reply_code);
        return false;
    }
}

$scenarios = [
    'connect' => function () {
        $connection = connect();
        $seen = (new AMQPTable($connection->getServerProperties()))->getNativeData();
        // A pair each: the type, and the value.
        echo $seen['product'][1], ' ', $seen['version'][1], "\n";
        same([true, true], [
            (bool) $seen['capabilities'][1]['publisher_confirms'], (bool) $seen['capabilities'][1]['connection.blocked'],
        ]);
        $connection->close();
        same(false, $connection->isConnected());
    },

    'auth_failure' => function () {
        $error = thrown(AMQPConnectionClosedException::class, fn () => connect(['pass' => 'wrong']));
        same(403, $error->getCode());
        matches('/^ACCESS_REFUSED - Login was refused using authentication mechanism AMQPLAIN/', $error->getMessage());
    },

    'no_vhost' => function () {
        $error = thrown(AMQPConnectionClosedException::class, fn () => connect(['vhost' => 'nowhere']));
        same(530, $error->getCode());
        matches('/^NOT_ALLOWED - vhost nowhere not found/', $error->getMessage());
    },

    'publish_confirm' => function () {
        $channel = open();
        declared($channel, 'q', durable: true);
        $confirmed = [];
        $channel->set_ack_handler(function (AMQPMessage $message) use (&$confirmed) {
            $confirmed[] = $message->getBody();
        });
        send($channel, '', 'q', numbers(100), ['delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT]);
        sort($confirmed, SORT_NUMERIC);
        same(numbers(100), $confirmed);
        same(100, message_count($channel, 'q'));
        same(numbers(100), texts($channel, 'q'));
    },

    'mandatory_return' => function () {
        $channel = open();
        $returned = [];
        $channel->set_return_listener(function (...$parts) use (&$returned) {
            $returned = $parts;
        });
        send($channel, 'amq.direct', 'nobody', ['lost'], ['message_id' => 'm1'], mandatory: true);
        [$code, $text, $exchange, $key, $message] = $returned;
        same([312, 'NO_ROUTE', 'amq.direct', 'nobody'], [$code, $text, $exchange, $key]);
        same(['m1', 'lost'], [$message->get('message_id'), $message->getBody()]);
    },

    'get' => function () {
        $channel = open();
        declared($channel, 'q');
        send($channel, '', 'q', ['a', 'b']);
        $message = $channel->basic_get('q');
        same(
            ['a', '', 'q', false, 1],
            [$message->getBody(), $message->getExchange(), $message->getRoutingKey(), $message->isRedelivered(), $message->getMessageCount()]
        );
        $message->ack();
        same(['b'], texts($channel, 'q'));
        same(null, $channel->basic_get('q'));
    },

    'work_queue' => function () {
        $channel = open();
        declared($channel, 'q');
        $done = [[], []];
        $workers = [];
        foreach ([0, 1] as $number) {
            $workers[] = $worker = connect()->channel();
            $worker->basic_qos(0, 1, false);
            $worker->basic_consume('q', callback: function (AMQPMessage $message) use (&$done, $number) {
                $done[$number][] = $message->getBody();
                $message->ack();
            });
        }
        same(2, $channel->queue_declare('q', passive: true)[2]);
        send($channel, '', 'q', numbers(20));
        until(function () use (&$done, $workers) {
            foreach ($workers as $worker) {
                $worker->wait(null, non_blocking: true);
            }
            return count($done[0]) + count($done[1]) === 20;
        });
        same(true, $done[0] && $done[1]);
        $all = array_merge(...$done);
        sort($all, SORT_NUMERIC);
        same(numbers(20), $all);
        until(fn () => message_count($channel, 'q') === 0);
    },

    'fanout' => function () {
        $channel = open();
        $channel->exchange_declare('news', 'fanout');
        foreach (['a', 'b', 'c'] as $queue) {
            declared($channel, $queue);
            $channel->queue_bind($queue, 'news');
        }
        send($channel, 'news', 'any', ['hello']);
        foreach (['a', 'b', 'c'] as $queue) {
            same(['hello'], texts($channel, $queue));
        }
    },

    'topic' => function () {
        $channel = open();
        $channel->exchange_declare('logs', 'topic');
        foreach (['star' => '*.error', 'hash' => 'app.#', 'all' => '#', 'middle' => 'app.*.disk'] as $queue => $pattern) {
            declared($channel, $queue);
            $channel->queue_bind($queue, 'logs', $pattern);
        }
        $keys = ['app', 'app.error', 'db.error', 'app.error.disk', 'db.error.disk'];
        foreach ($keys as $key) {
            send($channel, 'logs', $key, [$key]);
        }
        same(['app.error', 'db.error'], texts($channel, 'star'));
        same(['app', 'app.error', 'app.error.disk'], texts($channel, 'hash'));
        same($keys, texts($channel, 'all'));
        same(['app.error.disk'], texts($channel, 'middle'));
    },

    'headers' => function () {
        $channel = open();
        $channel->exchange_declare('h', 'headers');
        foreach (['all', 'any'] as $match) {
            declared($channel, $match);
            $arguments = new AMQPTable(['x-match' => $match, 'kind' => 'report', 'pages' => 2]);
            $channel->queue_bind($match, 'h', arguments: $arguments);
        }
        send($channel, 'h', '', ['both'], ['application_headers' => ['kind' => 'report', 'pages' => 2, 'more' => true]]);
        send($channel, 'h', '', ['one'], ['application_headers' => ['kind' => 'report', 'pages' => 3]]);
        send($channel, 'h', '', ['none'], ['application_headers' => ['kind' => 'note']]);
        same(['both'], texts($channel, 'all'));
        same(['both', 'one'], texts($channel, 'any'));
    },

    'rpc' => function () {
        $server = connect()->channel();
        declared($server, 'double');
        $server->basic_consume('double', callback: function (AMQPMessage $call) {
            matches('/^amq\.rabbitmq\.reply-to\./', $call->get('reply_to'));
            $answer = new AMQPMessage((string) (2 * $call->getBody()), ['correlation_id' => $call->get('correlation_id')]);
            $call->getChannel()->basic_publish($answer, '', $call->get('reply_to'));
            $call->ack();
        });
        $client = connect()->channel();
        $replies = inbox($client, 'amq.rabbitmq.reply-to');
        foreach (numbers(10) as $number) {
            $properties = ['reply_to' => 'amq.rabbitmq.reply-to', 'correlation_id' => $number];
            $client->basic_publish(new AMQPMessage($number, $properties), '', 'double');
            $server->wait();
            [$reply] = next_of($client, $replies, 1);
            same([$number, (string) (2 * $number)], [$reply->get('correlation_id'), $reply->getBody()]);
        }
    },

    'ordering' => function () {
        $channel = open();
        declared($channel, 'q');
        $inbox = inbox($channel, 'q');
        send($channel, '', 'q', numbers(1000));
        same(numbers(1000), bodies(next_of($channel, $inbox, 1000)));
    },

    'large_message' => function () {
        $channel = open();
        declared($channel, 'q');
        $body = random_bytes(10 * 1024 * 1024);
        send($channel, '', 'q', [$body], ['delivery_mode' => 2]);
        [$message] = next_of($channel, inbox($channel, 'q'), 1);
        same(true, $message->getBody() === $body);
    },

    'many_channels' => function () {
        $channel = open();
        declared($channel, 'q');
        $connection = $channel->getConnection();
        $channels = array_map(fn () => $connection->channel(), range(1, 999));
        foreach ($channels as $number => $other) {
            $other->confirm_select();
            send($other, '', 'q', [(string) $number]);
        }
        same(numbers(999), texts($channel, 'q'));
        array_walk($channels, fn ($other) => $other->close());
    },

    'table_types' => function () {
        $channel = open();
        declared($channel, 'q');
        $guessed = [
            'medium' => -2147483648, 'large' => 4294967296, 'smallest' => PHP_INT_MIN, 'yes' => true, 'no' => false,
            'nothing' => null, 'text' => 'plain', 'empty' => '', 'unicode' => 'ü漢字🐰', 'long' => str_repeat('x', 20_000),
            'list' => [1, 'two', [3], ['four' => 4], null, true], 'table' => ['inner' => ['deeper' => [true]]], 'none' => [],
        ];
        $named = [
            'int8' => [Type::T_INT_SHORTSHORT, -1], 'uint8' => [Type::T_INT_SHORTSHORT_U, 255],
            'int16' => [Type::T_INT_SHORT, -2], 'uint16' => [Type::T_INT_SHORT_U, 65535],
            'int32' => [Type::T_INT_LONG, -3], 'uint32' => [Type::T_INT_LONG_U, 4294967295],
            'bytes' => [Type::T_BYTES, "\x00\xff\x80"],
        ];
        $headers = new AMQPTable($guessed);
        foreach ($named as $name => [$type, $value]) {
            $headers->set($name, $value, $type);
        }
        $headers->set('when', new DateTime('@1700000000'));
        $headers->set('price', new AMQPDecimal(1999, 2));
        $channel->basic_publish(new AMQPMessage('x', ['application_headers' => $headers]), '', 'q');
        $channel->wait_for_pending_acks(20);
        $got = $channel->basic_get('q', true)->get('application_headers')->getNativeData();
        same(1700000000, $got['when']->getTimestamp());
        same([1999, 2], [$got['price']->getN(), $got['price']->getE()]);
        unset($got['when'], $got['price']);
        same($guessed + array_map(fn ($pair) => $pair[1], $named), $got);
    },

    'exclusive' => function () {
        $mine = connect();
        $mine->channel()->queue_declare('mine', exclusive: true);
        $other = connect();
        $check = fn () => $other->channel()->queue_declare('mine', passive: true);
        $error = thrown(AMQPProtocolChannelException::class, $check);
        same(405, $error->amqp_reply_code);
        matches('/^RESOURCE_LOCKED/', $error->amqp_reply_text);
        $mine->close();
        until(fn () => !exists($other, 'mine'));
    },

    'auto_delete' => function () {
        $channel = open();
        declared($channel, 'q', auto_delete: true);
        [$first, $second] = [$channel->basic_consume('q'), $channel->basic_consume('q')];
        $channel->basic_cancel($first);
        same(true, exists($channel->getConnection(), 'q'));
        $channel->basic_cancel($second);
        until(fn () => !exists($channel->getConnection(), 'q'));
    },

    'priorities' => function () {
        $channel = open();
        declared($channel, 'q', ['x-max-priority' => 10]);
        foreach ([1, 9, 5, 10, 0, 5] as $priority) {
            send($channel, '', 'q', [(string) $priority], ['priority' => $priority]);
        }
        same(['10', '9', '5', '5', '1', '0'], bodies(next_of($channel, inbox($channel, 'q'), 6)));
    },

    'retry_loop' => function () {
        $channel = open();
        $to = fn ($key) => ['x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => $key];
        declared($channel, 'work', $to('retry'));
        declared($channel, 'retry', $to('work') + ['x-message-ttl' => 50]);
        send($channel, '', 'work', ['try me']);
        $inbox = inbox($channel, 'work', no_ack: false);
        foreach ([0, 1, 2] as $round) {
            [$message] = next_of($channel, $inbox, 1);
            $headers = $message->has('application_headers') ? $message->get('application_headers')->getNativeData() : [];
            $deaths = array_map(fn ($death) => [$death['queue'], $death['reason'], $death['count']], $headers['x-death'] ?? []);
            sort($deaths);
            same($round ? [['retry', 'expired', $round], ['work', 'rejected', $round]] : [], $deaths);
            $round < 2 ? $message->nack() : $message->ack();
        }
    },

    'tx' => function () {
        $channel = connect()->channel();
        declared($channel, 'q');
        $channel->tx_select();
        $channel->basic_publish(new AMQPMessage('kept'), '', 'q');
        same(0, message_count($channel, 'q'));
        $channel->tx_commit();
        same(1, message_count($channel, 'q'));
        $channel->basic_publish(new AMQPMessage('forgotten'), '', 'q');
        $channel->basic_get('q')->ack();
        $channel->tx_rollback();
        $channel->basic_recover(true);
        $message = $channel->basic_get('q');
        same(['kept', true, 0], [$message->getBody(), $message->isRedelivered(), $message->getMessageCount()]);
    },

    'recover' => function () {
        $channel = open();
        declared($channel, 'q');
        send($channel, '', 'q', ['again']);
        $inbox = inbox($channel, 'q', no_ack: false);
        $retry = [
            fn () => $channel->basic_recover(true),
            fn ($message) => $message->nack(requeue: true),
            fn ($message) => $message->reject(requeue: true),
        ];
        foreach ($retry as $round => $give_back) {
            [$message] = next_of($channel, $inbox, 1);
            same($round > 0, $message->isRedelivered());
            $give_back($message);
        }
        [$message] = next_of($channel, $inbox, 1);
        same(['again', true], [$message->getBody(), $message->isRedelivered()]);
        $message->reject(requeue: false);
        same(0, message_count($channel, 'q'));
    },

    'unbind_purge_delete' => function () {
        $channel = open();
        declared($channel, 'q');
        $arguments = new AMQPTable(['reason' => 'test']);
        $channel->queue_bind('q', 'amq.direct', 'key', arguments: $arguments);
        send($channel, 'amq.direct', 'key', ['a', 'b', 'c']);
        $channel->queue_unbind('q', 'amq.direct', 'key', $arguments);
        send($channel, 'amq.direct', 'key', ['unheard']);
        same(3, $channel->queue_purge('q'));
        send($channel, '', 'q', ['d', 'e']);
        same([2, 0], [$channel->queue_delete('q'), $channel->queue_delete('q')]);
    },

    'consumer_cancel' => function () {
        $channel = open();
        declared($channel, 'q');
        inbox($channel, 'q', tag: 'mine');
        ask('delete_queue q');
        answered();
        $error = thrown(AMQPBasicCancelException::class, fn () => $channel->wait(null, false, 20));
        same('mine', $error->consumerTag);
    },

    'blocked' => function () {
        $channel = open();
        declared($channel, 'q');
        $connection = $channel->getConnection();
        $news = [];
        $connection->set_connection_block_handler(function (string $reason) use (&$news) {
            $news[] = $reason;
        });
        $connection->set_connection_unblock_handler(function () use (&$news) {
            $news[] = 'unblocked';
        });
        ask('block');
        answered();
        $channel->basic_publish(new AMQPMessage('waits'), '', 'q');
        $connection->wait(null, false, 20);
        matches('/memory/', $news[0]);
        same(true, $connection->isBlocked());
        ask('unblock');
        answered();
        $connection->wait(null, false, 20);
        same('unblocked', $news[1]);
        $channel->wait_for_pending_acks(20);
        same(['waits'], texts($channel, 'q'));
    },

    'reconnect' => function () {
        $seen = [];
        $channel = null;
        $connected = function () use (&$channel, &$seen) {
            $channel = open();
            declared($channel, 'kept', durable: true);
            declared($channel, 'work', durable: true);
            $channel->basic_consume('work', callback: function (AMQPMessage $message) use (&$seen) {
                $seen[$message->getBody()] = true;
                $message->ack();
            });
        };
        // Until it is done, with a new connection whenever one is lost.
        $surely = function (callable $act) use (&$channel, $connected) {
            for (;;) {
                try {
                    $channel ?? $connected();
                    return $act($channel);
                } catch (AMQPExceptionInterface $error) {
                    echo 'lost: ', $error->getMessage(), "\n";
                    $channel = null;
                    usleep(100_000);
                }
            }
        };
        $publish = fn (string $queue, string $text) => $surely(function ($channel) use ($queue, $text) {
            send($channel, '', $queue, [$text], ['delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT]);
            $channel->wait(null, non_blocking: true);
        });
        array_map(fn ($text) => $publish('kept', $text), numbers(20));
        ask('kill');
        array_map(fn ($text) => $publish('work', $text), numbers(40));
        answered();
        array_map(fn ($text) => $publish('work', $text), ['after', 'that']);
        while (count($seen) < 42) {
            $surely(fn ($channel) => $channel->wait(null, false, 5));
        }
        same(numbers(20), $surely(fn ($channel) => texts($channel, 'kept')));
    },

    'heartbeat_loss' => function () {
        $channel = connect(heartbeat: 1)->channel();
        declared($channel, 'q');
        inbox($channel, 'q');
        $look = function () use ($channel) {
            try {
                $channel->wait(null, false, 0.3);
            } catch (AMQPTimeoutException $error) {
                $channel->getConnection()->checkHeartBeat();
            }
        };
        for ($ends_at = microtime(true) + 4; microtime(true) < $ends_at;) {
            $look(); // heartbeats go both ways
        }
        ask('freeze 6');
        answered();
        thrown(AMQPHeartbeatMissedException::class, function () use ($look) {
            for ($ends_at = microtime(true) + 20; microtime(true) < $ends_at;) {
                $look();
            }
        });
        sleep(4);
        declared(open(), 'back');
    },

    'non_ascii' => function () {
        $channel = open();
        [$queue, $exchange, $key, $text] = ['größe-漢字', 'обмен-🐰', 'ключ.ü.漢', 'Grüße, 世界 🐇'];
        declared($channel, $queue);
        $channel->exchange_declare($exchange, 'topic');
        $channel->queue_bind($queue, $exchange, 'ключ.*.漢');
        $inbox = inbox($channel, $queue, tag: 'täg-🏷');
        send($channel, $exchange, $key, [$text], ['application_headers' => ['schlüssel-鍵' => $text], 'type' => 'typ-ü']);
        [$message] = next_of($channel, $inbox, 1);
        same([$exchange, $key, 'täg-🏷'], [$message->getExchange(), $message->getRoutingKey(), $message->getConsumerTag()]);
        same(['schlüssel-鍵' => $text], $message->get('application_headers')->getNativeData());
        same(['typ-ü', $text], [$message->get('type'), $message->getBody()]);
    },

    'error_codes' => function () {
        $connection = connect();
        declared($connection->channel(), 'durable', durable: true);
        $ack = function (AMQPChannel $channel) {
            $channel->basic_ack(7);
            $channel->wait(null, false, 20);
        };
        $publish = function (AMQPChannel $channel) {
            $channel->basic_publish(new AMQPMessage('x'), 'missing');
            $channel->wait(null, false, 20);
        };
        $soft = [
            [404, 'NOT_FOUND', [50, 10], fn (AMQPChannel $channel) => message_count($channel, 'missing')],
            [406, 'PRECONDITION_FAILED', [50, 10], fn (AMQPChannel $channel) => declared($channel, 'durable')],
            [403, 'ACCESS_REFUSED', [40, 10], fn (AMQPChannel $channel) => $channel->exchange_declare('amq.mine', 'direct')],
            [406, 'PRECONDITION_FAILED', [60, 80], $ack],
            [404, 'NOT_FOUND', [60, 40], $publish],
        ];
        foreach ($soft as [$code, $text, $method, $provoke]) {
            $channel = $connection->channel();
            $error = thrown(AMQPProtocolChannelException::class, fn () => $provoke($channel));
            same([$code, $method], [$error->amqp_reply_code, $error->amqp_method_sig]);
            matches("/^$text - /", $error->amqp_reply_text);
            thrown(AMQPChannelClosedException::class, fn () => $channel->queue_declare('q'));
        }
        $at_once = function (AMQPChannel $channel) {
            $channel->basic_publish(new AMQPMessage('x'), '', 'q', immediate: true);
            $channel->wait(null, false, 20);
        };
        $hard = [
            [503, 'COMMAND_INVALID', '40, 10', fn (AMQPChannel $channel) => $channel->exchange_declare('x', 'no-such-type')],
            [504, 'CHANNEL_ERROR', '20, 10', fn (AMQPChannel $channel) => new AMQPChannel($channel->getConnection(), 1)], // it is open
            [540, 'NOT_IMPLEMENTED', '60, 10', fn (AMQPChannel $channel) => $channel->basic_qos(1, 0, false)],
            [540, 'NOT_IMPLEMENTED', '60, 40', $at_once],
        ];
        foreach ($hard as [$code, $text, $method, $provoke]) {
            $channel = connect()->channel();
            $error = thrown(AMQPConnectionClosedException::class, fn () => $provoke($channel));
            same($code, $error->getCode());
            matches("/^$text - .*\\($method\\)$/", $error->getMessage());
        }
    },
];

play($scenarios, Package::VERSION);

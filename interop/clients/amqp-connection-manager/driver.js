// amqp-connection-manager on amqplib: connections, channels and consumers that come back by themselves.
'use strict';
const assert = require('node:assert/strict');
const { randomBytes } = require('node:crypto');
const { once } = require('node:events');
const path = require('node:path');
const manager = require('amqp-connection-manager');
const { ask, elsewhere, numbers, play, sleep, until, url } = require('../stagehand');

/** A connection, and a channel on which `setup` is done each time that there is a new one. */
async function open(setup = async () => {}, options = {}) {
  const connection = manager.connect([url], { reconnectTimeInSeconds: 0.2, ...options });
  return { connection, channel: await channelOf(connection, setup) };
}

async function channelOf(connection, setup) {
  const channel = connection.createChannel({ setup });
  channel.on('error', (error) => console.log(`channel: ${error.message}`));
  await channel.waitForConnect();
  return channel;
}

async function send(channel, exchange, key, texts, options = { persistent: true }) {
  await Promise.all(texts.map((text) => channel.publish(exchange, key, Buffer.from(text), options)));
}

async function texts(channel, queue) {
  const found = [];
  for (let message; (message = await channel.get(queue, { noAck: true })); ) found.push(message.content.toString());
  return found;
}

const declare = (queue, options) => (channel) => channel.assertQueue(queue, options);

const scenarios = {
  async connect() {
    const { connection } = await open();
    const { product, version, capabilities } = connection.connection.connection.serverProperties;
    console.log(`${product} ${version}`);
    assert.ok(connection.isConnected() && capabilities.publisher_confirms);
    await connection.close();
    assert.ok(!connection.isConnected());
  },

  async auth_failure() {
    const wrong = elsewhere({ password: 'wrong' });
    const [{ err }] = await once(manager.connect([wrong]), 'connectFailed');
    assert.match(err.message, /403 \(ACCESS-REFUSED\) with message "ACCESS_REFUSED - Login was/);
  },

  async no_vhost() {
    const wrong = elsewhere({ pathname: '/nowhere' });
    const [{ err }] = await once(manager.connect([wrong]), 'connectFailed');
    assert.match(err.message, /Expected ConnectionOpenOk; got <ConnectionClose channel:0>/); // amqplib says no more
  },

  async publish_confirm() {
    const { channel } = await open(declare('q'));
    await send(channel, '', 'q', numbers(100)); // resolves when confirmed
    assert.deepEqual(await channel.checkQueue('q'), { queue: 'q', messageCount: 100, consumerCount: 0 });
    assert.deepEqual(await texts(channel, 'q'), numbers(100));
  },

  async get() {
    const { channel } = await open(declare('q'));
    await send(channel, '', 'q', ['a', 'b']);
    const message = await channel.get('q');
    assert.deepEqual([message.content.toString(), message.fields.messageCount], ['a', 1]);
    channel.ack(message);
    assert.deepEqual(await texts(channel, 'q'), ['b']);
    assert.equal(await channel.get('q'), false);
  },

  async work_queue() {
    const { connection, channel } = await open(declare('q'));
    const done = [[], []];
    for (const mine of done) {
      const worker = await channelOf(connection);
      const work = async (message) => {
        await sleep(5);
        mine.push(message.content.toString());
        worker.ack(message);
      };
      await worker.consume('q', work, { prefetch: 1 });
    }
    await send(channel, '', 'q', numbers(20));
    await until(() => done[0].length + done[1].length === 20);
    assert.ok(done[0].length > 0 && done[1].length > 0);
    assert.deepEqual([...done[0], ...done[1]].sort((a, b) => a - b), numbers(20));
    await until(async () => (await channel.checkQueue('q')).messageCount === 0);
  },

  async fanout() {
    const { channel } = await open();
    await channel.assertExchange('news', 'fanout');
    for (const queue of ['a', 'b', 'c']) {
      await channel.assertQueue(queue);
      await channel.bindQueue(queue, 'news', '');
    }
    await send(channel, 'news', 'any', ['hello']);
    for (const queue of ['a', 'b', 'c']) assert.deepEqual(await texts(channel, queue), ['hello']);
  },

  async topic() {
    const { channel } = await open();
    await channel.assertExchange('logs', 'topic');
    const patterns = { star: '*.error', hash: 'app.#' };
    for (const [queue, pattern] of Object.entries(patterns)) {
      await channel.assertQueue(queue);
      await channel.bindQueue(queue, 'logs', pattern);
    }
    for (const key of ['app', 'app.error', 'db.error', 'app.error.disk']) await send(channel, 'logs', key, [key]);
    assert.deepEqual(await texts(channel, 'star'), ['app.error', 'db.error']);
    assert.deepEqual(await texts(channel, 'hash'), ['app', 'app.error', 'app.error.disk']);
  },

  async rpc() {
    const { channel: server } = await open(declare('double'));
    await server.consume('double', (message) => {
      const { replyTo, correlationId } = message.properties;
      server.sendToQueue(replyTo, Buffer.from(`${2 * message.content}`), { correlationId });
      server.ack(message);
    });
    const { channel } = await open();
    const replies = [];
    await channel.consume('amq.rabbitmq.reply-to', (message) => replies.push(message), { noAck: true });
    for (const number of numbers(10)) {
      await send(channel, '', 'double', [number], { replyTo: 'amq.rabbitmq.reply-to', correlationId: number });
    }
    await until(() => replies.length === 10);
    const answered = replies.map(({ properties, content }) => [properties.correlationId, `${content}`]);
    assert.deepEqual(answered, numbers(10).map((number) => [number, `${2 * number}`]));
  },

  async ordering() {
    const { channel } = await open(declare('q'));
    const seen = [];
    await channel.consume('q', (message) => seen.push(message.content.toString()), { noAck: true });
    await send(channel, '', 'q', numbers(1000));
    await until(() => seen.length === 1000);
    assert.deepEqual(seen, numbers(1000));
  },

  async large_message() {
    const { channel } = await open(declare('q'));
    const body = randomBytes(10 * 1024 * 1024);
    await channel.sendToQueue('q', body, { persistent: true });
    const { content } = await channel.get('q', { noAck: true });
    assert.ok(content.equals(body));
  },

  async unbind_purge_delete() {
    const { channel } = await open(declare('q'));
    await channel.bindQueue('q', 'amq.direct', 'key');
    await send(channel, 'amq.direct', 'key', ['a', 'b', 'c']);
    await channel.unbindQueue('q', 'amq.direct', 'key');
    await send(channel, 'amq.direct', 'key', ['unheard']);
    assert.deepEqual(await channel.purgeQueue('q'), { messageCount: 3 });
    await send(channel, '', 'q', ['d', 'e']);
    assert.deepEqual(await channel.deleteQueue('q'), { messageCount: 2 });
  },

  async consumer_cancel() {
    const { channel } = await open(declare('q'));
    const seen = [];
    await channel.consume('q', (message) => seen.push(message.content.toString()), { noAck: true });
    const { channel: other } = await open();
    await ask('delete_queue q'); // told so, it consumes again: from a queue that its setup has made again
    await until(async () => (await other.assertQueue('q')).consumerCount === 1);
    await send(other, '', 'q', ['again']);
    await until(() => seen.length === 1);
  },

  async blocked() {
    const { connection, channel } = await open(declare('q'));
    const [blocked, unblocked] = [once(connection, 'blocked'), once(connection, 'unblocked')];
    await ask('block');
    const confirmed = send(channel, '', 'q', ['waits']);
    const [{ reason }] = await blocked;
    assert.match(reason, /memory/);
    await ask('unblock');
    await unblocked;
    await confirmed;
    assert.deepEqual(await texts(channel, 'q'), ['waits']);
  },

  async reconnect() {
    const seen = new Set();
    const { connection, channel } = await open(async (inner) => {
      await inner.assertQueue('kept');
      await inner.assertQueue('work');
    });
    const worker = await channelOf(connection);
    const work = (message) => {
      seen.add(message.content.toString());
      worker.ack(message);
    };
    await worker.consume('work', work);
    await send(channel, '', 'kept', numbers(20));
    const lost = once(connection, 'disconnect');
    const killed = ask('kill');
    for (const text of numbers(40)) {
      // What is on its way when the connection is lost is rejected; what comes later waits for the next connection.
      await send(channel, '', 'work', [text]).catch(() => send(channel, '', 'work', [text]));
    }
    await lost;
    await send(channel, '', 'work', ['after', 'that']);
    await killed;
    await until(() => seen.size === 42);
    assert.deepEqual(await texts(channel, 'kept'), numbers(20));
  },

  async heartbeat_loss() {
    const { connection, channel } = await open(declare('q'), { heartbeatIntervalInSeconds: 1 });
    const lost = once(connection, 'disconnect');
    await sleep(3000); // heartbeats go both ways meanwhile
    await ask('freeze 6');
    const [{ err }] = await lost;
    assert.match(err.message, /Heartbeat timeout/);
    await send(channel, '', 'q', ['back']);
    assert.deepEqual(await texts(channel, 'q'), ['back']);
  },

  async non_ascii() {
    const [queue, exchange, text] = ['größe-漢字', 'обмен-🐰', 'Grüße, 世界 🐇'];
    const { channel } = await open(async (inner) => {
      await inner.assertQueue(queue);
      await inner.assertExchange(exchange, 'topic');
      await inner.bindQueue(queue, exchange, 'ключ.*.漢');
    });
    await send(channel, exchange, 'ключ.ü.漢', [text], { headers: { 'schlüssel-鍵': text } });
    const { fields, properties, content } = await channel.get(queue, { noAck: true });
    assert.deepEqual([fields.exchange, fields.routingKey], [exchange, 'ключ.ü.漢']);
    assert.deepEqual([properties.headers['schlüssel-鍵'], content.toString()], [text, text]);
  },
};

const main = require.resolve('amqp-connection-manager');
play(scenarios, require(path.join(main, '../../../package.json')).version);

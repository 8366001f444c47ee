// Node's amqplib: its newest version, with the recovery that it has of its own, and 0.10, with the loop people write.
'use strict';
const assert = require('node:assert/strict');
const { randomBytes } = require('node:crypto');
const { once } = require('node:events');
const path = require('node:path');
const { ask, elsewhere, numbers, play, sleep, until, url } = require('../stagehand');

const [variant] = process.argv.slice(2);
const amqp = require(variant);
const { version } = require(path.join(path.dirname(require.resolve(variant)), 'package.json'));
const defs = require(path.join(path.dirname(require.resolve(variant)), 'lib', 'defs'));

async function open(to = url) {
  const connection = await amqp.connect(to);
  return { connection, channel: await connection.createConfirmChannel() };
}

/** What a consumer got: `next()` waits for a message, or null when the broker cancelled the consumer. */
class Inbox {
  #messages = [];
  #readers = [];

  static async of(channel, queue, options) {
    const inbox = new Inbox();
    inbox.tag = (await channel.consume(queue, (message) => inbox.put(message), options)).consumerTag;
    return inbox;
  }

  put(message) {
    if (this.#readers.length) this.#readers.shift()(message);
    else this.#messages.push(message);
  }

  next() {
    if (this.#messages.length) return Promise.resolve(this.#messages.shift());
    return new Promise((resolve) => this.#readers.push(resolve));
  }

  async texts(count) {
    const texts = [];
    while (texts.length < count) texts.push((await this.next()).content.toString());
    return texts;
  }
}

async function send(channel, exchange, key, texts, options) {
  for (const text of texts) channel.publish(exchange, key, Buffer.from(text), options);
  await channel.waitForConfirms();
}

async function texts(channel, queue) {
  const found = [];
  for (let message; (message = await channel.get(queue, { noAck: true })); ) found.push(message.content.toString());
  return found;
}

async function exists(connection, queue) {
  const channel = await connection.createChannel();
  channel.on('error', () => {});
  return channel.checkQueue(queue).then(
    () => true,
    (error) => assert.equal(error.code, 404),
  );
}

/** Calls `setup` with each connection that it makes, now and whenever one is lost. */
async function recovering(setup) {
  if (variant === 'latest') {
    const connection = await amqp.connect(url, { recovery: { initialDelay: 50, maxDelay: 500, setup } });
    return connection.on('error', (error) => console.log(`lost: ${error.message}`));
  }
  const connection = await amqp.connect(url);
  connection.on('error', (error) => console.log(`lost: ${error.message}`));
  connection.on('close', async () => {
    for (;;) {
      await sleep(100);
      if (await recovering(setup).catch(() => null)) return;
    }
  });
  await setup(connection);
  return connection;
}

const scenarios = {
  async connect() {
    const { connection } = await open();
    const { product, version, capabilities } = connection.connection.serverProperties;
    console.log(`${product} ${version}`);
    assert.ok(product && version && capabilities.publisher_confirms && capabilities['connection.blocked']);
    const closed = once(connection, 'close');
    await connection.close();
    assert.deepEqual(await closed, [undefined]);
  },

  async auth_failure() {
    const wrong = elsewhere({ password: 'wrong' });
    await assert.rejects(amqp.connect(wrong), /403 \(ACCESS-REFUSED\) with message "ACCESS_REFUSED - Login was/);
  },

  async no_vhost() {
    const wrong = elsewhere({ pathname: '/nowhere' });
    // All that it says of a connection that is refused so late: not the 530 and its text.
    await assert.rejects(amqp.connect(wrong), /Expected ConnectionOpenOk; got <ConnectionClose channel:0>/);
  },

  async publish_confirm() {
    const { channel } = await open();
    await channel.assertQueue('q');
    const confirmed = numbers(100).map(
      (text) =>
        new Promise((resolve, reject) => {
          channel.sendToQueue('q', Buffer.from(text), { persistent: true }, (error) => (error ? reject(error) : resolve()));
        }),
    );
    await Promise.all(confirmed);
    assert.deepEqual(await channel.checkQueue('q'), { queue: 'q', messageCount: 100, consumerCount: 0 });
    assert.deepEqual(await texts(channel, 'q'), numbers(100));
  },

  async mandatory_return() {
    const { channel } = await open();
    const returned = once(channel, 'return');
    await send(channel, 'amq.direct', 'nobody', ['lost'], { mandatory: true, messageId: 'm1' });
    const [{ fields, properties, content }] = await returned;
    assert.deepEqual({ ...fields }, { replyCode: 312, replyText: 'NO_ROUTE', exchange: 'amq.direct', routingKey: 'nobody' });
    assert.equal(properties.messageId, 'm1');
    assert.equal(content.toString(), 'lost');
  },

  async get() {
    const { channel } = await open();
    await channel.assertQueue('q');
    await send(channel, '', 'q', ['a', 'b']);
    const message = await channel.get('q');
    const { exchange, routingKey, redelivered, messageCount } = message.fields;
    assert.deepEqual([exchange, routingKey, redelivered, messageCount], ['', 'q', false, 1]);
    channel.ack(message);
    assert.deepEqual(await texts(channel, 'q'), ['b']);
    assert.equal(await channel.get('q'), false);
  },

  async work_queue() {
    const { connection, channel } = await open();
    await channel.assertQueue('q');
    const done = [[], []];
    const all = new Promise((resolve) => {
      for (const mine of done) {
        connection.createChannel().then(async (worker) => {
          await worker.prefetch(1);
          await worker.consume('q', async (message) => {
            await sleep(5);
            mine.push(message.content.toString());
            worker.ack(message);
            if (done[0].length + done[1].length === 20) resolve();
          });
        });
      }
    });
    await until(async () => (await channel.checkQueue('q')).consumerCount === 2);
    await send(channel, '', 'q', numbers(20));
    await all;
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
    const patterns = { star: '*.error', hash: 'app.#', all: '#', middle: 'app.*.disk' };
    for (const [queue, pattern] of Object.entries(patterns)) {
      await channel.assertQueue(queue);
      await channel.bindQueue(queue, 'logs', pattern);
    }
    const keys = ['app', 'app.error', 'db.error', 'app.error.disk', 'db.error.disk'];
    for (const key of keys) await send(channel, 'logs', key, [key]);
    assert.deepEqual(await texts(channel, 'star'), ['app.error', 'db.error']);
    assert.deepEqual(await texts(channel, 'hash'), ['app', 'app.error', 'app.error.disk']);
    assert.deepEqual(await texts(channel, 'all'), keys);
    assert.deepEqual(await texts(channel, 'middle'), ['app.error.disk']);
  },

  async headers() {
    const { channel } = await open();
    await channel.assertExchange('h', 'headers');
    for (const match of ['all', 'any']) {
      await channel.assertQueue(match);
      await channel.bindQueue(match, 'h', '', { 'x-match': match, kind: 'report', pages: 2 });
    }
    await send(channel, 'h', '', ['both'], { headers: { kind: 'report', pages: 2, more: true } });
    await send(channel, 'h', '', ['one'], { headers: { kind: 'report', pages: 3 } });
    await send(channel, 'h', '', ['none'], { headers: { kind: 'note' } });
    assert.deepEqual(await texts(channel, 'all'), ['both']);
    assert.deepEqual(await texts(channel, 'any'), ['both', 'one']);
  },

  async rpc() {
    const { channel: server } = await open();
    await server.assertQueue('double');
    await server.consume('double', (message) => {
      const { replyTo, correlationId } = message.properties;
      assert.match(replyTo, /^amq\.rabbitmq\.reply-to\./);
      server.sendToQueue(replyTo, Buffer.from(`${2 * message.content}`), { correlationId });
      server.ack(message);
    });
    const { channel } = await open();
    const replies = await Inbox.of(channel, 'amq.rabbitmq.reply-to', { noAck: true });
    for (const number of numbers(10)) {
      const options = { replyTo: 'amq.rabbitmq.reply-to', correlationId: number };
      channel.sendToQueue('double', Buffer.from(number), options);
      const { properties, content } = await replies.next();
      assert.deepEqual([properties.correlationId, content.toString()], [number, `${2 * number}`]);
    }
  },

  async ordering() {
    const { channel } = await open();
    await channel.assertQueue('q');
    const inbox = await Inbox.of(channel, 'q', { noAck: true });
    await send(channel, '', 'q', numbers(1000));
    assert.deepEqual(await inbox.texts(1000), numbers(1000));
  },

  async large_message() {
    const { channel } = await open();
    await channel.assertQueue('q');
    const body = randomBytes(10 * 1024 * 1024);
    channel.sendToQueue('q', body, { persistent: true });
    await channel.waitForConfirms();
    const { content } = await (await Inbox.of(channel, 'q', { noAck: true })).next();
    assert.ok(content.equals(body));
  },

  async many_channels() {
    const { connection, channel } = await open();
    await channel.assertQueue('q');
    const channels = await Promise.all(numbers(999).map(() => connection.createConfirmChannel()));
    for (const [number, other] of channels.entries()) await send(other, '', 'q', [`${number}`]);
    assert.deepEqual(await texts(channel, 'q'), numbers(999));
    await Promise.all(channels.map((other) => other.close()));
  },

  async table_types() {
    const { channel } = await open();
    await channel.assertQueue('q');
    const guessed = {
      tiny: -128, small: -32768, medium: -2147483648, large: 4294967296, fraction: 0.1, yes: true, no: false,
      nothing: null, bytes: Buffer.from([0, 255, 128]), text: 'plain', unicode: 'ü漢字🐰', long: 'x'.repeat(20_000),
      empty: '', list: [1, 'two', [3], { four: 4 }, null], table: { inner: { deeper: [true] } }, nobody: {}, none: [],
    };
    const named = {
      int8: -1, uint8: 255, int16: -2, uint16: 65535, int32: -3, uint32: 4294967295, int64: -4503599627370496,
      float: 0.5, double: 2,
    };
    const kept = {
      when: { '!': 'timestamp', value: 1700000000 },
      price: { '!': 'decimal', value: { places: 2, digits: 1999 } },
    };
    const asNamed = Object.entries(named).map(([type, value]) => [type, { '!': type, value }]);
    const headers = { ...guessed, ...kept, ...Object.fromEntries(asNamed) };
    await send(channel, '', 'q', ['x'], { headers });
    const { properties } = await channel.get('q', { noAck: true });
    assert.deepEqual(properties.headers, { ...guessed, ...kept, ...named });
  },

  async exclusive() {
    const mine = await open();
    await mine.channel.assertQueue('mine', { exclusive: true });
    const other = await open();
    other.channel.on('error', () => {});
    await assert.rejects(other.channel.checkQueue('mine'), (error) => error.code === 405 && /RESOURCE_LOCKED/.test(error));
    await mine.connection.close();
    await until(async () => !(await exists(other.connection, 'mine')));
  },

  async auto_delete() {
    const { connection, channel } = await open();
    await channel.assertQueue('q', { autoDelete: true });
    const [first, second] = [await Inbox.of(channel, 'q'), await Inbox.of(channel, 'q')];
    await channel.cancel(first.tag);
    assert.ok(await exists(connection, 'q'));
    await channel.cancel(second.tag);
    await until(async () => !(await exists(connection, 'q')));
  },

  async priorities() {
    const { channel } = await open();
    await channel.assertQueue('q', { maxPriority: 10 });
    for (const priority of [1, 9, 5, 10, 0, 5]) await send(channel, '', 'q', [`${priority}`], { priority });
    assert.deepEqual(await (await Inbox.of(channel, 'q')).texts(6), ['10', '9', '5', '5', '1', '0']);
  },

  async retry_loop() {
    const { channel } = await open();
    await channel.assertQueue('work', { deadLetterExchange: '', deadLetterRoutingKey: 'retry' });
    await channel.assertQueue('retry', { messageTtl: 50, deadLetterExchange: '', deadLetterRoutingKey: 'work' });
    await send(channel, '', 'work', ['try me']);
    const inbox = await Inbox.of(channel, 'work');
    for (const round of [0, 1, 2]) {
      const message = await inbox.next();
      const deaths = (message.properties.headers['x-death'] ?? []).map((death) => [death.queue, death.reason, death.count]);
      assert.deepEqual(deaths.sort(), round ? [['retry', 'expired', round], ['work', 'rejected', round]] : []);
      if (round < 2) channel.nack(message, false, false);
      else channel.ack(message);
    }
  },

  async recover() {
    const { channel } = await open();
    await channel.assertQueue('q');
    await send(channel, '', 'q', ['again']);
    const inbox = await Inbox.of(channel, 'q');
    const retry = [
      () => channel.recover(),
      (message) => channel.nack(message, false, true),
      (message) => channel.reject(message, true),
    ];
    for (const [round, giveBack] of retry.entries()) {
      const message = await inbox.next();
      assert.equal(message.fields.redelivered, round > 0);
      await giveBack(message);
    }
    const message = await inbox.next();
    assert.deepEqual([message.content.toString(), message.fields.redelivered], ['again', true]);
    channel.reject(message, false);
    assert.equal((await channel.checkQueue('q')).messageCount, 0);
  },

  async unbind_purge_delete() {
    const { channel } = await open();
    await channel.assertQueue('q');
    await channel.bindQueue('q', 'amq.direct', 'key', { reason: 'test' });
    await send(channel, 'amq.direct', 'key', ['a', 'b', 'c']);
    await channel.unbindQueue('q', 'amq.direct', 'key', { reason: 'test' });
    await send(channel, 'amq.direct', 'key', ['unheard']);
    assert.deepEqual(await channel.purgeQueue('q'), { messageCount: 3 });
    await send(channel, '', 'q', ['d', 'e']);
    assert.deepEqual(await channel.deleteQueue('q'), { messageCount: 2 });
    assert.deepEqual(await channel.deleteQueue('q'), { messageCount: 0 });
  },

  async consumer_cancel() {
    const { channel } = await open();
    await channel.assertQueue('q');
    const inbox = await Inbox.of(channel, 'q');
    await ask('delete_queue q');
    assert.equal(await inbox.next(), null);
  },

  async blocked() {
    const { connection, channel } = await open();
    await channel.assertQueue('q');
    const [blocked, unblocked] = [once(connection, 'blocked'), once(connection, 'unblocked')];
    await ask('block');
    channel.sendToQueue('q', Buffer.from('waits'));
    const [reason] = await blocked;
    assert.match(reason, /memory/);
    await ask('unblock');
    await unblocked;
    await channel.waitForConfirms();
    assert.deepEqual(await texts(channel, 'q'), ['waits']);
  },

  async reconnect() {
    const seen = new Set();
    let publisher;
    await recovering(async (connection) => {
      const channel = await connection.createConfirmChannel();
      await channel.assertQueue('kept');
      await channel.assertQueue('work');
      await channel.consume('work', (message) => {
        seen.add(message.content.toString());
        channel.ack(message);
      });
      publisher = channel;
    });
    const publish = async (queue, text) => {
      for (;;) {
        try {
          return await send(publisher, '', queue, [text], { persistent: true });
        } catch (error) {
          await sleep(50); // its channel is gone: until there is another
        }
      }
    };
    for (const text of numbers(20)) await publish('kept', text);
    const killed = ask('kill');
    for (const text of numbers(40)) await publish('work', text);
    await killed;
    for (const text of ['after', 'that']) await publish('work', text);
    await until(() => seen.size === 42);
    assert.deepEqual(await texts(publisher, 'kept'), numbers(20));
  },

  async heartbeat_loss() {
    const { connection } = await open(`${url}?heartbeat=1`);
    const [failed, closed] = [once(connection, 'error'), once(connection, 'close')];
    failed.catch(() => {});
    await sleep(3000); // heartbeats go both ways meanwhile
    await ask('freeze 6');
    await assert.rejects(closed, /Heartbeat timeout/);
    const { channel } = await open();
    await channel.assertQueue('back');
  },

  async non_ascii() {
    const { connection, channel } = await open();
    const [queue, exchange, key, text] = ['größe-漢字', 'обмен-🐰', 'ключ.ü.漢', 'Grüße, 世界 🐇'];
    await channel.assertQueue(queue);
    await channel.assertExchange(exchange, 'topic');
    await channel.bindQueue(queue, exchange, 'ключ.*.漢');
    const inbox = await Inbox.of(channel, queue, { consumerTag: 'täg-🏷' });
    await send(channel, exchange, key, [text], { headers: { 'schlüssel-鍵': text }, type: 'typ-ü' });
    const { fields, properties, content } = await inbox.next();
    assert.deepEqual([fields.exchange, fields.routingKey, fields.consumerTag], [exchange, key, 'täg-🏷']);
    assert.deepEqual([properties.headers['schlüssel-鍵'], properties.type, content.toString()], [text, 'typ-ü', text]);
    assert.ok(await exists(connection, queue));
  },

  async update_secret() {
    const { connection, channel } = await open();
    await connection.updateSecret(Buffer.from('guest'), 'it was time');
    await channel.assertQueue('q');
  },

  async error_codes() {
    const { connection } = await open();
    const soft = [
      [404, 'NOT_FOUND', 50, 10, (channel) => channel.checkQueue('missing')],
      [406, 'PRECONDITION_FAILED', 50, 10, (channel) => channel.assertQueue('durable', { durable: false })],
      [403, 'ACCESS_REFUSED', 40, 10, (channel) => channel.assertExchange('amq.mine', 'direct')],
      [406, 'PRECONDITION_FAILED', 60, 80, (channel) => channel.ack({ fields: { deliveryTag: 7 } })],
      [404, 'NOT_FOUND', 60, 40, (channel) => channel.publish('missing', '', Buffer.from('x'))],
    ];
    await (await connection.createChannel()).assertQueue('durable');
    for (const [code, text, classId, methodId, provoke] of soft) {
      const channel = await connection.createChannel();
      const told = new Promise((resolve) => channel.on('error', resolve));
      const [error] = await Promise.all([told, Promise.resolve(provoke(channel)).catch(() => {})]);
      assert.deepEqual([error.code, error.classId, error.methodId], [code, classId, methodId]);
      assert.match(error.message, new RegExp(text));
    }
    const tooMuch = { prefetchSize: 1, prefetchCount: 0, global: false };
    const twice = { consumerTag: 'twice' };
    const hard = [
      [503, 'COMMAND_INVALID', (channel) => channel.assertExchange('x', 'no-such-type')],
      [530, 'NOT_ALLOWED', (channel) => Promise.all([1, 2].map(() => channel.consume('durable', () => {}, twice)))],
      [540, 'NOT_IMPLEMENTED', (channel) => channel.rpc(defs.BasicQos, tooMuch, defs.BasicQosOk)], // it knows prefetch counts
    ];
    for (const [code, text, provoke] of hard) {
      const { connection, channel } = await open();
      channel.on('error', () => {});
      const told = new Promise((resolve) => connection.on('error', resolve));
      const [error] = await Promise.all([told, Promise.resolve(provoke(channel)).catch(() => {})]);
      assert.equal(error.code, code);
      assert.match(error.message, new RegExp(text));
    }
  },
};

play(scenarios, version);

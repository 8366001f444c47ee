// Rascal on amqplib: exchanges, queues, publications and subscriptions are configured; it makes them, and makes them again.
'use strict';
const assert = require('node:assert/strict');
const { randomBytes } = require('node:crypto');
const { once } = require('node:events');
const { BrokerAsPromised, withDefaultConfig } = require('rascal');
const { ask, elsewhere, numbers, play, sleep, until, url } = require('../stagehand');

const retry = { min: 100, max: 500, factor: 1, strategy: 'linear' };

/** What Rascal calls a broker: connections to virtual hosts and what is there, here one. */
async function open(topology, { at = url, heartbeat = 10 } = {}) {
  const broker = await BrokerAsPromised.create(
    withDefaultConfig({
      defaults: { vhosts: { connection: { retry } }, subscriptions: { retry } },
      vhosts: { here: { connection: { url: at, options: { heartbeat } }, ...topology } },
    }),
  );
  return broker.on('error', (error) => console.log(`lost: ${error.message}`));
}

/** A queue with a publication and a subscription of its name. */
const around = (queue, options = {}) => ({
  queues: { [queue]: { options } },
  publications: { [queue]: { queue } },
  subscriptions: { [queue]: { queue } },
});

/** Resolves when the message is confirmed, rejects when it will not be. */
async function send(broker, name, payload, overrides) {
  const publication = await broker.publish(name, payload, overrides);
  return new Promise((resolve, reject) => {
    publication.on('success', resolve).on('error', reject);
    publication.on('close', () => reject(new Error('connection closed')));
  });
}

/** A subscription whose messages and contents are appended to what is returned; `handle` acks them, or not. */
async function inbox(broker, name, overrides = {}, handle = (_, ackOrNack) => ackOrNack()) {
  const seen = [];
  const session = await broker.subscribe(name, overrides);
  const subscribed = once(session, 'subscribed');
  session.on('error', (error) => console.log(`subscription: ${error.message}`));
  session.on('message', (message, content, ackOrNack) => {
    seen.push({ ...message, content });
    handle(message, ackOrNack);
  });
  await subscribed;
  return Object.assign(seen, {
    session,
    texts: async (count) => {
      await until(() => seen.length >= count);
      return seen.splice(0, count).map(({ content }) => content);
    },
  });
}

const scenarios = {
  async connect() {
    const broker = await open({});
    const connection = await broker.connect('here'); // amqplib's, for what Rascal does not do
    const { product, version, capabilities } = connection.connection.serverProperties;
    console.log(`${product} ${version}`);
    assert.ok(capabilities.publisher_confirms && capabilities['connection.blocked']);
    assert.equal(broker.getConnections()[0].vhost, 'here');
    await broker.shutdown();
  },

  async auth_failure() {
    const refused = /403 \(ACCESS-REFUSED\) with message "ACCESS_REFUSED - Login was/;
    // It logs what amqplib said, and raises a sentence without it.
    await assert.rejects(open({}, { at: elsewhere({ password: 'wrong' }) }), (error) => refused.test(error.stack));
  },

  async no_vhost() {
    const refused = /got <ConnectionClose channel:0>/; // amqplib says no more
    await assert.rejects(open({}, { at: elsewhere({ pathname: '/nowhere' }) }), (error) => refused.test(error.stack));
  },

  async publish_confirm() {
    const broker = await open(around('q'));
    await Promise.all(numbers(100).map((text) => send(broker, 'q', text)));
    const seen = await (await inbox(broker, 'q')).texts(100);
    assert.deepEqual(seen.sort((a, b) => a - b), numbers(100)); // its confirm channels are a pool
  },

  async mandatory_return() {
    const broker = await open({ exchanges: { e: { type: 'direct' } }, publications: { out: { exchange: 'e' } } });
    const publication = await broker.publish('out', 'lost', { routingKey: 'nobody', options: { messageId: 'm1' } });
    const [[{ fields, properties, content }]] = await Promise.all([once(publication, 'return'), once(publication, 'success')]);
    assert.deepEqual({ ...fields }, { replyCode: 312, replyText: 'NO_ROUTE', exchange: 'e', routingKey: 'nobody' });
    assert.deepEqual([properties.messageId, content.toString()], ['m1', 'lost']);
  },

  async work_queue() {
    const broker = await open(around('q'));
    const slowly = (_, ackOrNack) => setTimeout(ackOrNack, 5);
    const done = [await inbox(broker, 'q', { prefetch: 1 }, slowly), await inbox(broker, 'q', { prefetch: 1 }, slowly)];
    for (const text of numbers(20)) await send(broker, 'q', text);
    await until(() => done[0].length + done[1].length === 20);
    assert.ok(done[0].length > 0 && done[1].length > 0);
    const all = done.flat().map(({ content }) => content);
    assert.deepEqual(all.sort((a, b) => a - b), numbers(20));
    await broker.shutdown(); // waits for the acks; what is unacked now would come again
    const seen = await inbox(await open(around('q')), 'q');
    await send(await open(around('q')), 'q', 'last');
    assert.deepEqual(await seen.texts(1), ['last']);
  },

  async fanout() {
    const names = ['a', 'b', 'c'];
    const broker = await open({
      exchanges: { news: { type: 'fanout' } },
      queues: names,
      bindings: names.map((name) => `news -> ${name}`),
      publications: { out: { exchange: 'news' } },
      subscriptions: Object.fromEntries(names.map((name) => [name, { queue: name }])),
    });
    await send(broker, 'out', 'hello', 'any');
    for (const name of names) assert.deepEqual(await (await inbox(broker, name)).texts(1), ['hello']);
  },

  async topic() {
    const queues = ['star', 'hash', 'all', 'middle'];
    const broker = await open({
      exchanges: { logs: { type: 'topic' } },
      queues,
      bindings: ['logs[*.error] -> star', 'logs[app.#] -> hash', 'logs[#] -> all', 'logs[app.*.disk] -> middle'],
      publications: { out: { exchange: 'logs' } },
      subscriptions: Object.fromEntries(queues.map((queue) => [queue, { queue }])),
    });
    const keys = ['app', 'app.error', 'db.error', 'app.error.disk', 'db.error.disk'];
    for (const key of keys) await send(broker, 'out', key, key);
    const seen = async (queue, count) => (await inbox(broker, queue)).texts(count);
    assert.deepEqual(await seen('star', 2), ['app.error', 'db.error']);
    assert.deepEqual(await seen('hash', 3), ['app', 'app.error', 'app.error.disk']);
    assert.deepEqual(await seen('all', 5), keys);
    assert.deepEqual(await seen('middle', 1), ['app.error.disk']);
  },

  async headers() {
    const wanted = (match) => ({ 'x-match': match, kind: 'report', pages: 2 });
    const broker = await open({
      exchanges: { h: { type: 'headers' } },
      queues: ['all', 'any'],
      bindings: {
        all: { source: 'h', destination: 'all', bindingKey: '', options: wanted('all') },
        any: { source: 'h', destination: 'any', bindingKey: '', options: wanted('any') },
      },
      publications: { out: { exchange: 'h', options: { mandatory: false } } },
      subscriptions: { all: { queue: 'all' }, any: { queue: 'any' } },
    });
    const say = (text, headers) => send(broker, 'out', text, { options: { headers } });
    await say('one', { kind: 'report', pages: 3 });
    await say('none', { kind: 'note' });
    await say('both', { kind: 'report', pages: 2, more: true });
    assert.deepEqual(await (await inbox(broker, 'all')).texts(1), ['both']);
    assert.deepEqual(await (await inbox(broker, 'any')).texts(2), ['one', 'both']);
  },

  async ordering() {
    const broker = await open({
      ...around('q'),
      publicationChannelPools: { confirmPool: { max: 1 } }, // a channel keeps its order, a pool of them does not
    });
    const seen = await inbox(broker, 'q', { prefetch: 100 });
    for (const text of numbers(1000)) await send(broker, 'q', text);
    assert.deepEqual(await seen.texts(1000), numbers(1000));
  },

  async large_message() {
    const broker = await open(around('q'));
    const body = randomBytes(10 * 1024 * 1024);
    await send(broker, 'q', body);
    const [got] = await (await inbox(broker, 'q')).texts(1);
    assert.ok(got.equals(body));
  },

  async table_types() {
    const headers = {
      tiny: -128, small: -32768, medium: -2147483648, large: 4294967296, fraction: 0.1, yes: true, no: false,
      nothing: null, text: 'plain', unicode: 'ü漢字🐰', long: 'x'.repeat(20_000), empty: '',
      list: [1, 'two', [3], { four: 4 }, null], table: { inner: { deeper: [true] } }, nobody: {}, none: [],
      when: { '!': 'timestamp', value: 1700000000 }, price: { '!': 'decimal', value: { places: 2, digits: 1999 } },
    };
    const broker = await open(around('q'));
    await send(broker, 'q', 'x', { options: { headers } });
    const seen = await inbox(broker, 'q');
    await until(() => seen.length);
    const { rascal, ...got } = seen[0].properties.headers; // it adds its own
    assert.equal(rascal.originalQueue, 'q');
    assert.deepEqual(got, headers);
  },

  async exclusive() {
    const mine = await open(around('mine', { exclusive: true }));
    const other = () => open(around('mine', { exclusive: true }));
    await assert.rejects(other(), (error) => error.code === 405 && /RESOURCE_LOCKED/.test(error.message));
    await mine.shutdown();
    await until(() => other().then(() => true, () => false));
  },

  async auto_delete() {
    const broker = await open(around('q', { autoDelete: true }));
    const [first, second] = [await inbox(broker, 'q'), await inbox(broker, 'q')];
    const isThere = () => open({ queues: { q: { assert: false, check: true } } }).then(() => true, () => false);
    await first.session.cancel();
    assert.ok(await isThere());
    await second.session.cancel();
    await until(async () => !(await isThere()));
  },

  async priorities() {
    const broker = await open(around('q', { arguments: { 'x-max-priority': 10 } }));
    for (const priority of [1, 9, 5, 10, 0, 5]) await send(broker, 'q', `${priority}`, { options: { priority } });
    assert.deepEqual(await (await inbox(broker, 'q')).texts(6), ['10', '9', '5', '5', '1', '0']);
  },

  async retry_loop() {
    const broker = await open({
      exchanges: { retries: { type: 'direct' }, work: { type: 'direct' } },
      queues: {
        work: { options: { arguments: { 'x-dead-letter-exchange': 'retries' } } },
        retry: { options: { arguments: { 'x-dead-letter-exchange': 'work', 'x-message-ttl': 50 } } },
      },
      bindings: ['work[job] -> work', 'retries[job] -> retry'],
      publications: { out: { exchange: 'work', routingKey: 'job' } },
      subscriptions: { work: { queue: 'work' } },
    });
    const deaths = [];
    await inbox(broker, 'work', {}, ({ properties }, ackOrNack) => {
      const death = (properties.headers['x-death'] ?? []).map(({ queue, reason, count }) => `${queue} ${reason} ${count}`);
      deaths.push(death.sort());
      ackOrNack(deaths.length < 3 ? new Error('not yet') : undefined); // an error: it nacks, which dead-letters
    });
    await send(broker, 'out', 'try me');
    await until(() => deaths.length === 3);
    const rounds = [1, 2].map((round) => [`retry expired ${round}`, `work rejected ${round}`]);
    assert.deepEqual(deaths, [[], ...rounds]);
  },

  async recover() {
    const broker = await open(around('q'));
    const recoveries = [{ strategy: 'nack', requeue: true }, { strategy: 'republish' }]; // it has no recover, no reject
    const flags = [];
    const seen = await inbox(broker, 'q', {}, ({ fields }, ackOrNack) => {
      flags.push(fields.redelivered);
      if (flags.length <= recoveries.length) ackOrNack(new Error('again'), recoveries[flags.length - 1]);
      else ackOrNack();
    });
    await send(broker, 'q', 'again');
    assert.deepEqual(await seen.texts(3), ['again', 'again', 'again']);
    assert.deepEqual(flags, [false, true, false]); // republished is new
  },

  async consumer_cancel() {
    const broker = await open(around('q'));
    const { session } = await inbox(broker, 'q');
    const cancelled = once(session, 'cancelled');
    await ask('delete_queue q');
    const [error] = await cancelled;
    assert.match(error.message, /Subscription: q was cancelled by the broker/);
  },

  async blocked() {
    const broker = await open(around('q'));
    const [blocked, unblocked] = [once(broker, 'blocked'), once(broker, 'unblocked')];
    await ask('block');
    const confirmed = send(broker, 'q', 'waits');
    const [reason] = await blocked;
    assert.match(reason, /memory/);
    await ask('unblock');
    await unblocked;
    await confirmed;
    assert.deepEqual(await (await inbox(broker, 'q')).texts(1), ['waits']);
  },

  async reconnect() {
    const [kept, work] = [around('kept'), around('work')];
    const broker = await open({
      queues: { ...kept.queues, ...work.queues },
      publications: { ...kept.publications, ...work.publications },
      subscriptions: { ...kept.subscriptions, ...work.subscriptions },
    });
    const seen = await inbox(broker, 'work');
    const distinct = (messages) => new Set(messages.map(({ content }) => content)).size;
    // Until it is confirmed: what was on its way when the connection was lost is an error; what comes later waits.
    const surely = async (name, text) => {
      while (!(await send(broker, name, text).then(() => true, () => false))) await sleep(20);
    };
    for (const text of numbers(20)) await surely('kept', text);
    const killed = ask('kill');
    for (const text of numbers(40)) await surely('work', text);
    await killed;
    for (const text of ['after', 'that']) await surely('work', text);
    await until(() => distinct(seen) === 42);
    assert.deepEqual(await (await inbox(broker, 'kept')).texts(20), numbers(20));
  },

  async heartbeat_loss() {
    const broker = await open(around('q'), { heartbeat: 1 });
    const told = (event) => new Promise((resolve) => broker.once(event, resolve)); // the error is told as well
    const [lost, back] = [told('disconnect'), told('vhost_initialised')];
    await sleep(3000); // heartbeats go both ways meanwhile
    await ask('freeze 6');
    await lost;
    await back;
    await send(broker, 'q', 'back');
    assert.deepEqual(await (await inbox(broker, 'q')).texts(1), ['back']);
  },

  async non_ascii() {
    const [queue, exchange, key, text] = ['größe-漢字', 'обмен-🐰', 'ключ.ü.漢', 'Grüße, 世界 🐇'];
    const broker = await open({
      exchanges: { [exchange]: { type: 'topic' } },
      queues: [queue],
      bindings: { any: { source: exchange, destination: queue, bindingKey: 'ключ.*.漢' } },
      publications: { out: { exchange, routingKey: key } },
      subscriptions: { in: { queue } },
    });
    await send(broker, 'out', text, { options: { headers: { 'schlüssel-鍵': text }, type: 'typ-ü' } });
    const seen = await inbox(broker, 'in', { options: { consumerTag: 'täg-🏷' } });
    await until(() => seen.length);
    const [{ fields, properties, content }] = seen;
    assert.deepEqual([fields.exchange, fields.routingKey, fields.consumerTag], [exchange, key, 'täg-🏷']);
    assert.deepEqual([properties.headers['schlüssel-鍵'], properties.type, content], [text, 'typ-ü', text]);
  },

  async error_codes() {
    await open(around('durable'));
    const wrong = [
      [404, 'NOT_FOUND', { queues: { missing: { assert: false, check: true } } }],
      [406, 'PRECONDITION_FAILED', around('durable', { durable: false })],
      [403, 'ACCESS_REFUSED', { exchanges: { 'amq.mine': { type: 'direct' } } }],
    ];
    for (const [code, text, topology] of wrong) {
      await assert.rejects(open(topology), (error) => error.code === code && error.message.includes(text));
    }
    // 503, as which it only sees that the connection is gone.
    await assert.rejects(open({ exchanges: { x: { type: 'no-such-type' } } }), /Channel ended, no reply will be forthcoming/);
    const exchanges = { missing: { assert: false } };
    const broker = await open({ exchanges, publications: { out: { exchange: 'missing' } } });
    await assert.rejects(send(broker, 'out', 'x'), /channel closed/); // 404
  },
};

play(scenarios, require('rascal/package.json').version);

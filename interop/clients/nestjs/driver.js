// NestJS with its RMQ transport: a microservice, and the client that calls it, both in this process.
'use strict';
require('reflect-metadata');
const assert = require('node:assert/strict');
const { randomBytes } = require('node:crypto');
const path = require('node:path');
const { Controller, Module } = require('@nestjs/common');
const { NestFactory } = require('@nestjs/core');
const { ClientProxyFactory, EventPattern, MessagePattern, RmqRecordBuilder, Transport } = require('@nestjs/microservices');
const { Ctx, Payload } = require('@nestjs/microservices');
const { firstValueFrom, timeout } = require('rxjs');
const stagehand = require('../stagehand');

const { ask, elsewhere, play, sleep, until, url } = stagehand;
const socketOptions = { reconnectTimeInSeconds: 0.2 };

/** The class that TypeScript's decorators would make: `handlers` are patterns and what is done with a message. */
function controller(decorator, handlers) {
  class Service {}
  for (const [pattern, handler] of Object.entries(handlers)) {
    Service.prototype[pattern] = handler;
    const descriptor = Object.getOwnPropertyDescriptor(Service.prototype, pattern);
    decorator(pattern)(Service.prototype, pattern, descriptor);
    Payload()(Service.prototype, pattern, 0);
    Ctx()(Service.prototype, pattern, 1);
  }
  Controller()(Service);
  return Service;
}

/** A started microservice. */
async function serve(Service, options = {}) {
  class Root {}
  Module({ controllers: [Service] })(Root);
  const app = await NestFactory.createMicroservice(Root, {
    transport: Transport.RMQ,
    options: { urls: [url], queue: 'q', socketOptions, ...options },
    logger: ['error', 'fatal'],
  });
  await app.listen();
  return app;
}

async function client(options = {}) {
  const proxy = ClientProxyFactory.create({
    transport: Transport.RMQ,
    options: { urls: [url], queue: 'q', socketOptions, ...options },
  });
  await proxy.connect();
  return proxy;
}

const call = (proxy, pattern, data, patienceMs = 20_000) => firstValueFrom(proxy.send(pattern, data).pipe(timeout(patienceMs)));
const emit = (proxy, pattern, data) => firstValueFrom(proxy.emit(pattern, data), { defaultValue: null });

const numbers = (count) => stagehand.numbers(count).map(Number);

const scenarios = {
  async connect() {
    const proxy = await client();
    assert.ok(proxy.unwrap().isConnected());
    const { product, version } = proxy.unwrap().connection.connection.serverProperties;
    console.log(`${product} ${version}`);
    await proxy.close();
  },

  async auth_failure() {
    const wrong = elsewhere({ password: 'wrong' });
    await assert.rejects(client({ urls: [wrong] }), ({ err }) => /403 \(ACCESS-REFUSED\)/.test(err.message));
  },

  async no_vhost() {
    const wrong = elsewhere({ pathname: '/nowhere' });
    // amqplib says no more of it
    await assert.rejects(client({ urls: [wrong] }), ({ err }) => /got <ConnectionClose/.test(err.message));
  },

  async publish_confirm() {
    const proxy = await client({ queueOptions: { durable: true }, persistent: true });
    await Promise.all(numbers(100).map((number) => emit(proxy, 'event', number))); // each done when it is confirmed
    const { messageCount } = await proxy.channel.checkQueue('q');
    assert.equal(messageCount, 100);
  },

  async work_queue() {
    const done = [[], []];
    for (const mine of done) {
      const work = async (number, context) => {
        await sleep(5);
        mine.push(number);
        context.getChannelRef().ack(context.getMessage());
      };
      await serve(controller(EventPattern, { work }), { noAck: false, prefetchCount: 1 });
    }
    const proxy = await client();
    for (const number of numbers(20)) await emit(proxy, 'work', number);
    await until(() => done[0].length + done[1].length === 20);
    assert.ok(done[0].length > 0 && done[1].length > 0);
    assert.deepEqual([...done[0], ...done[1]].sort((a, b) => a - b), numbers(20));
    await until(async () => (await proxy.channel.checkQueue('q')).messageCount === 0);
  },

  async fanout() {
    const exchange = { exchange: 'news', exchangeType: 'fanout' };
    const heard = [];
    for (const queue of ['a', 'b', 'c']) {
      await serve(controller(EventPattern, { news: (text) => void heard.push(`${queue} ${text}`) }), { queue, ...exchange });
    }
    await emit(await client(exchange), 'news', 'hello');
    await until(() => heard.length === 3);
    assert.deepEqual(heard.sort(), ['a hello', 'b hello', 'c hello']);
  },

  async topic() {
    const heard = [];
    const handlers = {
      '*.error': (key) => void heard.push(`star ${key}`),
      'app.#': (key) => void heard.push(`hash ${key}`),
    };
    await serve(controller(EventPattern, handlers), { wildcards: true });
    const proxy = await client({ wildcards: true });
    for (const key of ['app', 'db.slow', 'app.disk.full', 'db.error']) await emit(proxy, key, key);
    await until(() => heard.includes('star db.error'));
    assert.deepEqual(heard, ['hash app', 'hash app.disk.full', 'star db.error']);
  },

  async rpc() {
    await serve(controller(MessagePattern, { double: (number) => 2 * number })); // answered by direct reply-to
    const proxy = await client();
    for (const number of numbers(10)) assert.equal(await call(proxy, 'double', number), 2 * number);
    await assert.rejects(call(proxy, 'nobody', 1), /There is no matching message handler/);
  },

  async ordering() {
    const seen = [];
    await serve(controller(EventPattern, { count: (number) => void seen.push(number) }));
    const proxy = await client();
    await Promise.all(numbers(1000).map((number) => emit(proxy, 'count', number)));
    await until(() => seen.length === 1000);
    assert.deepEqual(seen, numbers(1000));
  },

  async large_message() {
    await serve(controller(MessagePattern, { echo: (text) => text }));
    const text = randomBytes(5 * 1024 * 1024).toString('hex');
    assert.ok((await call(await client(), 'echo', text)) === text);
  },

  async retry_loop() {
    const deaths = [];
    const work = (_, context) => {
      const { headers } = context.getMessage().properties;
      deaths.push((headers['x-death'] ?? []).map((death) => `${death.queue} ${death.count}`).sort());
      const channel = context.getChannelRef();
      if (deaths.length < 3) channel.nack(context.getMessage(), false, false);
      else channel.ack(context.getMessage());
    };
    const queueOptions = { deadLetterExchange: '', deadLetterRoutingKey: 'retry' };
    const retryOptions = { messageTtl: 50, deadLetterExchange: '', deadLetterRoutingKey: 'q' };
    await client({ queue: 'retry', queueOptions: retryOptions }); // declares it
    await serve(controller(EventPattern, { work }), { noAck: false, queueOptions });
    await emit(await client({ queueOptions }), 'work', 'try me');
    await until(() => deaths.length === 3);
    assert.deepEqual(deaths, [[], ['q 1', 'retry 1'], ['q 2', 'retry 2']]);
  },

  async blocked() {
    const proxy = await client();
    const statuses = [];
    proxy.status.subscribe((status) => statuses.push(status));
    await ask('block');
    const confirmed = emit(proxy, 'event', 'waits');
    await until(() => statuses.at(-1) === 'blocked');
    await ask('unblock');
    await until(() => statuses.at(-1) === 'unblocked');
    await confirmed;
  },

  async reconnect() {
    const durable = { queueOptions: { durable: true }, persistent: true };
    const seen = new Set();
    const work = (number, context) => {
      seen.add(number);
      context.getChannelRef().ack(context.getMessage());
    };
    const worker = await serve(controller(EventPattern, { work }), { noAck: false, ...durable });
    const server = await serve(controller(MessagePattern, { double: (number) => 2 * number }), { queue: 'calls' });
    const kept = await client({ queue: 'kept', ...durable });
    const [proxy, caller] = [await client(durable), await client({ queue: 'calls' })];
    const untilDone = async (action) => {
      while (!(await action().then(() => true, () => false))) await sleep(50); // connection lost: until it is there again
    };
    for (const number of numbers(20)) await emit(kept, 'event', number);
    const killed = ask('kill');
    for (const number of numbers(40)) await untilDone(() => emit(proxy, 'work', number));
    await killed;
    await until(() => [worker, server, kept, proxy, caller].every((each) => each.unwrap().isConnected()));
    await untilDone(() => emit(proxy, 'work', 40));
    await until(() => seen.size === 41);
    // A call is lost with the connection on which it waits for its answer: nobody repeats it.
    await untilDone(async () => assert.equal(await call(caller, 'double', 21, 2_000), 42));
    await until(async () => (await kept.channel.checkQueue('kept')).messageCount === 20);
  },

  async heartbeat_loss() {
    const proxy = await client({ socketOptions: { ...socketOptions, heartbeatIntervalInSeconds: 1 } });
    const lost = new Promise((resolve) => proxy.on('disconnect', ({ err }) => resolve(err)));
    await sleep(3000); // heartbeats go both ways meanwhile
    await ask('freeze 6');
    assert.match((await lost).message, /Heartbeat timeout/);
    await until(() => proxy.unwrap().isConnected());
  },

  async non_ascii() {
    const queue = 'größe-漢字';
    const text = 'Grüße, 世界 🐇';
    const seen = [];
    const handler = (data, context) => void seen.push([data, context.getMessage().properties.headers['schlüssel-鍵']]);
    await serve(controller(EventPattern, { 'ereignis-ü': handler }), { queue });
    const record = new RmqRecordBuilder(text).setOptions({ headers: { 'schlüssel-鍵': text } }).build();
    await emit(await client({ queue }), 'ereignis-ü', record);
    await until(() => seen.length === 1);
    assert.deepEqual(seen, [[text, text]]);
  },
};

const { version } = require(path.join(path.dirname(require.resolve('@nestjs/microservices')), 'package.json'));
play(scenarios, version);

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const { after, before, test } = require('node:test');
const amqp = require('amqplib');

let broker, url;

before(async () => {
  broker = spawn('amqpd', ['testserver', '--exit-with-parent'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [line] = await once(broker.stdout, 'data');
  url = JSON.parse(line).url;
});

after(() => broker.kill());

test('an order arrives', async () => {
  const connection = await amqp.connect(url);
  const channel = await connection.createConfirmChannel();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  channel.sendToQueue(queue, Buffer.from('one kettle'));
  await channel.waitForConfirms();
  const message = await channel.get(queue, { noAck: true });
  assert.strictEqual(message.content.toString(), 'one kettle');
  await connection.close();
});

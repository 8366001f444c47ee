// What drivers in Node share, whatever their client: how a scenario is started, and words with the runner.
'use strict';
const assert = require('node:assert/strict');
const readline = require('node:readline');
const { setTimeout: sleep } = require('node:timers/promises');

const LACKS = 77; // the exit code that says: this client cannot
const WAIT_MS = 30_000; // for a scenario, without what it asks for: to start a broker may take as long again

const url = process.env.AMQP_URL;
let watch; // ends a scenario that waits for what does not come
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the runner do something to the broker; resolves when it is done. */
async function ask(words) {
  clearTimeout(watch);
  console.log(`ask ${words}`);
  assert.equal((await answers.next()).value, 'done');
  startWatch();
}

function startWatch() {
  watch = setTimeout(() => assert.fail(`still waiting after ${WAIT_MS / 1000} s`), WAIT_MS);
}

/** Where to connect to as somebody else or elsewhere: `{ password: 'wrong' }`. */
const elsewhere = (parts) => Object.assign(new URL(url), parts).href;

async function until(isTrue) {
  while (!(await isTrue())) await sleep(20);
}

/** From 0, as texts. */
const numbers = (count) => Array.from({ length: count }, (_, number) => `${number}`);

/** Runs the scenario that the command line names last, and exits. */
async function play(scenarios, version) {
  const scenario = process.argv.at(-1);
  if (scenario === 'version') {
    console.log(`version ${version}`);
  } else if (scenario in scenarios) {
    startWatch();
    await scenarios[scenario]();
  } else {
    console.log(`nobody wrote ${scenario}`);
    process.exit(LACKS);
  }
  process.exit(0);
}

module.exports = { ask, elsewhere, numbers, play, sleep, until, url };

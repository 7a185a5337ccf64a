// The vCPU of examples/own-guest.mjs: a thread of its own, which alone touches RAM while the guest runs, and alone
// waits where a page has not come yet.
import { parentPort, workerData } from 'node:worker_threads';
import { RAMBlock } from 'postcopy';
import { slotOf } from './own-guest.mjs';

const EVENTS_A_TICK = 64;

const events = new BigUint64Array(RAMBlock.attach(workerData).bytes().buffer);
let count = 0n;
let timer;

function tick() {
  for (let i = 0; i < EVENTS_A_TICK; i += 1) {
    events[slotOf(count, events.length)] = count;
    count += 1n;
  }
}

// Between two ticks, so with nothing half done: that is its safe point.
parentPort.on('message', (request) => {
  if (request.startAt !== undefined) {
    count = request.startAt;
    timer = setInterval(tick, 1);
    return;
  }
  if (request === 'stop') clearInterval(timer);
  parentPort.postMessage(count);
});

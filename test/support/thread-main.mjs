// First file of a test's worker thread: a thread does not inherit the loader of TypeScript.
import { parentPort, workerData } from 'node:worker_threads';
import { register } from 'tsx/esm/api';

register();
const { module, name, args } = workerData;
const loaded = await import(module);
parentPort.postMessage(await loaded[name](...args));

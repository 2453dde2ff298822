import { type MessagePort, parentPort } from 'node:worker_threads';
import { perform, type Task } from './task.ts';

const port = parentPort as MessagePort;
port.on('message', (task: Task) => port.postMessage(perform(task)));

// A colo thread that looks for a standby, or does not, and does nothing else.
import { BroadcastChannel, parentPort, threadId } from 'node:worker_threads';

let phase = 'connecting';
let isSought = true;
const commands = [];
const answers = {
  status: () => ({ phase, commands }),
  command: ({ name }) => {
    if (name === 'protect' && phase !== 'unprotected') return 'this machine is being protected already';
    if (name === 'unprotect' && !isSought) return 'this machine is not protected';
    commands.push(name);
    isSought = name === 'protect';
    phase = isSought ? 'connecting' : 'unprotected';
    return undefined;
  },
  past: () => ({ events: [], milestones: {} }),
};

parentPort.on('message', ({ call, number, given }) => {
  // A test has it find nobody.
  if (call === 'lose') phase = 'unprotected';
  parentPort.postMessage({ answers: number, value: answers[call]?.(given) });
});

// Whoever wants to know which of them there are asks all.
const roll = new BroadcastChannel('searching-colo-threads');
roll.onmessage = ({ data }) => {
  if (data === 'who?') roll.postMessage(threadId);
};

// Runs inside a lab host: starts commands in turn and measures each from its start to a line of its output, then ends
// it. Reads {commands: {name: argv}, rounds, line} as JSON from its first argument; prints one JSON line a measurement.
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';

const { commands, rounds, line, timeoutMs } = JSON.parse(process.argv[2] ?? '{}');

const order = Object.entries(commands);
for (let round = 1; round <= rounds; round++) {
  // There and back: whoever always ran after a program of its kind would find a host that is warm for it.
  for (const [name, argv] of round % 2 === 1 ? order : order.toReversed()) {
    process.stdout.write(`${JSON.stringify({ name, round, ...(await measure(argv)) })}\n`);
  }
}

function measure([command, ...args]) {
  return new Promise((resolve) => {
    const start = performance.now();
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    let ms;
    const end = () => child.kill('SIGKILL');
    const timer = setTimeout(end, timeoutMs);
    const take = (data) => {
      said += data;
      if (ms === undefined && said.includes(line)) {
        ms = performance.now() - start;
        end();
      }
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('close', () => {
      clearTimeout(timer);
      rmSync(`/run/colo-vmm/${child.pid}.sock`, { force: true }); // killed, it could not
      if (ms === undefined && line === '') ms = performance.now() - start;
      resolve(ms === undefined ? { error: said.slice(-1000) } : { ms });
    });
  });
}

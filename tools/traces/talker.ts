import { once } from 'node:events';
import { traceCases } from './cases.ts';

/** `talker.ts guest|client CASE TAKE`: one end's programs, in the namespace of that end. See recording.ts. */
const [end, name, number] = process.argv.slice(2);
const trace = traceCases.find((one) => one.name === name);
const take = trace?.takes[Number(number)];
if (trace === undefined || take === undefined) throw new Error(`there is no take ${number} of ${name}`);
if (end !== 'client' && end !== 'guest') throw new Error(`there is no end ${end}`);
await trace.talk[end](take, async () => {
  process.stdout.write('listens\n');
  await once(process.stdin, 'data');
});
process.stdin.destroy();

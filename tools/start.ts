import { boot } from './boot.ts';
import { demonstrate } from './demo/demo.ts';

/**
 * `npm start`: two hosts, one guest; one host loses its power, and the clients are answered on. `npm start -- boot`: one guest boots
 * and does its work. Exit code 0 only if all of it was as it should be.
 */
const shows: Readonly<Record<string, () => Promise<boolean>>> = { failover: demonstrate, boot };

const [name = 'failover', ...rest] = process.argv.slice(2);
const show = Object.hasOwn(shows, name) ? shows[name] : undefined;
if (show === undefined || rest.length > 0) {
  process.stderr.write('npm start, or npm start -- boot\n');
  process.exitCode = 2;
} else {
  try {
    if (!(await show())) process.exitCode = 1;
  } catch (error) {
    process.stderr.write(`\nnpm start: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}

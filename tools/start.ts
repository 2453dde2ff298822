/**
 * `npm start`: two hosts, one guest; one host loses its power, and the clients are answered on. `npm start -- boot`: one guest boots
 * and does its work. Exit code 0 only if all of it was as it should be.
 */
const shows: Readonly<Record<string, () => Promise<boolean>>> = {
  failover: async () => (await import('./demo/demo.ts')).demonstrate(),
  boot: async () => (await import('./boot.ts')).boot(),
};

const help = `npm start            two hosts, one guest: a host loses its power, and the clients are answered on (3 to 5 minutes)
npm start -- boot    one guest boots and does its work, step by step
`;

const [name = 'failover', ...rest] = process.argv.slice(2);
const show = Object.hasOwn(shows, name) ? shows[name] : undefined;
if (name === '--help' || name === '-h') process.stdout.write(help);
else if (show === undefined || rest.length > 0) {
  process.stderr.write(`npm start: "${[name, ...rest].join(' ')}" is none of these:\n${help}`);
  process.exitCode = 2;
} else {
  try {
    if (!(await show())) process.exitCode = 1;
  } catch (error) {
    process.stderr.write(`\nnpm start: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}

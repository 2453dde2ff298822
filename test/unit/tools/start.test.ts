import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';

const program = fileURLToPath(new URL('../../../tools/start.ts', import.meta.url));

/** Runs `npm start` with what begins nothing. */
function start(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', program, ...args], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

test('npm start says what there is when it is asked, and when it is asked for something else', async (t) => {
  t.match(start('--help'), { status: 0, stdout: /^npm start .*\nnpm start -- boot /, stderr: '' });
  t.match(start('bot'), { status: 2, stdout: '', stderr: /^npm start: "bot" is none of these:\nnpm start / });
  t.match(start('boot', 'now'), { status: 2, stderr: /"boot now"/ });
});

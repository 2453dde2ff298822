import { test } from 'tap';
import { LogOutput } from '../../../../src/host/console/log-output.ts';
import { EINTR, ENOSPC } from '../../../../src/host/errno.ts';

/** A file that has so much room, and a clock. */
function rig() {
  const file = { text: '', room: Number.POSITIVE_INFINITY, writes: 0, errno: ENOSPC };
  const clock = { ms: 1000 };
  const told: string[] = [];
  const log = new LogOutput({
    write: (bytes) => {
      file.writes++;
      const count = Math.min(file.room, bytes.length);
      if (count === 0) return -file.errno;
      file.room -= count;
      file.text += Buffer.from(bytes.subarray(0, count)).toString();
      return count;
    },
    nowMs: () => clock.ms,
    tell: (text) => told.push(text),
  });
  /** As the console does: what is left is written again. */
  const print = (text: string): void => {
    for (let rest = Buffer.from(text); rest.length > 0; ) rest = rest.subarray(log.write(rest));
  };
  return { file, clock, told, log, print };
}

test('a log with room has what was written and nothing else', async (t) => {
  const { file, told, log, print } = rig();
  print('one\r\n');
  print('two');
  log.close();
  t.equal(file.text, 'one\r\ntwo');
  t.strictSame(told, []);
});

test('a log without room drops what comes, goes on when there is room, and says what is missing', async (t) => {
  const { file, clock, told, print } = rig();
  file.room = 5;
  print('begin lost');
  print('also lost');
  t.equal(file.text, 'begin');
  file.room = 1000;
  clock.ms += 100;
  print('end\r\n');
  t.equal(file.text, 'begin\r\ncolo-vmm: 14 bytes of output are missing here\r\nend\r\n');
  t.equal(told.length, 1);
  t.match(told[0], /ENOSPC/);
});

test('the line about what is missing begins no line twice', async (t) => {
  const { file, clock, print } = rig();
  file.room = 5;
  print('one\r\ntwo');
  file.room = 1000;
  clock.ms += 100;
  print('three');
  t.equal(file.text, 'one\r\ncolo-vmm: 3 bytes of output are missing here\r\nthree');
});

test('a file without room is tried again ten times a second, not for each byte', async (t) => {
  const { file, clock, print } = rig();
  file.room = 0;
  print('a');
  for (let count = 0; count < 50; count++) print('b');
  t.equal(file.writes, 1);
  clock.ms += 99;
  print('c');
  t.equal(file.writes, 1);
  clock.ms += 1;
  print('d');
  t.equal(file.writes, 2);
});

test('a line that fits only in part is ended before anything else, and what was lost meanwhile has its own', async (t) => {
  const { file, clock, print } = rig();
  file.room = 0;
  print('12345');
  clock.ms += 100;
  file.room = 10;
  print('678');
  t.equal(file.text, 'colo-vmm: ');
  clock.ms += 100;
  file.room = 1000;
  print('end');
  t.equal(
    file.text,
    'colo-vmm: 5 bytes of output are missing here\r\ncolo-vmm: 3 bytes of output are missing here\r\nend',
  );
});

test('the operator is told once, however often the disk fills up', async (t) => {
  const { file, clock, told, print } = rig();
  for (let round = 0; round < 5; round++) {
    file.room = 0;
    print('lost');
    clock.ms += 100;
    file.room = 1000;
    print('kept');
  }
  t.equal(told.length, 1);
  t.equal(file.text.match(/4 bytes of output are missing/g)?.length, 5);
});

test('the end of a log says what is missing if there is room by then, and leaves it if not', async (t) => {
  const [roomy, full] = [rig(), rig()];
  for (const { file, print } of [roomy, full]) {
    file.room = 0;
    print('lost');
  }
  roomy.file.room = 1000;
  roomy.log.close();
  full.log.close();
  t.equal(roomy.file.text, 'colo-vmm: 4 bytes of output are missing here\r\n');
  t.equal(full.file.text, '');
});

test('a write that a signal interrupts loses nothing', async (t) => {
  const { file, told, log, print } = rig();
  file.errno = EINTR;
  file.room = 0;
  t.equal(log.write(Buffer.from('abc')), 0);
  file.room = 1000;
  print('abc');
  t.equal(file.text, 'abc');
  t.strictSame(told, []);
});

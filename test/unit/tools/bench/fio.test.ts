import t from 'tap';
import { type FioJob, fioCommand, fioOnceCommand, parseFio } from '../../../../tools/bench/fio.ts';

const reads: FioJob = { name: 'randread-qd32', pattern: 'randread', blockKib: 4, depth: 32 };
const synced: FioJob = { name: 'w', pattern: 'randwrite', blockKib: 4, depth: 1, isSynced: true };

// What fio 3.33 printed, percentiles and CPU shares cut short to the number of fields.
const zeros = (count: number): string => '0;'.repeat(count);
const readOutput = `3;fio-3.33;randread-qd32;0;0;8000;1142857;285714;7;${zeros(120)}vda;0;0;0;0;0;0;0;0.00%\n`;
const writeOutput = `3;fio-3.33;w;0;0;${zeros(41)}800;15094;3773;53;${zeros(75)}vda;0;0;0;0;0;0;0;0.00%\n`;

t.test('requests and seconds come out of the direction that the job has', async (t) => {
  t.strictSame(parseFio(readOutput, reads), { requests: 2000, seconds: 0.007 });
  t.strictSame(parseFio(writeOutput, synced), { requests: 200, seconds: 0.053 });
});

t.test('requests are as large as the job has them', async (t) => {
  t.strictSame(parseFio(readOutput, { ...reads, blockKib: 1000 }), { requests: 8, seconds: 0.007 });
});

t.test('lines around the figures do not matter', async (t) => {
  t.strictSame(parseFio(`fio: a warning; of 3;\r\n${readOutput}bye`, reads), { requests: 2000, seconds: 0.007 });
});

t.test('refuses what holds no figures', async (t) => {
  const texts = {
    'nothing at all': '',
    'another version of the format': readOutput.replace('3;', '5;'),
    'an error': readOutput.replace('randread-qd32;0;0;', 'randread-qd32;0;5;'),
    'the other direction': writeOutput,
    'a line cut short': readOutput.slice(0, 40),
  };
  for (const [name, text] of Object.entries(texts)) t.throws(() => parseFio(text, reads), /randread-qd32/, name);
});

t.test('a request at a time needs no queue, and a flush after each write is asked for', async (t) => {
  t.match(fioCommand(synced, '/dev/vda', 2), /--ioengine=psync .*--fsync=1 .*--runtime=2 /);
  t.match(fioCommand(reads, '/dev/vda', 2), /--ioengine=libaio --iodepth=32 /);
  t.notMatch(fioCommand(reads, '/dev/vda', 2), /fsync/);
  t.match(fioCommand(reads, '/dev/vda', 2), /--filename=\/dev\/vda .*--direct=1 /);
});

t.test('a single request is the same command with another end', async (t) => {
  const once = fioOnceCommand(reads, '/dev/vda');
  t.match(once, /--ioengine=libaio --iodepth=32 --number_ios=1 /);
  t.notMatch(once, /time_based|runtime/);
});

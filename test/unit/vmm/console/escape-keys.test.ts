import { test } from 'tap';
import { EscapeKeys } from '../../../../src/vmm/console/escape-keys.ts';

/** Types the pieces one after the other: what the guest gets, and what was asked. */
function type(...pieces: string[]): { guest: string; asked: string[]; shown: string } {
  const asked: string[] = [];
  let shown = '';
  const keys = new EscapeKeys({ end: () => asked.push('end'), pressPowerButton: () => asked.push('power') }, (text) => {
    shown += text;
  });
  const guest = pieces
    .map((piece) => Buffer.from(keys.filter(Buffer.from(piece, 'latin1'))).toString('latin1'))
    .join('');
  return { guest, asked, shown };
}

test('gives everything else to the guest as it is', async (t) => {
  const bytes = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte))
    .filter((letter) => letter !== '\x01')
    .join('');
  t.strictSame(type(bytes), { guest: bytes, asked: [], shown: '' });
});

test('ends the machine on Ctrl-A x, in either case', async (t) => {
  t.strictSame(type('ab\x01xcd'), { guest: 'abcd', asked: ['end'], shown: '' });
  t.strictSame(type('\x01X').asked, ['end']);
});

test('presses the power button on Ctrl-A p', async (t) => {
  t.strictSame(type('\x01p'), { guest: '', asked: ['power'], shown: '' });
});

test('sends Ctrl-A to the guest on Ctrl-A a and on Ctrl-A twice', async (t) => {
  t.equal(type('<\x01a>').guest, '<\x01>');
  t.equal(type('<\x01\x01>').guest, '<\x01>');
});

test('shows all its keys on Ctrl-A h and Ctrl-A ?', async (t) => {
  for (const key of ['h', '?']) {
    const { guest, shown } = type(`\x01${key}`);
    t.equal(guest, '');
    for (const line of ['Ctrl-A x', 'Ctrl-A p', 'Ctrl-A a', 'Ctrl-A h']) t.ok(shown.includes(line));
    t.notMatch(shown, /[^\r]\n/, 'a raw terminal needs carriage returns');
  }
});

test('understands an escape that is cut between two pieces', async (t) => {
  t.strictSame(type('a\x01', 'xb'), { guest: 'ab', asked: ['end'], shown: '' });
  t.equal(type('\x01', '', '\x01', 'x').guest, '\x01x', 'the second Ctrl-A completes the first');
});

test('swallows a key that means nothing after Ctrl-A', async (t) => {
  t.strictSame(type('a\x01zb'), { guest: 'ab', asked: [], shown: '' });
});

import { test } from 'tap';
import { RedrawnBlock } from '../../../../src/vmm/client/watch-status.ts';

const size = { columns: 20, rows: 5 };

/** Draws, with § for the escape character. */
function draw(block: RedrawnBlock, lines: readonly string[]): string {
  return block.draw(lines, size).replaceAll('\u001b', '§');
}

/** What a terminal shows after it was sent `text`: enough of one for what the block uses. */
function screen(text: string): string[] {
  const lines: string[] = [];
  let row = 0;
  for (const [, up, clear, line] of text.matchAll(/§\[(\d+)A|§\[([KJ])|([^§\n]*\n?)/g)) {
    if (up !== undefined) row -= Number(up);
    else if (clear === 'J') lines.length = row;
    else if (line !== undefined && line !== '' && line !== '\n') lines[row] = line;
    if (line?.endsWith('\n')) row++;
  }
  return lines.map((line) => line.trimEnd());
}

test('lines are redrawn where they are', async (t) => {
  const block = new RedrawnBlock();
  const first = draw(block, ['PROTECTED', 'epoch 1', 'arbiter']);
  t.strictSame(screen(first), ['PROTECTED', 'epoch 1', 'arbiter']);
  const second = draw(block, ['PROTECTED', 'epoch 2']);
  t.match(second, /^§\[3A/, 'from where the block began');
  t.strictSame(screen(first + second), ['PROTECTED', 'epoch 2'], 'and nothing of before is left');
  t.match(draw(block, ['PROTECTED']), /^§\[2A/);
});

test('each line is cleared to its end, for the one before may have been longer', async (t) => {
  const drawn = draw(new RedrawnBlock(), ['one', 'two']);
  t.equal(drawn, 'one§[K\ntwo§[K\n§[J');
});

test('what would wrap or scroll is cut off', async (t) => {
  const block = new RedrawnBlock();
  const drawn = draw(block, ['0123456789012345678901234', 'b', 'c', 'd', 'e', 'f']);
  t.strictSame(screen(drawn), ['01234567890123456789', 'b', 'c', 'd']);
  t.match(draw(block, ['a']), /^§\[4A/);
});

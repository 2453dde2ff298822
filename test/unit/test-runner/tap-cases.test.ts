import { test } from 'tap';
import { TapCases } from '../../../tools/test-runner/tap-cases.ts';

/** Everything a listener hears, in order. */
function read(text: string): { heard: string[]; complete: boolean } {
  const heard: string[] = [];
  const cases = new TapCases({
    passed: (path) => heard.push(`passed ${path.join(' > ')}`),
    failed: (path) => heard.push(`failed ${path.join(' > ')}`),
    skipped: ({ path, reason }) => heard.push(`skipped ${path.join(' > ')}: ${reason}`),
    failure: ({ path, details }) => heard.push(`failure ${path.join(' > ')} [${details.join('|')}]`),
    stray: (line) => heard.push(`stray ${line}`),
  });
  for (const line of text.split('\n')) cases.line(line);
  cases.end();
  return { heard, complete: cases.complete };
}

test('counts a test, not its assertions', async (t) => {
  const { heard, complete } = read(
    ['# Subtest: adds', '    ok 1 - a', '    ok 2 - b', '    1..2', 'ok 1 - adds # time=3.5ms', '', '1..1'].join('\n'),
  );
  t.strictSame(heard, ['passed adds']);
  t.equal(complete, true);
});

test('counts the innermost tests only', async (t) => {
  const { heard } = read(
    [
      '# Subtest: outer',
      '    # Subtest: one',
      '        ok 1 - a',
      '        1..1',
      '    ok 1 - one # time=1ms',
      '    # Subtest: two',
      '        ok 1 - a',
      '        1..1',
      '    ok 2 - two # time=1ms',
      '    1..2',
      'ok 1 - outer # time=2ms',
      '1..1',
    ].join('\n'),
  );
  t.strictSame(heard, ['passed outer > one', 'passed outer > two']);
});

test('keeps the diagnostics of a failing assertion and fails its test once', async (t) => {
  const { heard } = read(
    [
      '# Subtest: adds',
      '    not ok 1 - sum',
      '      ---',
      '      diff: |',
      '        ok 2 - not a result, part of the diff',
      '      ...',
      '    1..1',
      'not ok 1 - adds # time=3ms',
      '  ---',
      '  at: here',
      '  ...',
      '1..1',
    ].join('\n'),
  );
  t.strictSame(heard, ['failure adds > sum [diff: ||  ok 2 - not a result, part of the diff]', 'failed adds']);
});

test('does not count the repeated result of a test that ran out of time', async (t) => {
  const { heard } = read(
    [
      '# Subtest: late',
      '    not ok 1 - timeout!',
      '    1..1',
      'not ok 1 - late # time=100ms',
      '',
      'not ok 2 - late # time=100ms',
      '1..2',
    ].join('\n'),
  );
  t.strictSame(heard, ['failure late > timeout! []', 'failed late']);
});

test('tells why a test was skipped, however it was', async (t) => {
  const { heard } = read(
    [
      'ok 1 - by option # SKIP no device',
      '# Subtest: from inside',
      '    ok 1 - no compiler # SKIP',
      '    1..1',
      'ok 2 - from inside # time=1ms',
      '# Subtest: by plan',
      '    1..0 # why not',
      'ok 3 - by plan # SKIP why not',
      'ok 4 - later # TODO',
      '1..4',
    ].join('\n'),
  );
  t.strictSame(heard, [
    'skipped by option: no device',
    'skipped from inside: no compiler',
    'skipped by plan: why not',
    'skipped later: to do',
  ]);
});

test('does not mention tests that --grep left out', async (t) => {
  const { heard } = read(['ok 1 - other # SKIP filter: /soak/', '1..1'].join('\n'));
  t.strictSame(heard, []);
});

test('fails a test that asserts nothing', async (t) => {
  const { heard } = read(['# Subtest: idle', '    1..0', 'ok 1 - idle # time=1ms', '1..1'].join('\n'));
  t.strictSame(heard, ['failure idle [asserts nothing: a test that cannot fail]', 'failed idle']);
});

test('fails the tests that were open when the file ended', async (t) => {
  const { heard, complete } = read(['# Subtest: crashes', '    ok 1 - so far'].join('\n'));
  t.strictSame(heard, ['failure crashes [ended without a result]', 'failed crashes']);
  t.equal(complete, false);
});

test('takes assertions outside of any test for one case', async (t) => {
  t.strictSame(read('ok 1 - a\nok 2 - b\n1..2').heard, ['passed (outside of any test)']);
  t.strictSame(read('ok 1 - a\nnot ok 2 - b\n1..2').heard, ['failure b []', 'failed (outside of any test)']);
});

test('passes on what is not TAP', async (t) => {
  const { heard } = read(
    ['# Subtest: prints', '    ok 1 - a', 'hello', '    1..1', 'ok 1 - prints', '1..1'].join('\n'),
  );
  t.strictSame(heard, ['stray hello', 'passed prints']);
});

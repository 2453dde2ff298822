import { readFileSync } from 'node:fs';
import { test } from 'tap';
import { metrics } from '../../../../../src/colo/observe/web/metric-table.ts';
import { milestones } from '../../../../../src/vmm/client/pair-answers.ts';

// What docs/operating.md says of figures is of figures that there are.

const operating = readFileSync(new URL('../../../../../docs/operating.md', import.meta.url), 'utf8');
const chapter = operating.slice(operating.indexOf('\n## Figures\n'), operating.indexOf('\n## Started at boot\n'));
const byName = new Map(metrics.map((metric) => [metric.name, metric]));

/** Expressions of the rules, by the names of their alarms. */
const rules = [...chapter.matchAll(/- alert: (\w+)\n +expr: (.+)\n/g)].map(([, alarm = '', expression = '']) => ({
  alarm,
  expression,
}));

test('rules ask for figures, labels and events that there are', async (t) => {
  t.ok(rules.length >= 7, `${rules.length} rules`);
  t.equal(rules.length, chapter.match(/- alert:/g)?.length);
  for (const { alarm, expression } of rules) {
    const asked = [...expression.matchAll(/(colo_vmm_\w+)(?:\{([^}]*)\})?/g)];
    t.ok(asked.length > 0, alarm);
    for (const [, name = '', selectors = ''] of asked) {
      const metric = byName.get(name);
      t.ok(metric !== undefined, `${alarm}: ${name}`);
      for (const [, label = '', , value = ''] of selectors.matchAll(/(\w+)(=~|!=|=)"([^"]*)"/g)) {
        t.ok(metric?.labels.includes(label), `${alarm}: ${name}{${label}}`);
        if (label !== 'event') continue;
        for (const event of value.split('|')) t.ok((milestones as readonly string[]).includes(event), event);
      }
    }
  }
});

test('a rule that alarms by a zero joins only figures that a VMM which hangs has, too', async (t) => {
  const { expression = '' } = rules.find(({ alarm }) => alarm === 'GuestUnprotected') ?? {};
  const asked = [...expression.matchAll(/colo_vmm_\w+/g)].map(([name]) => name);
  t.ok(asked.includes('colo_vmm_protected'));
  for (const name of asked) {
    t.equal(byName.get(name)?.samples(undefined, { name: 'mine', pair: 'web' }).length, 1, name);
  }
});

test('each figure stands in the table, with its labels, and each one in the table is a figure', async (t) => {
  const rows = [...chapter.matchAll(/^\| (`.*?) +\| /gm)].map(([, figures = '']) => figures);
  const listed = rows.flatMap((row) => [...row.matchAll(/`(\w+?)(\.\.\.)?(?:\{([\w,]+)\})?`/g)]);
  const matched = new Set<string>();
  for (const [, start = '', isPrefix, labels = ''] of listed) {
    const found = metrics.filter(({ name }) =>
      isPrefix === undefined ? name === `colo_vmm_${start}` : name.startsWith(`colo_vmm_${start}`),
    );
    t.ok(found.length > 0, start);
    for (const { name, labels: has } of found) {
      matched.add(name);
      t.equal(labels, has.join(','), `${name}: labels`);
    }
  }
  const missing = metrics.filter(({ name }) => !matched.has(name)).map(({ name }) => name);
  t.strictSame(missing, [], 'none is left out');
});

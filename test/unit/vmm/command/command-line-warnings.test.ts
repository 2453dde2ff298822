import { test } from 'tap';
import { commandLineWarnings } from '../../../../src/vmm/command/command-line-warnings.ts';

for (const word of ['acpi=off', 'noapic', 'nolapic', 'disableapic', 'nosmp', 'maxcpus=0']) {
  test(`warns of ${word}, and names it`, async (t) => {
    const warnings = commandLineWarnings(`console=ttyS0 ${word} quiet`);
    t.equal(warnings.length, 1);
    t.match(warnings[0], `warning: with ${word} on the kernel's command line the guest `);
  });
}

test('says nothing of other words, however like they are', async (t) => {
  t.strictSame(
    commandLineWarnings('console=ttyS0 nolapic_timer noapictimer acpi=offline nosmpx xnosmp maxcpus=01'),
    [],
  );
  t.strictSame(commandLineWarnings(''), []);
});

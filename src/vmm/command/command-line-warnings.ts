/** Words on a kernel's command line that take from Linux what this machine has nothing instead of, and what then is missing. */
const harmful: Readonly<Record<string, string>> = {
  'acpi=off': 'finds no disks, network cards or power button, and one CPU; it cannot power off',
  noapic: 'gets no interrupts from disks, network cards or the console',
  nolapic: 'gets no interrupts, and has one CPU',
  disableapic: 'gets no interrupts, and has one CPU',
  nosmp: 'gets no interrupts from disks, network cards or the console, and has one CPU',
  'maxcpus=0': 'gets no interrupts from disks, network cards or the console, and has one CPU',
};

/** What an operator should know of a kernel's command line before the guest goes silent. */
export function commandLineWarnings(commandLine: string): string[] {
  const words = new Set(commandLine.split(/\s+/));
  return Object.entries(harmful)
    .filter(([word]) => words.has(word))
    .map(([word, effect]) => `warning: with ${word} on the kernel's command line the guest ${effect}`);
}

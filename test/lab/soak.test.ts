import t from 'tap';
import { type LabGuest, labHost, patienceMs, startGuest } from '../support/lab-guest.ts';

/** Each may leave behind what a census finds after a few; a boot that fails once in a hundred wants more: `SOAK_BOOTS=100`. */
const boots = Number(process.env.SOAK_BOOTS ?? 4);

/** What a host has of everything that a VMM might leave behind. */
const census = [
  ['processes', 'ls /proc | grep -c "^[0-9]"'],
  ['threads', 'ls -d /proc/[0-9]*/task/[0-9]* | wc -l'],
  ['open files', 'cut -f1 /proc/sys/fs/file-nr'],
  ['temporary files', 'find /tmp /run /dev/shm /var/tmp -xdev 2>/dev/null | wc -l'],
  ['KVM machines', 'ls -d /sys/kernel/debug/kvm/*-* 2>/dev/null | wc -l'],
  ['network links', 'ls /sys/class/net | wc -l'],
] as const;

/** Each thread of each VMM: what it waits in, its state and processor time, its system call; then the host's sockets. */
const threadsOfVmm = `for pid in $(pidof node); do
  grep -q colo-vmm /proc/$pid/cmdline || continue
  for task in /proc/$pid/task/*; do
    echo $task $(cat $task/comm $task/wchan) $(cut -d' ' -f3,14,15 $task/stat) $(cat $task/syscall)
  done
done; ss -xap`;

t.test(`soak: ${boots} boots in a row fail never and leave nothing behind`, { timeout: 0 }, async (t) => {
  const { lab, host } = await labHost(t);
  await host.run('mkdir -p /sys/kernel/debug; mount -t debugfs none /sys/kernel/debug; true');

  /** What the VMM of a guest that is silent is doing, and whether looking at it made the guest speak. */
  const examine = async (guest: LabGuest): Promise<string> => {
    const before = guest.session.transcript.length;
    const { stdout, stderr } = await host.run(threadsOfVmm, { timeoutMs: patienceMs });
    return `${stdout}${stderr}said meanwhile: ${guest.session.transcript.slice(before)}`;
  };

  const count = async (): Promise<Record<string, number>> => {
    const counts: Record<string, number> = {};
    for (const [what, command] of census) {
      counts[what] = Number((await host.run(command, { timeoutMs: patienceMs })).stdout);
    }
    return counts;
  };

  for (const cpus of [1, 4]) {
    await t.test(`with ${cpus} vCPU${cpus > 1 ? 's' : ''}`, { timeout: 0 }, async (t) => {
      let before: Record<string, number> | undefined;
      const failures: string[] = [];
      for (let boot = 1; boot <= boots; boot++) {
        const guest = startGuest(lab, host, { cpus });
        try {
          await guest.session.login(patienceMs);
          const seen = await guest.session.run('nproc', patienceMs);
          guest.session.type('poweroff -f');
          const { status, report } = await guest.ended();
          if (seen !== String(cpus) || status !== 0)
            failures.push(`boot ${boot}: ${seen} CPUs, status ${status}: ${report}`);
        } catch (error) {
          failures.push(
            `boot ${boot}: ${error instanceof Error ? error.message : error}\n${await examine(guest).catch(String)}`,
          );
          guest.process.kill('SIGKILL');
          await guest.process.exit;
        }
        // The first one pays for what every host has once: loaded modules, folders, slabs.
        before ??= await count();
      }
      t.same(failures, [], `${boots} boots`);
      const after = await count();
      for (const [what] of census) {
        const slack = what === 'open files' ? 64 : 2; // the kernel counts files in batches; its own threads come and go
        t.ok(
          (after[what] ?? 0) <= (before?.[what] ?? 0) + slack,
          `${what}: ${before?.[what]} before, ${after[what]} after`,
        );
      }
    });
  }
  t.equal(lab.failure, undefined, 'the lab itself was sound');
});

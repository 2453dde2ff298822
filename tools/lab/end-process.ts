import type { ChildProcess } from 'node:child_process';

/** Kills a process of the lab and waits until it is gone. One that has ended already is no error. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise((resolve) => {
    child.once('exit', resolve);
    child.kill('SIGKILL');
  });
}

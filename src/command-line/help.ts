export const runHelp = `
In a terminal:
  Ctrl-A x ends the machine, Ctrl-A p presses its power button, Ctrl-A h helps.

Exit codes:
  0    the guest powered off (or you ended it with Ctrl-A x)
  1    bad input, or the VMM failed; one line says why
  2    the guest crashed: a triple fault, or a state that KVM cannot run
  3    the guest asked for a reboot, with --reboot exit
  4    the guest's kernel panicked (with --on-panic exit, and if it has a driver for pvpanic)
  5    the guest was handed over to the standby (colo-vmm switchover)
  6    the arbiter gave no answer, and nothing was begun; try again
  128+n  ended by signal n (129 also when standard input closes)

Protection:
  With --standby the guest runs at once, unprotected, and the standby is tried until it is there and whenever it was lost.
  With --listen a standby on any other host of the pair may take its place: colo-vmm standby --peer finds this one there.
  colo-vmm status says whether the guest is protected, and colo-vmm events what happened. --name is the pair's name.
  --on-event runs a shell command for each event (failover, unprotected, disk-error, ...): docs/operating.md, Being told.
  --metrics serves figures for Prometheus, whatever role this process has or takes: docs/operating.md, Figures.
  --dashboard serves a page with the words of colo-vmm status and charts; nothing can be changed on it.

Disks:
  werror sets what happens when a write fails: report it to the guest, stop the machine, or (enospc, the default)
  stop it when the host's disk is full and report all other errors. A stopped machine retries the write on colo-vmm resume.
  A flush that fails is always reported to the guest.
  path= is a raw disk; a file that looks like an image of another format is refused unless format=raw is given.
  sector= is the sector size that the guest sees (default 512, whatever the host's device has).
  With overlay=FILE the disk itself is only read, and FILE holds what the guest writes; it is made if it is not there.

Examples:
  colo-vmm run --kernel /boot/vmlinuz --initrd root.cpio --cmdline 'console=ttyS0 quiet' --memory 512M --cpus 2
  colo-vmm run --kernel vmlinuz --cmdline 'console=ttyS0 root=/dev/vda rw' --disk path=root.img --net tap=tap0
  colo-vmm run --name web --kernel vmlinuz --disk path=web.img --net tap=tap0,bridge=br0 \\
      --standby b.example:7000 --listen 0.0.0.0:7000 --tls dir=/etc/colo-vmm/a.example --arbiter etcd:http://c.example:2379`;

export const snapshotHelp = `
The guest keeps running while its memory is written, and is paused only briefly at the end. The file replaces an older
snapshot of that name, and appears only once all of it is on the disk; if writing fails or the VMM dies, no file is left.
Interrupting this command does not interrupt the snapshot.

Disks are not in it: restore needs disks with the contents that they had at that moment. So end the machine with --stop,
or copy its disks while it is paused.

Restoring an incremental snapshot needs every file since the last full one. A full one is written automatically when one of
those files is gone or was replaced, or when there are 100. The report says which kind was written.

Examples:
  colo-vmm snapshot --stop web.snap
  colo-vmm snapshot --vm web --incremental monday.snap
  colo-vmm pause && cp --sparse=always root.img root.copy && colo-vmm snapshot web.snap && colo-vmm resume`;

export const restoreHelp = `
The machine has the CPUs, memory, disks, network cards and entropy device that it had. Its disks must have the contents that
they had when the snapshot was taken. All files of the snapshot are verified first, and must not change while the machine
runs: guest memory is mapped from them and read on demand.

Terminal and exit codes are as with colo-vmm run. --on-event runs a shell command when a disk fails (disk-error).

Examples:
  colo-vmm snapshot --vm web --stop web.snap
  colo-vmm restore web.snap --name web
  colo-vmm restore web.snap --disk id=root,path=copy.img --net tap=tap7
  colo-vmm restore web.snap --paused`;

export const keysHelp = `
Each host gets a folder with its private key, its certificate and the pair's authority: copy it to that host, readable by root
only, and name it there with --tls dir=. Whoever has it can take part in the pair.

FOLDER/authority signs them. It is needed again only to add a host: keep it where no host of the pair can read it.

Examples:
  colo-vmm keys --pair web --hosts a.example,b.example web-keys
  colo-vmm keys --pair web --hosts c.example web-keys             # a third one, later`;

export const standbyHelp = `
It waits for a primary (colo-vmm run --standby, or colo-vmm protect), takes over its guest when it is lost, and runs in the
foreground until the guest ends. CPUs, memory and what was booted are the primary's; disks and network cards are this host's, in
the same order, disks with the same ids and sizes. Disks are made equal first, so what is on them is lost.

When the hosts lose each other, one goes on: the one to which the arbiter says yes. With --arbiter manual nobody goes on
until an operator says colo-vmm failover on the host that is to, and has made sure that the other one is off or cut off. With file:FOLDER
both hosts mount the same file system there, in which somebody made the file colo-vmm-arbiter, once: what a mount point lacks.

After a failover this machine is the guest's, and waits on the same address for a standby: colo-vmm standby --peer on the repaired host,
or on another one, finds it (of several hosts, separated by commas, the one that has the guest), and the guest is protected again.
A reset begins the guest anew here, as it did there: what it boots came with the pair, into the --state folder.

Exit codes are those of colo-vmm run; 0 also if the guest powered off on the primary.

Examples:
  colo-vmm standby --name web --listen 0.0.0.0:7000 --disk path=web.img --net tap=tap0,bridge=br0 \\
      --tls dir=/etc/colo-vmm/b.example --arbiter etcd:http://c.example:2379
  colo-vmm standby --name web --listen 0.0.0.0:7000 --peer b.example:7000 --disk path=web.img --net tap=tap0,bridge=br0 \\
      --tls dir=/etc/colo-vmm/a.example --arbiter etcd:http://c.example:2379
  colo-vmm standby --name test --listen 127.0.0.1:7000 --insecure --arbiter manual --serial none`;

export const protectHelp = `
It stays until the guest is protected, and shows what is done; if it is interrupted, that goes on. It fails if the standby
cannot take over this machine, and says why. With --listen the machine waits for others as well: a standby with --peer finds it.
A guest that was started without --standby may have RDRAND and RDSEED, by which two copies of it differ; start it with
--cpu-mask rdrand,rdseed if that matters.

Examples:
  colo-vmm protect --standby b.example:7000 --tls dir=/etc/colo-vmm/a.example --arbiter etcd:http://c.example:2379
  colo-vmm protect --vm web --standby 10.0.0.2:7000 --insecure --arbiter manual
  colo-vmm protect --standby 10.0.0.2:7000 --insecure --arbiter manual --flow port=443,policy=buffer`;

export const failoverHelp = `
Says on this host that the other one is lost, and that this one is to go on: with --arbiter manual that is the yes it waits for;
any other arbiter is asked. On a primary whose standby is well it is refused. To move a guest, say colo-vmm switchover on its primary.

With --i-am-sure the operator is the arbiter: this host goes on whatever anybody else says. If the other one goes on as well, clients
see two machines with one address, and what one of them did is lost. So first make sure that it is off, or cut off from all clients.

Examples:
  colo-vmm failover
  colo-vmm failover --vm web --i-am-sure`;

export const backupHelp = `
Ask the standby, on its host: the primary is not touched, and protection goes on. The folder is made with a raw file for each disk,
sparse, and with backup.json, which says what it is of. It appears only once all of it is on the disk: if that fails, no folder is left.

All disks are as they were at one checkpoint, as after a power cut of a guest. A backup that is in the way of what the guest writes ends,
and so does one on a standby that takes over. Interrupting this command does not interrupt the backup; status shows how far it is.

Example, on the standby's host:
  colo-vmm backup /backup/web-monday --vm web
  colo-vmm run --kernel vmlinuz --disk path=/backup/web-monday/disk0.img`;

export const switchoverHelp = `
For maintenance of the primary's host. A last checkpoint, then the guest runs on the standby, unprotected; clients notice a short
pause. Nobody is asked, and nothing is lost. This machine's process ends with exit code 5: start colo-vmm standby here then, or
when the host is back. It is refused where there is no standby that could take over.

Examples:
  colo-vmm switchover
  colo-vmm switchover --vm web`;

export const eventsHelp = `
Times are this host's. With --all, the messages of checkpoints are there too: hundreds a second.

Examples:
  colo-vmm events
  colo-vmm events --follow --json
  colo-vmm events --all | grep checkpoint`;

export const statusHelp = `
Of a machine in a pair, the first line says whether its guest is safe: PROTECTED, PROTECTING (the standby's word for the same),
PAIRING, LISTENING, UNPROTECTED, WAITING, TAKEOVER, FENCED or ENDED. docs/operating.md has what each line means, and what to do.

Examples:
  colo-vmm status --watch
  colo-vmm status --why
  colo-vmm status --vm web --json`;

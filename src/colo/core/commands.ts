/** What a command is refused with. The first two are QEMU's, word for word. */
export const refusals = {
  noColo: "The feature 'colo' is not enabled",
  failingOver: 'COLO failover is already activated',
  protectedAlready: 'this machine is protected already',
  protecting: 'this machine is being protected already',
  fenced: 'this machine was fenced: its pair went on elsewhere',
  notProtected: 'this machine is not protected',
  standbyIsWell: 'the standby is well: nothing has failed. To end protection: unprotect',
  switching: 'a switchover is under way',
  guestEnds: 'the guest has ended',
  notASecondarys: 'this is the secondary of its pair: ask the primary',
  notReady: 'this standby has no checkpoint yet: it cannot take over',
} as const;

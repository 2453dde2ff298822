/**
 * Typed addresses. Both are byte addresses held in a plain number: every address a guest can have
 * (and every user-space address of x86-64) is below 2^53, so a number is exact and costs no allocation.
 */

declare const gpaBrand: unique symbol;
declare const hvaBrand: unique symbol;

/** Guest-physical address, in bytes. */
export type Gpa = number & { readonly [gpaBrand]: true };

/** Host-virtual address in this process, in bytes. Valid in every thread, in no other process. */
export type Hva = number & { readonly [hvaBrand]: true };

/** Names `address` as guest-physical. It checks nothing: {@link GuestMemory} checks every use. */
export function gpa(address: number): Gpa {
  return address as Gpa;
}

/** Names `address` as host-virtual. */
export function hva(address: number): Hva {
  return address as Hva;
}

/** Bytes in a page: KVM's dirty log, the page tables and the checkpoint all count in this unit. */
export const pageSize = 4096;

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

/** `value` rounded down to a multiple of `unit`, a power of two. */
export function alignDown(value: number, unit: number): number {
  return value - (value % unit);
}

/** `value` rounded up to a multiple of `unit`. */
export function alignUp(value: number, unit: number): number {
  return alignDown(value + unit - 1, unit);
}

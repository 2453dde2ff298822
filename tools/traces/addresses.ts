/** Documentation addresses (RFC 5737, 3849), and Ethernet addresses that nobody was given. */
export const addresses = {
  guest: { ethernet: [2, 0, 0, 0, 0, 1], 4: '192.0.2.1', 6: '2001:db8::1' },
  client: { ethernet: [2, 0, 0, 0, 0, 7], 4: '192.0.2.7', 6: '2001:db8::7' },
} as const;
export type End = keyof typeof addresses;

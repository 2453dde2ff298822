/** What the io thread tells. */
export type IoReport =
  /** For the operator to know. */
  | { readonly kind: 'notice'; readonly text: string }
  /** A disk cannot be written, and the machine is to stop until somebody has mended that. */
  | { readonly kind: 'stop'; readonly text: string };

import type { HostPort } from '../../command/host-port.ts';

/** What is served, and where. */
export interface WebService {
  readonly what: 'metrics' | 'dashboard';
  readonly at: HostPort;
}

/** What the web thread is born with. */
export interface WebBirth {
  readonly thread: 'web';
  readonly services: readonly WebService[];
  /** Path of the machine's control socket. */
  readonly control: string;
  /** Folder with the dashboard's page. */
  readonly page: string;
}

/** What it says first: it serves, or why it cannot. */
export type WebReport = { readonly serves: true } | { readonly failed: string };

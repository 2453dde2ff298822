import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Test } from 'tap';
import { until } from './host-rig.ts';

interface Transaction {
  readonly compare: readonly [{ readonly mod_revision?: string }];
  readonly success: readonly [{ readonly request_put: { readonly value: string } }];
}

/** An etcd with one key. */
export async function smallEtcd(t: Test) {
  let revision = 0;
  let value = '';
  let isDown = false;
  let answersWrites: 'at once' | 'later' | 'never' = 'at once';
  let late: (() => void)[] = [];
  let waiting: (() => void)[] | undefined;
  const answer = (body: Partial<Transaction>): object => {
    if (body.compare === undefined) return revision === 0 ? {} : { kvs: [{ value, mod_revision: `${revision}` }] };
    if (Number(body.compare[0].mod_revision ?? 0) !== revision) return {};
    value = body.success?.[0].request_put.value ?? '';
    revision++;
    return { succeeded: true };
  };
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => {
      text += chunk;
    });
    request.once('end', () => {
      const serve = (): void => {
        if (isDown) response.destroy();
        else {
          const body = JSON.parse(text);
          const known = JSON.stringify(answer(body));
          const tell = (): unknown => response.end(known);
          if (body.compare === undefined || answersWrites === 'at once') tell();
          else if (answersWrites === 'later') late.push(tell);
          else response.destroy();
        }
      };
      if (waiting === undefined) serve();
      else waiting.push(serve);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  /** Who has which term. */
  const known = (): { readonly term?: number; readonly holder?: string } =>
    JSON.parse(Buffer.from(value, 'base64').toString('utf8') || '{}');
  return {
    url: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    known,
    knows: (term: number) => until(() => known().term === term),
    /** It answers nobody. */
    isDown: (down: boolean): void => {
      isDown = down;
    },
    /** When whoever has it write hears that it has. */
    answersWrites: (when: typeof answersWrites): void => {
      answersWrites = when;
      for (const tell of late) tell();
      late = [];
    },
    /** Questions wait until they are let go; how many do. */
    holds: () => {
      waiting = [];
      return {
        held: (): number => waiting?.length ?? 0,
        letGo: (): void => {
          const all = waiting ?? [];
          waiting = undefined;
          for (const serve of all) serve();
        },
      };
    },
  };
}

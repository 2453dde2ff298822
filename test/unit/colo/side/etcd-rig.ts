import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Test } from 'tap';
import { until } from './host-rig.ts';

interface Transaction {
  readonly compare: readonly [{ readonly mod_revision?: string }];
  readonly success: readonly [{ readonly request_put: { readonly value: string } }];
}

/** An etcd with one key, which answers nobody while it is down. */
export async function smallEtcd(t: Test) {
  let revision = 0;
  let value = '';
  let isDown = false;
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
      if (isDown) response.destroy();
      else response.end(JSON.stringify(answer(JSON.parse(text))));
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
    isDown: (down: boolean): void => {
      isDown = down;
    },
  };
}

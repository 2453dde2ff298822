import t from 'tap';
import { redisViolations, wrkViolations } from '../../../../../tools/chaos/lab/load-tools.ts';

const said = (...lines: string[]): string => `Running 15s test @ http://10.77.0.100:80/
  1 threads and 2 connections
  177 requests in 15.01s, 21.50KB read
${lines.join('\n')}
Requests/sec:     11.80
`;

t.test('wrk that was answered by the page all the time is right', async (t) => {
  t.same(wrkViolations({ status: 0, text: said() }), []);
});

t.test('what wrk counts as an error is told, unless it is a connection that nobody answered', async (t) => {
  const errors = (text: string): string[] => wrkViolations({ status: 0, text: said(`  Socket errors: ${text}`) });
  t.same(errors('connect 2, read 0, write 0, timeout 0'), []);
  t.match(errors('connect 0, read 1, write 0, timeout 0'), [/wrk: errors of connections: read 1, write 0, timeout 0/]);
  t.match(errors('connect 0, read 0, write 3, timeout 0'), [/write 3/]);
  t.match(errors('connect 0, read 0, write 0, timeout 10'), [/timeout 10/]);
  t.match(wrkViolations({ status: 0, text: said('  Non-2xx or 3xx responses: 13') }), [/13 answers were not the page/]);
  t.match(wrkViolations({ status: 0, text: said().replace('177', '0') }), [/wrk: nobody was answered/]);
  t.match(wrkViolations({ status: 1, text: 'unable to connect' }), [/wrk: it ended with 1: unable to connect/]);
});

t.test('redis-benchmark asks until it is ended', async (t) => {
  t.same(redisViolations({ status: null, text: 'SET: 12.00 requests per second' }), []);
  const text = 'Error: Server closed the connection\n';
  t.match(redisViolations({ status: 1, text }), [/redis-benchmark: it ended with 1: Error: Server closed/]);
});

import { readdirSync } from 'node:fs';
import { Counter, Gauge, Registry } from 'prom-client';
import type { MachineWatch } from './machine-watch.ts';
import { type Metric, metrics } from './metric-table.ts';
import type { Page } from './read-only-server.ts';

/** Figures of the process, by the names that Prometheus' own libraries have for them. */
const processMetrics: readonly Metric[] = [
  {
    ...{ name: 'process_cpu_seconds_total', kind: 'counter', labels: [] },
    help: 'Processor time of this process, user and system, with that of its vCPUs.',
    samples: () => {
      const { user, system } = process.cpuUsage();
      return [{ value: (user + system) / 1e6 }];
    },
  },
  {
    ...{ name: 'process_resident_memory_bytes', kind: 'gauge', labels: [] },
    help: 'Resident memory of this process, with what the guest uses of its own.',
    samples: () => [{ value: process.memoryUsage.rss() }],
  },
  {
    ...{ name: 'process_start_time_seconds', kind: 'gauge', labels: [] },
    help: 'When this process began, in seconds since 1970.',
    samples: () => [{ value: Math.round(Date.now() / 1000 - process.uptime()) }],
  },
  {
    ...{ name: 'process_open_fds', kind: 'gauge', labels: [] },
    help: 'Open file descriptors of this process.',
    samples: () => [{ value: readdirSync('/proc/self/fd').length }],
  },
];

/** The page `/metrics`, in Prometheus' text format. Its figures are those of the moment. */
export async function metricsPage(watch: MachineWatch): Promise<Page> {
  const heard = await watch.now();
  const status = 'status' in heard ? heard.status : undefined;
  // Made anew each time: what is not said any more must not stay.
  const registry = new Registry();
  for (const { name, help, kind, labels, samples } of [...metrics, ...processMetrics]) {
    const said = samples(status, watch.identity);
    if (said.length === 0) continue;
    const options = { name, help, labelNames: [...labels], registers: [registry] };
    if (kind === 'counter') {
      const counter = new Counter(options);
      for (const sample of said) counter.inc(sample.labels ?? {}, sample.value);
    } else {
      const gauge = new Gauge(options);
      for (const sample of said) gauge.set(sample.labels ?? {}, sample.value);
    }
  }
  return { type: registry.contentType, body: await registry.metrics() };
}

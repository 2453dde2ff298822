import t from 'tap';
import { parseIperf, parseSockperf } from '../../../../tools/bench/net-tools.ts';

const mib = 1024 * 1024;

/** The end of what an iperf3 3.12 client printed with -J; received is what the server counted. */
const iperf = (received: object): string =>
  JSON.stringify({
    start: { connected: [{ socket: 5, local_host: '127.0.0.1' }] },
    intervals: [],
    end: { streams: [], sum_sent: { start: 0, end: 0.130711, seconds: 0.130711, bytes: 209715200 }, ...received },
  });
const tcp = iperf({
  sum_received: {
    start: 0,
    end: 0.131,
    seconds: 0.131,
    bytes: 205783040,
    bits_per_second: 12558371182.9,
    sender: true,
  },
});
const udp = iperf({
  sum: { start: 0, end: 0.153138, seconds: 0.153138, bytes: 1280000, lost_packets: 8068, packets: 20000 },
  sum_received: { start: 0, end: 0.153138, seconds: 0.153138, bytes: 755968, lost_packets: 8068, packets: 19880 },
});

const sockperf = `sockperf: \u001b[2;35m== version #3.7-no.git == \u001b[0m
[ 0] IP = 127.0.0.1       PORT = 11119 # TCP
sockperf: Test ended
sockperf: [Total Run] RunTime=1.001 sec; Warm up time=400 msec; SentMessages=58048; ReceivedMessages=58047
sockperf: ========= Printing statistics for Server No: 0
sockperf: [Valid Duration] RunTime=0.550 sec; SentMessages=33101; ReceivedMessages=33101
sockperf: \u001b[2;35m====> avg-latency=8.297 (std-dev=11.288)\u001b[0m
`;

t.test('of a stream counts what arrived, not what was sent', async (t) => {
  t.strictSame(parseIperf(tcp, mib), { requests: 196.25, seconds: 0.131 });
});

t.test('of packets counts those that arrived', async (t) => {
  t.strictSame(parseIperf(udp, 64), { requests: 11812, seconds: 0.153138 });
});

t.test('refuses a run of iperf3 that failed, with its own reason', async (t) => {
  t.throws(() => parseIperf('{"end":{},"error":"idle timeout for receiving data"}', 64), /idle timeout/);
  t.throws(() => parseIperf('iperf3: error - unable to connect', 64), /gave no JSON: iperf3: error/);
  t.throws(() => parseIperf(iperf({}), 64), /what arrived/);
  t.throws(() => parseIperf(iperf({ sum_received: { bytes: 0, seconds: 2 } }), 64), /what arrived/);
});

t.test('round trips count without the warm-up, which the VMM carried all the same', async (t) => {
  t.strictSame(parseSockperf(sockperf), { requests: 33101, seconds: 0.55, uncounted: 58047 - 33101 });
});

t.test('all round trips count when none falls into the middle of the run', async (t) => {
  const all = { requests: 58047, seconds: 1.001, uncounted: 0 };
  t.strictSame(parseSockperf(sockperf.replaceAll('ReceivedMessages=33101', 'ReceivedMessages=0')), all);
  const without = sockperf.replace(/.*Valid Duration.*/, 'sockperf: No valid observations found.');
  t.strictSame(parseSockperf(without), all);
});

t.test('refuses a run of sockperf without answers', async (t) => {
  t.throws(() => parseSockperf("sockperf: ERROR: Can't connect socket"), /Can't connect/);
  t.throws(() => parseSockperf(sockperf.replaceAll(/ReceivedMessages=\d+/g, 'ReceivedMessages=0')), /answers/);
});

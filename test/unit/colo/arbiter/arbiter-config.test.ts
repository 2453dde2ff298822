import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { commonPart, parseArbiter } from '../../../../src/colo/arbiter/arbiter-config.ts';

test('reads manual, and one or several members of an etcd cluster', (t) => {
  t.strictSame(parseArbiter('manual'), { kind: 'manual' });
  t.strictSame(parseArbiter('etcd:http://c.example:2379'), {
    kind: 'etcd',
    etcd: { endpoints: ['http://c.example:2379'], prefix: '/colo-vmm/' },
  });
  t.match(parseArbiter('etcd:http://a:2379,https://[fd00::1]:2379,prefix=/lab/'), {
    etcd: { endpoints: ['http://a:2379', 'https://[fd00::1]:2379'], prefix: '/lab/' },
  });
  t.end();
});

test('reads a folder, from where the command is given, and does not look at it', (t) => {
  t.strictSame(parseArbiter('file:/srv/arbiter'), { kind: 'file', folder: '/srv/arbiter' });
  t.strictSame(parseArbiter('file:with,comma'), { kind: 'file', folder: join(process.cwd(), 'with,comma') });
  t.end();
});

test('hosts agree on what they have in common: not where a cluster or a folder is', (t) => {
  const common = (text: string): string => commonPart(parseArbiter(text));
  t.equal(common('etcd:http://a:2379'), common('etcd:http://b:2379'));
  t.equal(common('file:/srv/one'), common('file:/mnt/other'));
  t.equal(new Set(['manual', 'file:/a', 'etcd:http://a:1', 'etcd:http://a:1,prefix=/x/'].map(common)).size, 4);
  t.end();
});

test('takes secrets from files, a password without its line end', (t) => {
  const folder = t.testdir({ password: 'open sesame\n', ca: 'CA', cert: 'CERT', key: 'KEY' });
  const file = (name: string): string => join(folder, name);
  t.match(
    parseArbiter(
      `etcd:https://a:2379,user=vmm,password-file=${file('password')},cacert=${file('ca')},cert=${file('cert')},key=${file('key')}`,
    ),
    { etcd: { user: { name: 'vmm', password: 'open sesame' }, tls: { ca: 'CA', cert: 'CERT', key: 'KEY' } } },
  );
  t.end();
});

test('refuses what is no arbiter, and says what would be', (t) => {
  const folder = t.testdir();
  writeFileSync(join(folder, 'key'), 'KEY');
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['', /give manual, file:FOLDER or etcd:URL/],
    ['file:', /give a folder on a file system that both hosts mount/],
    ['file', /give manual, file:FOLDER or etcd:URL/],
    ['etcd', /give manual, file:FOLDER or etcd:URL/],
    ['etcd:', /"" is neither a URL/],
    ['etcd:prefix=/x/', /give manual, file:FOLDER or etcd:URL/],
    ['etcd:c.example:2379', /"c\.example:2379" is neither a URL such as http:\/\/c\.example:2379 nor a key/],
    ['etcd:ftp://c:21', /is neither a URL/],
    ['etcd:http://a:2379,colour=red', /"colour=red" is neither a URL.*known are prefix, user/],
    ['etcd:http://a:2379,prefix=/a/,prefix=/b/', /prefix= is there twice/],
    ['etcd:http://me:secret@a:2379', /can be read by everybody; give user= and password-file=/],
    ['etcd:http://a:2379,user=me', /user= and password-file= belong together/],
    [`etcd:https://a:2379,key=${join(folder, 'key')}`, /cert= and key= belong together/],
    ['etcd:https://a:2379,cacert=/nowhere', /cacert=\/nowhere: ENOENT/],
  ];
  for (const [text, message] of wrong) t.throws(() => parseArbiter(text), { code: 'CONFIG', message }, text);
  t.end();
});

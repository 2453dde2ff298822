import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { commonPart, parseArbiter } from '../../../../src/colo/arbiter/arbiter-config.ts';
import { makeAuthority, signHost } from '../../../../src/colo/keys/pair-authority.ts';

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

test('takes secrets from files, a password without its line end', async (t) => {
  const authority = await makeAuthority('etcd', 2);
  const { certificate, key } = await signHost(authority, { pair: 'etcd', host: 'a.example', days: 2 });
  const folder = t.testdir({ password: 'open sesame\n', ca: authority.certificate, cert: certificate, key });
  const file = (name: string): string => join(folder, name);
  t.match(
    parseArbiter(
      `etcd:https://a:2379,user=vmm,password-file=${file('password')},cacert=${file('ca')},cert=${file('cert')},key=${file('key')}`,
    ),
    {
      etcd: {
        user: { name: 'vmm', password: 'open sesame' },
        tls: { ca: authority.certificate, cert: certificate, key },
      },
    },
  );
});

test('refuses certificates and keys that no connection could use, and names the file', async (t) => {
  const authority = await makeAuthority('etcd', 2);
  const [own, other, old] = await Promise.all(
    [2, 2, -1].map((days) => signHost(authority, { pair: 'etcd', host: 'a.example', days })),
  );
  const folder = t.testdir({
    junk: 'junk',
    cert: own?.certificate ?? '',
    key: own?.key ?? '',
    otherKey: other?.key ?? '',
    oldCert: old?.certificate ?? '',
    oldKey: old?.key ?? '',
  });
  const file = (name: string): string => join(folder, name);
  const wrong: readonly (readonly [string, RegExp])[] = [
    [`cacert=${file('junk')}`, /: cacert=\S+junk is not a certificate in PEM form$/],
    [`cert=${file('junk')},key=${file('key')}`, /: cert=\S+junk is not a certificate in PEM form$/],
    [`cert=${file('cert')},key=${file('junk')}`, /: key=\S+junk does not belong to cert=\S+cert, or is not a key/],
    [`cert=${file('cert')},key=${file('otherKey')}`, /: key=\S+otherKey does not belong to cert=\S+cert/],
    [`cert=${file('oldCert')},key=${file('oldKey')}`, /: cert=\S+oldCert expired on /],
  ];
  for (const [files, message] of wrong) {
    t.throws(() => parseArbiter(`etcd:https://a:2379,${files}`), { code: 'CONFIG', message }, files);
  }
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
    ['etcd:http://a:2379/proxy', /"http:\/\/a:2379\/proxy": a member's URL has no path.*give http:\/\/a:2379$/],
    ['etcd:http://a:2379/?x=1', /has no path, query or fragment/],
    ['etcd:http://a:2379#x', /has no path, query or fragment/],
    ['etcd:http://a:2379,user=me', /user= and password-file= belong together/],
    [`etcd:https://a:2379,key=${join(folder, 'key')}`, /cert= and key= belong together/],
    ['etcd:https://a:2379,cacert=/nowhere', /cacert=\/nowhere: ENOENT/],
  ];
  for (const [text, message] of wrong) t.throws(() => parseArbiter(text), { code: 'CONFIG', message }, text);
  t.end();
});

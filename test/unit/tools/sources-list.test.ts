import t from 'tap';
import {
  formatDeb822Sources,
  parseDeb822Sources,
  parseOneLineSources,
  sourcesForSuites,
} from '../../../tools/packages/sources-list.ts';

t.test('one-line sources', async (t) => {
  const text = `# a comment
deb http://mirror.example/debian bookworm main contrib # and why
deb-src http://mirror.example/debian bookworm main
  deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] https://other.example/ stable main
deb [trusted=yes] file:/srv/mirror bookworm main
`;
  t.same(parseOneLineSources(text), [
    { uri: 'http://mirror.example/debian', suite: 'bookworm', components: ['main', 'contrib'] },
    { uri: 'https://other.example/', suite: 'stable', components: ['main'], signedBy: '/usr/share/keyrings/x.gpg' },
    { uri: 'file:/srv/mirror', suite: 'bookworm', components: ['main'], trusted: true },
  ]);
});

const deb822 = `# made by hand
Types: deb deb-src
URIs: http://a.example/debian http://b.example/debian
Suites: bookworm
# in the middle
 bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://c.example/debian
Suites: sid
Components: main
Enabled: no

Types: deb-src
URIs: http://d.example/debian
Suites: sid
Components: main
`;

t.test('deb822 sources: every URI with every suite, continued lines, embedded keys', async (t) => {
  const sources = parseDeb822Sources(deb822);
  t.same(
    sources.map(({ uri, suite }) => `${uri} ${suite}`),
    [
      'http://a.example/debian bookworm',
      'http://a.example/debian bookworm-updates',
      'http://b.example/debian bookworm',
      'http://b.example/debian bookworm-updates',
    ],
  );
  t.match(sources[0]?.signedBy, /BEGIN PGP[\s\S]*\n \.\n abc\n/);
});

t.test('disabled stanzas and source-only stanzas do not count', async (t) => {
  t.notOk(parseDeb822Sources(deb822).some(({ suite }) => suite === 'sid'));
});

t.test('what is written reads back as it was', async (t) => {
  const sources = [
    ...parseDeb822Sources(deb822),
    { uri: 'file:/srv/mirror', suite: 'bookworm', components: ['main'], trusted: true },
  ];
  t.same(parseDeb822Sources(formatDeb822Sources(sources)), sources);
});

t.test('other suites come from the mirror of the machine, security from its own', async (t) => {
  const machine = parseOneLineSources(`deb http://tools.example/ stable main
deb http://mirror.example/debian trixie main contrib
deb http://safe.example/debian trixie-security main
`);
  t.same(sourcesForSuites(machine, 'trixie', ['bookworm', 'bookworm-security']), [
    { uri: 'http://mirror.example/debian', suite: 'bookworm', components: ['main'] },
    { uri: 'http://safe.example/debian', suite: 'bookworm-security', components: ['main'] },
  ]);
});

t.test('a machine without a security mirror goes without', async (t) => {
  const machine = parseOneLineSources('deb http://mirror.example/debian bookworm main\n');
  t.same(
    sourcesForSuites(machine, 'bookworm', ['bookworm', 'bookworm-security']).map(({ suite }) => suite),
    ['bookworm'],
  );
});

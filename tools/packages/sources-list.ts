/**
 * The machine's apt sources, read in both formats of sources.list(5): one line an entry (`*.list`) and
 * deb822 stanzas (`*.sources`). Only binary entries count; disabled ones do not.
 */
export interface AptSource {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
  /** A keyring's path, a fingerprint or a whole key, as the entry had it. */
  readonly signedBy?: string;
  /** `trusted=yes`: a mirror whose signature the machine's owner chose not to check. */
  readonly trusted?: boolean;
}

/** Entries of a one-line-style file. Lines that are no entry are skipped, as apt would complain about them itself. */
export function parseOneLineSources(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split('\n')) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s*([^#]*)/.exec(line);
    if (match === null) continue;
    const [, options = '', uri = '', suite = '', components = ''] = match;
    const option = (name: string) => new RegExp(`(?:^|\\s)${name}=(\\S+)`).exec(options)?.[1];
    sources.push(
      source(uri, suite, components.split(/\s+/).filter(Boolean), option('signed-by'), option('trusted') === 'yes'),
    );
  }
  return sources;
}

/** Entries of a deb822-style file: one for each URI and suite a stanza names. */
export function parseDeb822Sources(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const stanza of text.split(/\n[ \t]*\n/)) {
    const fields = parseStanza(stanza);
    const words = (name: string) => (fields.get(name) ?? '').split(/\s+/).filter(Boolean);
    if (!words('types').includes('deb') || /^(no|false|0)$/i.test(fields.get('enabled') ?? '')) continue;
    const trusted = /^yes$/i.test(fields.get('trusted') ?? '');
    for (const uri of words('uris')) {
      for (const suite of words('suites')) {
        sources.push(source(uri, suite, words('components'), fields.get('signed-by'), trusted));
      }
    }
  }
  return sources;
}

function source(
  uri: string,
  suite: string,
  components: readonly string[],
  signedBy: string | undefined,
  trusted: boolean,
): AptSource {
  return {
    uri,
    suite,
    components,
    ...(signedBy === undefined ? {} : { signedBy }),
    ...(trusted ? { trusted } : {}),
  };
}

/** Fields by lower-case name. Continuation lines are kept as they are: an embedded key needs them. */
function parseStanza(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let name = '';
  for (const line of stanza.split('\n')) {
    if (line.startsWith('#')) continue;
    const field = /^([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*)$/.exec(line);
    if (field !== null) {
      name = (field[1] ?? '').toLowerCase();
      fields.set(name, field[2] ?? '');
    } else if (name !== '' && /^[ \t]/.test(line)) {
      fields.set(name, `${fields.get(name)}\n${line}`);
    }
  }
  return fields;
}

/** Writes `sources` as deb822 stanzas, the format that can hold an embedded key. */
export function formatDeb822Sources(sources: readonly AptSource[]): string {
  return sources
    .map((entry) =>
      [
        'Types: deb',
        `URIs: ${entry.uri}`,
        `Suites: ${entry.suite}`,
        `Components: ${entry.components.join(' ')}`,
        ...(entry.signedBy === undefined ? [] : [`Signed-By: ${entry.signedBy}`]),
        ...(entry.trusted ? ['Trusted: yes'] : []),
      ].join('\n'),
    )
    .join('\n\n')
    .concat('\n');
}

/**
 * Sources for `suites` from the mirror that `machine` uses for `machineSuite`, its own release. A security
 * suite comes from the mirror the machine has for that, and is left out when it has none.
 */
export function sourcesForSuites(
  machine: readonly AptSource[],
  machineSuite: string,
  suites: readonly string[],
): AptSource[] {
  const isMain = (entry: AptSource) => entry.components.includes('main') && !entry.uri.startsWith('cdrom:');
  const mirror = machine.find((entry) => isMain(entry) && entry.suite === machineSuite);
  const security = machine.find((entry) => isMain(entry) && entry.suite === `${machineSuite}-security`);
  return suites.flatMap((suite) => {
    const from = suite.endsWith('-security') ? security : mirror;
    return from === undefined ? [] : [{ ...from, suite, components: ['main'] }];
  });
}

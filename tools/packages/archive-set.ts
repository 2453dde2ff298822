import { downloadPackages } from './apt.ts';
import { fetchOnce, type PackageRequest } from './fetch-once.ts';

/** Packages with all they need to be installed, as archives (`.deb`): for a root where their scripts do run. */
export interface ArchiveSet {
  /** The folder of the archives. */
  readonly folder: string;
  readonly versions: Readonly<Record<string, string>>;
  /** Changes when any version does. */
  readonly key: string;
}

const archivesFormat = 101;

/** Fetches `request.names` and every package that Debian calls essential. */
export async function fetchArchives(request: PackageRequest): Promise<ArchiveSet> {
  const { entry, versions, key } = await fetchOnce(
    { ...request, names: ['?essential', ...request.names] },
    {
      kind: 'archives',
      format: archivesFormat,
      scriptsRun: true,
      fill: async (directory, { apt, packages, progress }) => {
        await downloadPackages(apt, packages, directory, progress);
      },
    },
  );
  return { folder: entry, versions, key };
}

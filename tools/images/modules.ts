/**
 * Kernel modules and what they need, from the files depmod(8) writes. Names follow the kernel: `-` and `_` are
 * the same, and a file's endings (`.ko`, `.ko.xz`) do not belong to the name.
 */
export interface ModuleIndex {
  /** Path below the modules folder, by module name. */
  readonly paths: ReadonlyMap<string, string>;
  /** Names of what must be loaded before, by module name. */
  readonly needs: ReadonlyMap<string, readonly string[]>;
  /** Names of modules that are part of the kernel image. */
  readonly builtin: ReadonlySet<string>;
}

/** The module's name from its file's path: `kernel/drivers/net/virtio-net.ko.xz` is `virtio_net`. */
export function moduleName(path: string): string {
  const file = path.slice(path.lastIndexOf('/') + 1);
  return file.replace(/\.ko(\.\w+)?$/, '').replaceAll('-', '_');
}

/** Reads the texts of modules.dep and modules.builtin. */
export function parseModuleIndex(modulesDep: string, modulesBuiltin: string): ModuleIndex {
  const paths = new Map<string, string>();
  const needs = new Map<string, readonly string[]>();
  for (const line of modulesDep.split('\n')) {
    const [path, rest] = line.split(':');
    if (path === undefined || rest === undefined) continue;
    const name = moduleName(path);
    paths.set(name, path);
    needs.set(name, rest.split(/\s+/).filter(Boolean).map(moduleName));
  }
  const builtin = new Set(modulesBuiltin.split('\n').filter(Boolean).map(moduleName));
  return { paths, needs, builtin };
}

/**
 * Paths of `names` and all they need, each after what it needs. Modules built into the kernel are left out.
 * Throws when the kernel has no such module at all.
 */
export function loadOrder(index: ModuleIndex, names: readonly string[]): string[] {
  const order: string[] = [];
  const done = new Set<string>();
  const visit = (name: string) => {
    if (done.has(name)) return;
    done.add(name);
    const path = index.paths.get(name);
    if (path === undefined) {
      if (index.builtin.has(name)) return;
      throw new Error(`this kernel has no module "${name}"`);
    }
    for (const need of index.needs.get(name) ?? []) visit(need);
    order.push(path);
  };
  for (const name of names) visit(moduleName(name));
  return order;
}

/** A modules.dep for just `paths`, which {@link loadOrder} gave, as modprobe(8) reads it. */
export function formatModulesDep(index: ModuleIndex, paths: readonly string[]): string {
  return paths
    .map((path) => {
      const needed = (index.needs.get(moduleName(path)) ?? []).map((name) => index.paths.get(name) ?? '');
      return `${path}: ${needed.filter(Boolean).join(' ')}`.trimEnd();
    })
    .join('\n')
    .concat('\n');
}

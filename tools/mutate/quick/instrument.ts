import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Mutant } from '../mutation-report.ts';

/** A mutant as the instrumenter tells it: places count from 0, and only one that is left alone has a status. */
export type PlacedMutant = Omit<Mutant, 'status'> & { readonly id: string; readonly status?: 'Ignored' };

interface Instrumented {
  readonly files: readonly [{ readonly content: string }];
  readonly mutants: readonly PlacedMutant[];
}

interface Injector {
  provideValue(name: string, value: unknown): Injector;
  injectFunction(make: (injector: Injector) => Instrumenter): Instrumenter;
}

interface Instrumenter {
  instrument(files: readonly object[], options: object): Promise<Instrumented>;
}

/** Part of Stryker, which does not offer it by itself. */
const core = createRequire(fileURLToPath(import.meta.resolve('@stryker-mutator/core')));
const { createInstrumenter } = await import(core.resolve('@stryker-mutator/instrumenter'));
const { createInjector } = await import(core.resolve('typed-inject'));

const texts = new URL('../ignore-texts.mjs', import.meta.url).href;
const { strykerPlugins } = (await import(texts)) as { readonly strykerPlugins: readonly { readonly value: unknown }[] };

const nothing = (): void => {};
const logger = { isDebugEnabled: () => false, debug: nothing, info: nothing, warn: nothing };

/** A file's text with all its mutants, each behind a switch, and what they are. */
export async function instrument(name: string, content: string): Promise<[string, readonly PlacedMutant[]]> {
  const make = Object.assign((injector: Injector): Instrumenter => createInstrumenter(injector), {
    inject: ['$injector'],
  });
  const injector = (createInjector() as Injector).provideValue('logger', logger).provideValue('options', {});
  const ignorers = strykerPlugins.map(({ value }) => value);
  const { files, mutants } = await injector
    .injectFunction(make)
    .instrument([{ name, content, mutate: true }], { plugins: null, excludedMutations: [], ignorers, noHeader: false });
  return [files[0].content, mutants];
}

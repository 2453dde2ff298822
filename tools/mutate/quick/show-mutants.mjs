// Shows mutants to tests, one after the other, in this process. It is sent one message, { bundle }, for a run without any, and
// answers { coverage, times, ms }; or { bundle, mutants, reach, hits }, and says of each mutant that it begins and what it came to.
const stryker = globalThis.__stryker__ ?? {};
globalThis.__stryker__ = stryker;

let loads = 0;
/** The module of tests, made anew: it is another one for the loader. */
const load = (bundle) => import(`${bundle}?${loads++}`);

const say = (message) => new Promise((sent) => process.send(message, sent));

async function runOnce(bundle) {
  stryker.mutantCoverage = { static: {}, perTest: {} };
  const began = performance.now();
  const { tests, runTest } = await load(bundle);
  const times = [];
  for (const [index, test] of tests.entries()) {
    stryker.currentTestId = String(index);
    const start = performance.now();
    try {
      await runTest(test);
    } catch (error) {
      await say({ failed: `${test.name}: ${error.message}` });
      return;
    }
    times.push(performance.now() - start);
  }
  await say({ coverage: stryker.mutantCoverage, times, ms: performance.now() - began });
}

/** What noticed the mutant, if anything did. `numbers` of tests that come to it: none, if it is come to as the module loads. */
async function show(mutant, bundle, numbers, hits) {
  // Code that never comes by the mutant again is for the parent to end.
  stryker.hitLimit = 1000 + 20 * hits;
  stryker.hitCount = 0;
  if (numbers === undefined) stryker.activeMutant = mutant;
  try {
    const { tests, runTest } = numbers === undefined ? await load(bundle) : await kept(bundle);
    stryker.activeMutant = mutant;
    for (const index of numbers ?? tests.keys()) {
      try {
        await runTest(tests[index]);
      } catch (error) {
        return `${tests[index].name}: ${error?.message}`;
      }
    }
  } catch (error) {
    return `loading: ${error.message}`;
  } finally {
    stryker.activeMutant = undefined;
  }
  return undefined;
}

let keptModule;
const kept = (bundle) => {
  keptModule ??= load(bundle);
  return keptModule;
};

// What a broken test says too late is nobody's.
process.on('uncaughtException', () => {});
process.on('unhandledRejection', () => {});
process.once('message', async ({ bundle, mutants, reach, hits }) => {
  if (mutants === undefined) await runOnce(bundle);
  else {
    for (const mutant of mutants) {
      await say({ begins: mutant });
      await say({ mutant, noticedBy: await show(mutant, bundle, reach[mutant], hits[mutant]) });
    }
  }
  process.exit();
});

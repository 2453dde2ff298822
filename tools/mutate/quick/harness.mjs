// Stands for tap where many mutants are shown to the same tests in one process: collects tests, and has the assertions that
// our tests use, compared as tap compares.
import { match, same, strict } from 'tcompare';

/** All tests of the module, in order. */
export const tests = [];

/** As tap's `test`: only collects it. */
export function test(name, ...rest) {
  const body = rest.at(-1);
  const options = rest.length > 1 ? rest[0] : {};
  if (options.skip === undefined || options.skip === false) tests.push({ name, body });
}

/** What test files set up at their top. */
export const t = { setTimeout: () => {}, test };

/** Runs a test: throws what made it fail. What it wants torn down is, in any case. */
export async function runTest({ body }) {
  const cleanings = [];
  try {
    await body({ ...assertions, teardown: (clean) => cleanings.unshift(clean) });
  } finally {
    for (const clean of cleanings) await clean();
  }
}

function check(holds, message) {
  if (!holds) throw new Error(message);
}

const assertions = {
  setTimeout: () => {},
  pass: () => {},
  comment: () => {},
  fail: (message = 'failed') => check(false, message),
  bailout: (message = 'bailed out') => check(false, message),
  ok: (value, message = 'is not true') => check(value, message),
  notOk: (value, message = 'is not false') => check(!value, message),
  equal: (found, wanted, message = `is ${String(found)}`) => check(Object.is(found, wanted), message),
  not: (found, wanted, message = `is ${String(found)}`) => check(!Object.is(found, wanted), message),
  strictSame: (found, wanted, message = 'is not the same') => check(strict(found, wanted).match, message),
  same: (found, wanted, message = 'is not the same') => check(same(found, wanted).match, message),
  notSame: (found, wanted, message = 'is the same') => check(!same(found, wanted).match, message),
  match: (found, wanted, message = 'does not match') => check(match(found, wanted).match, message),
  doesNotThrow: (call) => call(),
  throws(call, ...wanted) {
    let thrown;
    try {
      call();
    } catch (error) {
      thrown = { error };
    }
    checkError(thrown, wanted);
  },
  async rejects(promise, ...wanted) {
    let thrown;
    try {
      await (typeof promise === 'function' ? promise() : promise);
    } catch (error) {
      thrown = { error };
    }
    checkError(thrown, wanted);
  },
};

function checkError(thrown, [wanted]) {
  check(thrown !== undefined, 'does not fail');
  const { error } = thrown;
  if (typeof wanted === 'function') check(error instanceof wanted, 'is another error');
  else if (typeof wanted === 'object') {
    const seen = { message: error.message, name: error.name, ...error };
    check(match(wanted instanceof RegExp ? error.message : seen, wanted).match, `is another error: ${error.message}`);
  }
}

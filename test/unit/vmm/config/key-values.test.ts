import { test } from 'tap';
import { parseKeyValues } from '../../../../src/vmm/config/key-values.ts';

for (const [text, values] of [
  ['a=1', { a: '1' }],
  ['a=1,b=2,c=3', { a: '1', b: '2', c: '3' }],
  ['a=', { a: '' }],
  ['a=b=c', { a: 'b=c' }],
  ['a= b ', { a: ' b ' }],
  ['a=x,,y', { a: 'x,y' }],
  ['a=,,,b=1', { a: ',', b: '1' }],
  ['a=,,,,,b=1', { a: ',,', b: '1' }],
  ['a=x,,b=1', { a: 'x,b=1' }],
] as const) {
  test(`reads ${text}`, async (t) => {
    t.strictSame(parseKeyValues(text), values);
  });
}

for (const [what, text, part] of [
  ['a text without a key', 'disk.img', 'disk.img'],
  ['nothing', '', ''],
  ['an empty key', '=1', '=1'],
  ['a key without a value', 'a=1,b', 'b'],
  ['a comma at the end', 'a=1,', ''],
  ['a comma at the start', ',a=1', ''],
  ['a key given twice', 'a=1,b=2,a=3', 'a=3'],
  ['a key that every object has', 'a=1,__proto__=2', '__proto__=2'],
  ['a part with a comma in it, as it was meant', 'a=1,b,,c', 'b,c'],
] as const) {
  test(`gives the part that will not do for ${what}`, async (t) => {
    t.equal(parseKeyValues(text), part);
  });
}

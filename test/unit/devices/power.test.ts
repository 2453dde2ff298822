import { test } from 'tap';
import { I8042 } from '../../../src/devices/i8042.ts';
import { PowerRegister } from '../../../src/devices/power.ts';

function requests(): { heard: string[]; powerOff(): void; reset(): void } {
  const heard: string[] = [];
  return { heard, powerOff: () => heard.push('off'), reset: () => heard.push('reset') };
}

test('the power register powers off at sleep type 5 with the enable bit, and only then', async (t) => {
  const asked = requests();
  const power = new PowerRegister(asked);
  for (let value = 0; value < 256; value++) {
    asked.heard.length = 0;
    power.write(0, 1, value);
    const enable = (value & 0x20) !== 0;
    const type = (value >> 2) & 7;
    t.strictSame(asked.heard, value === 1 ? ['reset'] : enable && type === 5 ? ['off'] : [], `0x${value.toString(16)}`);
  }
});

test('the power register reads as awake', async (t) => {
  const power = new PowerRegister(requests());
  power.write(0, 1, 0x80);
  t.equal(power.read(), 0);
});

test('the keyboard controller resets on 0xfe to its command port, and on nothing else', async (t) => {
  let resets = 0;
  const controller = new I8042(() => resets++);
  for (let offset = 0; offset < 5; offset++) {
    for (let value = 0; value < 256; value++) {
      if (offset !== 4 || value !== 0xfe) controller.write(offset, 1, value);
    }
  }
  t.equal(resets, 0);
  controller.write(4, 1, 0xfe);
  t.equal(resets, 1);
});

test('the keyboard controller never looks busy', async (t) => {
  t.equal(new I8042(() => {}).read(), 0);
});

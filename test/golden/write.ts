import { goldenDevices, goldenVersion } from './golden-devices.ts';
import { writeGoldenFile } from './golden-files.ts';

/** `npx tsx test/golden/write.ts`: writes the states of today's version that are not there yet. */
for (const [kind, make] of Object.entries(goldenDevices)) {
  const device = make();
  try {
    device.use();
    const name = `${kind}-${goldenVersion}`;
    const isNew = writeGoldenFile(name, device.save());
    process.stdout.write(`${name}: ${isNew ? 'written' : 'is there, and stays as it is'}\n`);
  } finally {
    device.close();
  }
}

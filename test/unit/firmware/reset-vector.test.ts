import t from 'tap';
import { writeResetVector } from '../../../firmware/reset-vector.ts';
import { gpa, MiB } from '../../../src/memory/address.ts';
import { bufferedGuestMemory } from '../../../src/memory/guest-memory.ts';
import { layOutRam } from '../../../src/memory/regions.ts';

t.test('a jump to the BIOS entry writes the reset value to the power port, then halts', async (t) => {
  const memory = bufferedGuestMemory(layOutRam(2 * MiB));
  writeResetVector(memory, 0x604);
  // mov al, 1; mov dx, 0x604; out dx, al; hlt; jmp to the hlt
  t.same([...memory.slice(gpa(0xffff0), 9)], [0xb0, 1, 0xba, 0x04, 0x06, 0xee, 0xf4, 0xeb, 0xfd]);
});

import { alignUp, type Gpa, gpa } from '../../src/memory/address.ts';
import type { GuestMemory } from '../../src/memory/guest-memory.ts';
import { acpiTablesAddress, ioApicAddress, localApicAddress, rsdpAddress } from '../../src/memory/layout.ts';
import {
  type Aml,
  amlPackage,
  argument,
  device,
  edgeInterrupt,
  eisaId,
  equal,
  ifThen,
  io,
  memory32Fixed,
  name,
  notify,
  resourceTemplate,
  scope,
  serializedMethod,
  terms,
} from './aml.ts';
import { dsdt, fadt, madt, rsdp, softOffSleepType, xsdt } from './tables.ts';

/** The machine as ACPI describes it. GSI n is pin n of the I/O APIC; all interrupts are edges. */
export interface AcpiMachine {
  /** vCPUs; their APIC ids are 0 to cpus - 1. */
  readonly cpus: number;
  /** 16550s of eight ports each. */
  readonly serialPorts: readonly { readonly port: number; readonly gsi: number }[];
  /** One byte: sleep control, sleep status and reset register. */
  readonly powerPort: number;
  /** A pulse on this GSI is a press of the power button. There is nothing to read or acknowledge. */
  readonly powerButton?: { readonly gsi: number } | undefined;
  /**
   * Where 16 bytes lie that are others in a copy of the machine (Microsoft, Virtual Machine Generation ID), and the GSI whose
   * pulse says that they changed.
   */
  readonly generationId?: { readonly address: Gpa; readonly gsi: number } | undefined;
  /** One byte, where a kernel says that it has panicked. */
  readonly pvpanicPort?: number;
  readonly virtioMmio: readonly { readonly base: Gpa; readonly size: number; readonly gsi: number }[];
  /** A keyboard controller at 0x60 and 0x64 that the guest may use. Its reset line works without this. */
  readonly i8042?: boolean;
  /** A CMOS clock at 0x70. */
  readonly rtc?: boolean;
}

/** Tables ready to be put into guest memory. */
export interface AcpiTables {
  readonly rsdp: Gpa;
  readonly writes: readonly { readonly address: Gpa; readonly bytes: Uint8Array }[];
}

/** Lays out RSDP -> XSDT -> FADT -> DSDT, and MADT, for this machine. */
export function buildAcpi(machine: AcpiMachine): AcpiTables {
  const writes: { address: Gpa; bytes: Uint8Array }[] = [];
  let next: number = acpiTablesAddress;
  const place = (bytes: Uint8Array): Gpa => {
    const address = gpa(next);
    next = alignUp(address + bytes.length, 16);
    if (next > rsdpAddress) throw new RangeError('the ACPI tables do not fit below the RSDP: too many devices');
    writes.push({ address, bytes });
    return address;
  };
  const dsdtAddress = place(dsdt(machineAml(machine)));
  const { cpus, powerPort, i8042 = false, rtc = false } = machine;
  const fadtAddress = place(fadt({ dsdt: dsdtAddress, powerPort, i8042, rtc }));
  const madtAddress = place(madt({ cpus, localApic: localApicAddress, ioApic: ioApicAddress }));
  const xsdtAddress = place(xsdt([fadtAddress, madtAddress]));
  writes.push({ address: rsdpAddress, bytes: rsdp(xsdtAddress) });
  return { rsdp: rsdpAddress, writes };
}

/** Builds the tables and writes them; the result is what a boot protocol passes on. */
export function writeAcpi(memory: GuestMemory, machine: AcpiMachine): Gpa {
  const tables = buildAcpi(machine);
  for (const { address, bytes } of tables.writes) memory.write(address, bytes);
  return tables.rsdp;
}

function machineAml(machine: AcpiMachine): Aml {
  const { serialPorts, virtioMmio, powerButton, generationId, pvpanicPort, i8042, rtc } = machine;
  return terms(
    name('_S5_', amlPackage(softOffSleepType, softOffSleepType, 0, 0)),
    scope(
      '\\_SB_',
      ...serialPorts.map(({ port, gsi }, index) =>
        device(
          `COM${index + 1}`,
          name('_HID', eisaId('PNP0501')),
          name('_UID', index),
          name('_CRS', resourceTemplate(io(port, 8), edgeInterrupt(gsi))),
        ),
      ),
      ...(powerButton === undefined ? [] : [device(buttonName, name('_HID', eisaId('PNP0C0C')), name('_UID', 0))]),
      ...(generationId === undefined ? [] : [generationDevice(generationId.address)]),
      ...eventDevice([
        ...(powerButton === undefined ? [] : [{ gsi: powerButton.gsi, notifies: buttonName }]),
        ...(generationId === undefined ? [] : [{ gsi: generationId.gsi, notifies: generationName }]),
      ]),
      ...(pvpanicPort === undefined ? [] : [pvpanicDevice(pvpanicPort)]),
      ...(i8042 === true ? [keyboardController] : []),
      ...(rtc === true ? [cmosClock] : []),
      ...virtioMmio.map(({ base, size, gsi }, index) =>
        device(
          `V${index.toString(16).toUpperCase().padStart(3, '0')}`,
          name('_HID', 'LNRO0005'),
          name('_UID', index),
          name('_CCA', 1),
          name('_CRS', resourceTemplate(memory32Fixed(base, size), edgeInterrupt(gsi))),
        ),
      ),
    ),
  );
}

const buttonName = 'PWRB';
const generationName = 'VGEN';
/** Of a button: pressed (ACPI 6.4, table 5.168); of a generation id: changed. */
const happened = 0x80;

/**
 * The Generic Event Device (5.6.9), which turns interrupts into notifications of other devices: hardware-reduced ACPI has no
 * SCI that could.
 */
function eventDevice(events: readonly { readonly gsi: number; readonly notifies: string }[]): Aml[] {
  if (events.length === 0) return [];
  return [
    device(
      'GED_',
      name('_HID', 'ACPI0013'),
      name('_UID', 0),
      name('_CRS', resourceTemplate(...events.map(({ gsi }) => edgeInterrupt(gsi)))),
      serializedMethod(
        '_EVT',
        1,
        ...events.map(({ gsi, notifies }) => ifThen(equal(argument(0), gsi), notify(notifies, happened))),
      ),
    ),
  ];
}

/** Guests know it by its compatible id; ADDR gives the two halves of where the id lies. */
function generationDevice(address: Gpa): Aml {
  return device(
    generationName,
    name('_HID', 'VGEN0001'),
    name('_CID', 'VM_Gen_Counter'),
    name('_DDN', 'VM_Gen_Counter'),
    name('ADDR', amlPackage(address % 2 ** 32, Math.floor(address / 2 ** 32))),
  );
}

/** Linux finds it by the id that QEMU gave it. */
function pvpanicDevice(port: number): Aml {
  return device('PVPN', name('_HID', 'QEMU0001'), name('_CRS', resourceTemplate(io(port, 1))));
}

const keyboardController = device(
  'PS2K',
  name('_HID', eisaId('PNP0303')),
  name('_CRS', resourceTemplate(io(0x60, 1), io(0x64, 1), edgeInterrupt(1))),
);

const cmosClock = device(
  'RTC_',
  name('_HID', eisaId('PNP0B00')),
  name('_CRS', resourceTemplate(io(0x70, 2), edgeInterrupt(8))),
);

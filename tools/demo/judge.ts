import { decodeRecord, sectorBytes } from '../chaos/guest/service.ts';
import type { ClientsReport } from './client-program.ts';

/** What came of it, for the clients. */
export interface Verdict {
  readonly answers: number;
  /** Answers without a record on the survivor's disk, and requests without an answer. */
  readonly lost: number;
  /** Numbers with two meanings, requests with two numbers, numbers that went back. */
  readonly doubled: number;
  /** Numbers in the survivor's history that nobody was told, though all who asked were answered. */
  readonly invented: number;
  /** What is wrong, a line each, the first few. */
  readonly problems: readonly string[];
}

const mostProblems = 10;

/**
 * Holds what clients were told against the survivor's disk: the records of all answers, one after another, and nothing else.
 *
 * @param disk of the survivor, large enough that no record was written over
 */
export function judge(clients: ClientsReport, disk: Buffer): Verdict {
  const problems = [...clients.violations];
  const { told = [], summary } = clients;
  const sectors = disk.length / sectorBytes;
  let lost = 0;
  const unanswered = summary.asked - summary.answers;
  if (unanswered > 0 || clients.settled !== true) {
    lost += unanswered;
    problems.push(`${unanswered} requests were not answered`);
  }
  if (told.some(([counter]) => Number(counter) >= sectors)) {
    problems.push(
      `the disk has room for ${sectors} records, and the first were written over: of them nothing can be said`,
    );
  }
  const known = new Set<string>();
  for (const [counter, client, number] of told) {
    known.add(counter);
    const record = Number(counter) < sectors ? recordOf(disk, Number(counter)) : undefined;
    const isThere =
      record !== undefined &&
      `${record.counter}` === counter &&
      `${record.client}` === client &&
      `${record.number}` === number;
    if (isThere) continue;
    lost++;
    problems.push(
      `client ${client} was told ${counter} for its request ${number}, which is not on the survivor's disk`,
    );
  }
  let invented = 0;
  for (let sector = 0; sector < sectors; sector++) {
    const record = recordOf(disk, sector);
    if (record === undefined || (Number(record.counter) === sector && known.has(`${record.counter}`))) continue;
    invented++;
    problems.push(`the survivor's disk has ${record.counter} for client ${record.client}, which nobody was told`);
  }
  return {
    answers: summary.answers,
    lost,
    doubled: clients.violations.length,
    invented,
    problems: problems.slice(0, mostProblems),
  };
}

/** All of it is as if nothing had happened. */
export function isWhole({ answers, lost, doubled, invented, problems }: Verdict): boolean {
  return answers > 0 && lost === 0 && doubled === 0 && invented === 0 && problems.length === 0;
}

function recordOf(disk: Buffer, sector: number): ReturnType<typeof decodeRecord> {
  return decodeRecord(disk.subarray(sector * sectorBytes, (sector + 1) * sectorBytes));
}

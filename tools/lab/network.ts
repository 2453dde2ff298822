/** The condition of a link in one direction. */
export interface LinkCondition {
  /** Part of the frames that is lost, 0 to 1. */
  readonly loss: number;
  /** How much later a frame arrives. */
  readonly delayMs: number;
  /** Frames beyond this wait their turn; undefined is no limit. */
  readonly bytesPerSecond: number | undefined;
}

export const goodLink: LinkCondition = { loss: 0, delayMs: 0, bytesPerSecond: undefined };
export const deadLink: LinkCondition = { ...goodLink, loss: 1 };

/** Two ends of a link by host name; without `to`, every link of `from`. */
export interface LinkChoice {
  readonly from: string;
  readonly to?: string;
  /** Only what `from` sends; otherwise both directions. */
  readonly oneWay?: boolean;
}

/**
 * The network between the hosts of a lab, as its owner disturbs it. Hosts do not notice a link that is cut, other than
 * by nothing coming through. Each call resolves when it is so.
 */
export interface LabNetwork {
  cut(link: LinkChoice): Promise<void>;
  degrade(link: LinkChoice, condition: Partial<LinkCondition>): Promise<void>;
  /** Makes links good again; all of them without an argument. */
  restore(link?: LinkChoice): Promise<void>;
  /**
   * Who speaks as `mac` from now on: `spoke` hears the name of the first machine that sends a frame from this address, and then of
   * each one that does after another one had, in their order, also of those whose links are cut. Throws LabError in
   * a native lab, which does not see all frames.
   */
  watch(mac: string, spoke: (name: string) => void): Promise<void>;
}

/** Pairs of host indices, one for each direction, that `choice` means. Throws on a name that is no host's. */
export function chosenLinks(choice: LinkChoice | undefined, names: readonly string[]): [number, number][] {
  const indexOf = (name: string) => {
    const index = names.indexOf(name);
    if (index < 0) throw new Error(`no host of this lab is called "${name}"; there are ${names.join(', ')}`);
    return index;
  };
  const all = names.map((_, index) => index);
  const ends = choice === undefined ? all : [indexOf(choice.from)];
  const others = choice?.to === undefined ? all : [indexOf(choice.to)];
  const pairs: [number, number][] = [];
  for (const from of ends) {
    for (const to of others) {
      if (from === to) continue;
      pairs.push([from, to]);
      if (choice !== undefined && !choice.oneWay) pairs.push([to, from]);
    }
  }
  return pairs;
}

/** The address of the host with this index, in a network of the lab's own. */
export function hostAddress(index: number): string {
  return `10.77.0.${index + 1}`;
}

/** Locally administered, so no real card has it. */
export function hostMac(index: number): string {
  return `52:54:00:4c:00:${(index + 1).toString(16).padStart(2, '0')}`;
}

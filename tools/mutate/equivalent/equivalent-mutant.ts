/** A change after which the program does the same. Somebody has thought about each. */
export interface EquivalentMutant {
  /** The text that is replaced, as the source has it; layout does not matter. */
  readonly original: string;
  /** By what: each of these is a mutant of its own. */
  readonly replacements: readonly string[];
  /** Only where the line in which it begins has this text, if the file has the original elsewhere too. */
  readonly line?: string;
  /** How often the file has it; 1 if nothing is said. */
  readonly places?: number;
  /** Why nothing can be seen of it. */
  readonly why: string;
}

/** By source file. */
export type EquivalentMutants = Readonly<Record<string, readonly EquivalentMutant[]>>;

/** An invariant of spec section C does not hold. */
export class Violation extends Error {
  /** Which one: C.1 to C.5, or the section of the rule that broke. */
  readonly invariant: string;

  constructor(invariant: string, message: string) {
    super(`${invariant}: ${message}`);
    this.name = 'Violation';
    this.invariant = invariant;
  }
}

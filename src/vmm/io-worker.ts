export function threadMain(): void {
  throw new Error('nothing yet');
}

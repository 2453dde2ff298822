/** A file's bytes with the name that messages call it by. The bytes are a stranger's: anything may be in them. */
export interface NamedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

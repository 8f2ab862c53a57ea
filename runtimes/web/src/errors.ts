/** Errors that carry a message for people, of the kinds that every host has; the command line turns them into exits. */

/** Something that was tried did not work. Exit code 1. */
export class Sa3Error extends Error {
  readonly exitCode: number = 1;
  override name = 'Sa3Error';
}

/** What was asked for cannot be done as asked: a value, a name or a combination. Exit code 2. */
export class RequestError extends Sa3Error {
  override readonly exitCode: number = 2;
  override name = 'RequestError';
}

/** A bundle is incomplete, altered or of another version. Exit code 2. */
export class BundleError extends RequestError {
  override name = 'BundleError';
}

/** The inference engine is missing or could not run a graph. Exit code 1. */
export class EngineError extends Sa3Error {
  override name = 'EngineError';
}

/** A file could not be fetched or stored; what was downloaded is kept for the next try. Exit code 1. */
export class DownloadError extends Sa3Error {
  override name = 'DownloadError';
}

/** Any error's message. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

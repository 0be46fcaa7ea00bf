/** What can be said of an error that was caught, whatever it is. */

/** The system's short name for why a call failed (`EACCES`, `ENOENT`, …), or undefined. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** What went wrong, for use inside a longer message. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

declare module 'vitest' {
  interface ProvidedContext {
    temporalAddress: string;
  }
}

export {};

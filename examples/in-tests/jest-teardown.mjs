// @ts-check

export default async function tearDown() {
  const { temporal } = /** @type {{ temporal: import('flock-process').EphemeralInstance }} */ (
    /** @type {unknown} */ (globalThis)
  );
  await temporal.stop();
}

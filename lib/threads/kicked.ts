/** Thrown out of a blocking call when the thread's kick was signalled: the thread is to end. No error of its own. */
export class Kicked extends Error {
  constructor() {
    super('kicked');
    this.name = 'Kicked';
  }
}

/** The policy of supervision: what a sight means depends on the state, and stands here in one table. */
import type { SupervisorState } from './supervision.js';

export type ActiveState = Exclude<SupervisorState, 'stopped' | 'gave-up'>;

/** What there is to see: what is wanted (the mark) and what is (the lock, the checks), in one word. */
export type Sight =
  /** Somebody has the lock, and nothing is known against it. */
  | 'held'
  /** The same, and too many checks in a row have failed. */
  | 'sick'
  /** Wanted, and nobody has the lock. */
  | 'free'
  /** A stop() is at work, or has been. */
  | 'stopped'
  /** A restart() is at work; or something changed during the look. */
  | 'unsettled'
  /** The look failed. Where a start is due, it is made all the same: it fails, and counts. */
  | 'unseen'
  /** A restart() has died before its process was down. */
  | 'half stopped'
  /** A restart() has died when its process was down. */
  | 'half restarted';

export type Action =
  | 'watch'
  /** End it, as a restart does, and start another one. */
  | 'replace'
  /** It crashed: plan a restart, at once or after a delay. */
  | 'restart'
  /** End what a restart() that died was to end, and start another one. That was no crash. */
  | 'finish stop'
  /** Start what a restart() that died was to start. That was no crash either. */
  | 'finish restart'
  | 'start when due'
  | 'stand by'
  | 'wait';

const IN_ANY_STATE = { stopped: 'stand by', unsettled: 'wait', 'half stopped': 'finish stop' } as const;

export const TABLE: Readonly<Record<ActiveState, Readonly<Record<Sight, Action>>>> = {
  watching: {
    held: 'watch',
    sick: 'replace',
    free: 'restart',
    'half restarted': 'finish restart',
    unseen: 'wait',
    ...IN_ANY_STATE,
  },
  restarting: {
    held: 'watch',
    sick: 'watch',
    free: 'start when due',
    'half restarted': 'start when due',
    unseen: 'start when due',
    ...IN_ANY_STATE,
  },
  standby: {
    held: 'watch',
    sick: 'watch',
    free: 'restart',
    'half restarted': 'finish restart',
    unseen: 'wait',
    ...IN_ANY_STATE,
  },
};

export function isActive(state: SupervisorState): state is ActiveState {
  return state in TABLE;
}

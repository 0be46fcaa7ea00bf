/* src/process/stop.ts: stop and bringDown; src/process/down-mark.ts: the mark; src/process/restart.ts: restart. */

/* src/process/terminate.ts#terminate, first look: proof and signal in one turn. */
#define signalAll() waitsFor[id] = alive; dying = dying | waitsFor[id]; condemned = condemned | waitsFor[id]
#define areGone (waitsFor[id] == 0)

/* src/process/stop.ts#bringDown: end who holds the lock until the lock could be taken for an instant. */
inline bringDown() {
  do
  :: atomic { FREE -> record = 0; recordBy = 0 }; break      /* stop.ts#tryLock, process-record.ts#removeRecord, held-lock.ts#handOver */
  :: atomic { alive != 0 -> signalAll() };                   /* stop.ts#endHolder, with heirs and leftovers */
     areGone;
  od
}

/* src/process/down-mark.ts#markDown: LOCK_SH, truncate when there is a word, mark-file.ts#touchForward. Without a word the
   three are one step: under LOCK_SH nobody clears the mark, and an old mark that is held says what a new one says. */
#define touch() newMark(); stops++; n = stops
#ifdef MUT_KEEPWORD
#define hasWord false
#else
#define hasWord word
#endif
inline markDown() {
#ifdef MUT_NODOWN
  atomic { begun++; stops++; n = stops; holdMark() }
#else
  begun++;
create:
  atomic { if :: mark == 0 -> newMark() :: else fi };        /* holdShared: O_CREAT */
  if
  :: atomic { mark == 0 -> goto create }                     /* a start has cleared it before it could be locked */
  :: atomic { mark != 0 && !hasWord -> holdMark(); touch() }
  :: atomic { mark != 0 && hasWord -> holdMark() };
     atomic { word = false; newMark() };
     atomic { touch() }
  fi
#endif
}

proctype Stop(byte id) {
  byte n = 0;
  {
    markDown();
    bringDown();
#ifndef MUT_NODOWN
    assert(mark != 0 && !word);                              /* nobody has cleared the mark of a stop at work */
#endif
    atomic { releaseMark(); MAX(over, n); running = running & ~BIT(id); waitsFor[id] = 0; n = 0 }
  } unless { atomic { !isAlive -> waitsFor[id] = 0; n = 0 } }
}

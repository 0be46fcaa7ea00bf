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

/* src/process/down-mark.ts#markDown. */
inline markDown() {
#ifndef MUT_NODOWN
  do
  :: atomic { if :: mark == 0 -> newMark() :: else fi };     /* holdShared: O_CREAT */
     if
     :: atomic { mark != 0 -> holdMark() }; break /* holdShared: LOCK_SH, and it is the file at the path */
     :: mark == 0                                            /* a start has cleared it meanwhile */
     fi
  od;
#ifndef MUT_KEEPWORD
  atomic { if :: word -> word = false; newMark() :: else fi }; /* ftruncateSync */
#endif
  atomic { newMark(); stops++; n = stops }                   /* mark-file.ts#touchForward */
#else
  atomic { stops++; n = stops; holdMark() }
#endif
}



proctype Stop(byte id) {
  byte n = 0;
  {
    begun++;
    markDown();
    bringDown();
#ifndef MUT_NODOWN
    assert(mark != 0 && !word);                              /* nobody has cleared the mark of a stop at work */
#endif
    atomic { releaseMark(); MAX(over, n); running = running & ~BIT(id); waitsFor[id] = 0; n = 0 }
  } unless { atomic { !isAlive -> waitsFor[id] = 0; n = 0 } }
}

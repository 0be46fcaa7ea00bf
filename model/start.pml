/* src/process/start.ts, launch.ts, wait-until-ready.ts, wanted.ts. */

/* src/process/wanted.ts: is this start still wanted? */
#define isForeignMark (mark != 0 && !word && mark != known)
#if defined(MUT_NOPAST) || defined(MUT_DEAF)
#define isUndoneStop false
#else
#define isUndoneStop (mark == 0 && past != pastAtCall && past != knownAtCall)
#endif
#ifdef MUT_DEAF
#define isStopped false
#else
#define isStopped (isForeignMark || isUndoneStop)
#endif
/* wanted.ts#guard: after clear() any mark is one that came later. */
#ifdef MUT_NOLOOK
#define isUnwanted false
#else
#define isUnwanted (mark != 0 || isUndoneStop)
#endif

/* down-mark.ts#clearMark */
#ifdef MUT_CLEAR
#define isInUse false
#else
#define isInUse (holders > 0)
#endif
#ifdef MUT_DEAF
#define isOther false
#else
#define isOther isForeignMark
#endif

/* A joiner may share what it found when the start of it is over: start.ts#isReadyToShare, process-record.ts#isRecordHeld. */
#ifdef MUT_NOHELD
#define isStartOver true
#else
#define isStartOver (isRecorded -> recordBy == 0 : starter == 0)
#endif
#ifdef MUT_REUSE
#define mayReuse true
#else
#define mayReuse (mark == 0 && !isUndoneStop)
#endif

#define canAdopt (mark == 0 && LEFTOVERS && hasChecks && (ready & BIT(OLDEST)))
#define canClean (mark == 0 && LEFTOVERS && !(hasChecks && (ready & BIT(OLDEST))))

/* wanted.ts#Wanted: what it found at its call. */
#define wants(seenMark) known = seenMark; knownAtCall = seenMark; pastAtCall = past; seen = stops
#define forget() looksAt[id] = 0; waitsFor[id] = 0; known = 0; knownAtCall = 0; pastAtCall = 0; seen = 0; wasDying[id] = 0; outcome = 0; isRecorded = false
#ifdef MUT_PLAINMARK
#define isRestartsWord false
#else
#define isRestartsWord true
#endif
#define STARTED 1
#define STOPPED 2
#define FAILED 3

#define isThere ((alive & BIT(looksAt[id])) != 0)
#define hasSuccessor ((exitedWell & BIT(looksAt[id])) && alive != 0)
#ifdef MUT_ADOPT
#define recordSuccessor() skip
#else
#define recordSuccessor() record = looksAt[id]; recordBy = id
#endif
#define isReadyProcess (PROCESS != 0 && (ready & BIT(PROCESS)))
#ifdef MUT_REUSE
#define isWorthALook (!FREE && isReadyProcess)
#elif defined(MUT_NOHELD)
#define isWorthALook (!isStopped && mark == 0 && isReadyProcess)
#else
#define isWorthALook (!isStopped && mark == 0 && isReadyProcess && (PROVEN -> recordBy == 0 : starter == 0))
#endif

/* `isStrict`: a start() of its own; what a supervisor or a restart() starts needs that somebody asked for it. */
/* `isStrict`: a start() of its own; what a supervisor or a restart() starts needs that somebody asked for it. The proctype
   has the labels `again`, before it, and `started`, an atomic sequence, after it. */
inline start(isStrict) {
  if
  :: atomic { isStopped -> outcome = STOPPED; goto started } /* wanted.ts#isMarked: StoppedError */
  :: atomic { !isStopped && FREE -> starter = id }           /* stop.ts#tryLock */
  :: !isStopped && !FREE && mark != 0 && holders == 0 ->     /* start.ts#finishStop: nobody is at that stop any more */
#ifndef MUT_FINISH
     if :: atomic { mark != 0 -> holdMark() } :: mark == 0 -> goto again fi; /* down-mark.ts#joinMark */
#endif
     atomic { if :: alive != 0 -> assert(mark != 0); signalAll() :: else fi }; /* stop.ts#endHolder */
     atomic { areGone -> if :: (onMark & BIT(id)) -> releaseMark() :: else fi };
     (FREE || alive != 0 || holders > 0 || mark == 0 || isStopped);
     goto again
  :: atomic { isWorthALook -> looksAt[id] = PROCESS; isRecorded = PROVEN }; goto share /* start.ts#join */
  :: atomic { !isStopped && canAdopt -> looksAt[id] = OLDEST; isRecorded = false }; goto reuse /* status.ts#findHealthy */
#ifndef MUT_LEFTOVERS
  :: !isStopped && canClean ->                               /* stop.ts#endLeftovers */
     atomic { if :: LEFTOVERS -> assert(!(given & alive)); waitsFor[id] = alive; dying = dying | alive :: else fi };
     areGone;
     goto again
#endif
  fi;

  /* launch.ts#launch */
  atomic {                                                   /* wanted.ts#clear, down-mark.ts#clearMark: under LOCK_EX */
    if
    :: mark == 0
    :: mark != 0 && isInUse -> starter = 0; goto wait
    :: isOther && !isInUse -> starter = 0; outcome = STOPPED; goto started
    :: else -> if :: word :: else -> past = mark fi; mark = 0; word = false
    fi;
    known = 0
  };
  atomic {                                                   /* launchUnderLock: removeRecord, guard() before the spawn */
    record = 0; recordBy = 0;
    if
    :: isUnwanted && mark != 0 && word -> starter = 0; goto wait /* RestartUnderWay: contend again */
    :: isUnwanted && !(mark != 0 && word) -> starter = 0; outcome = STOPPED; goto started
    :: else
    fi
  };
  atomic {                                                   /* spawn.ts#spawnProcess */
    assert(alive == 0);                                      /* never two */
    if :: isStrict -> assert(seen >= over) :: else -> assert(asked >= over) fi; /* stop is final */
    makeProcess(); looksAt[id] = born; born = 0
  };
  atomic { record = looksAt[id]; recordBy = id };            /* seeItThrough: writeRecord, locked */
await:                                                       /* wait-until-ready.ts#waitUntilReady */
  if
  :: atomic { isUnwanted -> goto abandon }                   /* guard() */
  :: (!isThere && hasSuccessor) ->                           /* findSuccessor: it put itself into the background */
     atomic { if :: alive != 0 -> looksAt[id] = OLDEST; recordSuccessor() :: else fi };
     goto await
  :: atomic { !isThere && !hasSuccessor -> goto abandon }    /* EarlyExitError */
  :: atomic { (!isUnwanted && isThere && (ready & BIT(looksAt[id]))) -> /* requireLock, guard(), handOver(): one turn */
       if :: starter == id -> starter = 0 :: else fi; if :: recordBy == id -> recordBy = 0 :: else fi;
       given = given | BIT(looksAt[id]); outcome = STARTED; goto started }
  :: atomic { (aborts < A && !quiet && isThere) -> aborts++; goto abandon } /* its signal, or StartTimeoutError */
  fi;

abandon:                                                     /* launch.ts#abandon; why: launch.ts#whyUnwanted */
  atomic {
    if
    :: isUnwanted && mark != 0 && word -> outcome = 0
    :: isUnwanted && !(mark != 0 && word) -> outcome = STOPPED
    :: else -> outcome = FAILED;
       assert(isThere || !(condemned & BIT(looksAt[id])));   /* what a stop or a restart ended is never told as a failure */
       assert(!(given & alive))                              /* nobody was given what this start gives up */
    fi;
    waitsFor[id] = alive; dying = dying | alive
  };
  atomic {
    areGone -> record = 0; recordBy = 0; looksAt[id] = 0;
    if :: starter == id -> starter = 0 :: else fi;
    if :: outcome != 0 -> goto started :: else fi
  };
wait:                                                        /* start.ts#waitForStopAtWork */
  (isStopped || mark == 0 || holders == 0);
  goto again;

share:
  if :: isStartOver :: atomic { !isStartOver -> looksAt[id] = 0 }; goto again fi;
reuse:                                                       /* start.ts#reuse: no mark, then still there */
  if :: mayReuse :: atomic { !mayReuse -> looksAt[id] = 0 }; goto again fi;
  atomic {
    if
    :: isThere ->
       assert(!(wasDying[id] & BIT(looksAt[id])));           /* never one that was dying at the call */
       if :: isRecorded :: else -> record = looksAt[id]; recordBy = 0 fi;
       given = given | BIT(looksAt[id]); outcome = STARTED; goto started
    :: else -> looksAt[id] = 0
    fi
  };
  goto again
}

/* process-manager.ts#start */
proctype Start(byte id) {
  byte born = 0, known = 0, knownAtCall = 0, pastAtCall = 0, seen = 0, outcome = 0;
  bool isRecorded = false;
  {
    atomic { wants(mark); MAX(asked, seen); wasDying[id] = condemned & alive };
again:
    start(true);
started:
    atomic {
      if :: outcome == STOPPED -> assert(begun > seen) :: else fi; /* no restart and no older stop ends a start */
      running = running & ~BIT(id); forget()
    }
  } unless { atomic { !isAlive -> forget() } }
}

/* restart.ts#restart */
proctype Restart(byte id) {
  byte born = 0, known = 0, knownAtCall = 0, pastAtCall = 0, seen = 0, outcome = 0;
  bool isRecorded = false;
  {
    atomic {                                                 /* markOrJoin: markRestart by link(2), else joinMark */
      if :: mark == 0 -> newMark(); word = isRestartsWord :: else fi;
      holdMark(); known = mark; seen = stops; MAX(asked, seen)
    };
    bringDown();
    atomic { releaseMark() };
    atomic { knownAtCall = known; pastAtCall = past; wasDying[id] = condemned & alive };
again:
    start(false);
started:
    atomic {
      if :: outcome == STOPPED -> assert(begun > seen) :: else fi;
      running = running & ~BIT(id); forget()
    }
  } unless { atomic { !isAlive -> forget() } }
}

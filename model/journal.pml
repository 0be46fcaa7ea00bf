/* start, stop, restart, supervise and trimming over the journal, for the model checker Spin. README.md tells what is checked, what is
   left out, and which rule each mutant (MUT_…) breaks; runs.json lists the runs. A step that is one turn of one process, and that nobody
   can see half done, is one `atomic`. The comments name the file in src/ that implements a step. */
#ifndef S
#define S 1      /* The start() calls. */
#endif
#ifndef T
#define T 1      /* The stop() calls. */
#endif
#ifndef R
#define R 0      /* The restart() calls. */
#endif
#ifndef V
#define V 0      /* The supervisors. */
#endif
#ifndef K
#define K 0      /* How many callers are killed, each at any step. */
#endif
#ifndef C
#define C 0      /* How many servers crash. */
#endif
#ifndef A
#define A 0      /* How many starts are aborted, or run out of time, while they wait for readiness. */
#endif
#ifndef H
#define H 0      /* How often a supervisor finds a ready server sick. */
#endif
#ifndef F
#define F 0      /* How often a server's process ends and leaves a child that carries the lock. */
#endif
#ifndef D
#define D 0      /* How many servers drop the lock before they are ready. */
#endif
#ifndef B
#define B 0      /* 1: the starter cannot see whether its server carries the lock, and asks flock. */
#endif
#ifndef TR
#define TR 0     /* How often a start trims the journal, at most 2. */
#endif
#define BIT(p) (1 << (p))
#define MAX(value, other) if :: other > value -> value = other :: else fi

/* The process lock has two possible carriers: the starter's copy and the server's. There is one server at most, which the spawn asserts. */
byte starter = 0, server = 0;            /* The caller that has the lock; the number of the newest server. */
bool alive = false, ready = false, dying = false;
#if D > 0 || defined(MUT_UNLOCK) || defined(MUT_HANDOVERUNLOCK)
bool carried = true;                     /* The living server carries the lock. */
#define CARRIED carried
#define setCarried(value) carried = value
#else
#define CARRIED true
#define setCarried(value) skip
#endif
#define FREE (starter == 0 && !(alive && CARRIED))
/* A start closes its copy of the lock, which leaves the server its own. LOCK_UN would take the lock from both. */
#define close() starter = 0
#define unlock() starter = 0; setCarried(false)
#ifdef MUT_HANDOVERUNLOCK
#define handOver() unlock()
#else
#define handOver() close()
#endif
#ifdef MUT_UNLOCK
#define giveUp() unlock()
#else
#define giveUp() close()
#endif
#if B > 0
byte handing = 0;                        /* The starter that has closed its copy, and has neither appended `ready` nor died. */
#define ISTHROUGH (starter == 0 && handing == 0)
#define forgetHanding(i) if :: handing == i -> handing = 0 :: else fi
#else
#define ISTHROUGH (starter == 0)
#define forgetHanding(i) skip
#endif

/* The journal, src/state/journal.ts. `end` is the place of the next line. A line at place p is kept as p + 1, so that "it stands at or
   beyond place q" is `line > q`. Only the last line of each kind counts. The journal's locks are those of one file: trimming makes a new
   file, and `file` is the one that the name leads to. */
byte end = 0, lastStop = 0, lastRestart = 0, lastAbandon = 0, undone = 0;
byte file = 0, cut[TR + 1], ex[TR + 1], sh[TR + 1];   /* cut: how far the start that made this file had read. */
#define GAP 4
#if F > 0 || D > 0
byte named = 0;                          /* The server that the last `spawn` names. */
#endif
#if F > 0
#define LEFTOVERS (alive && ISTHROUGH && named != 0 && named != server) /* The named process is dead, and a child of it carries the lock. */
#else
#define LEFTOVERS false
#endif
/* src/start/launch.ts asks these of what it has read. */
#define WANTED  (lastStop <= undone || lastStop < lastRestart)
#ifdef MUT_DEADRESTART
#define RESTARTING false
#else
#define RESTARTING (lastRestart > undone)
#endif
#define PENDING (lastStop > undone || RESTARTING || lastAbandon > undone) /* A server that is there is to be ended, or is being ended. */
#define STOPPED_SINCE (lastStop > place)                                  /* A stop stands beyond what this start remembers. */
#define IDLE    (ex[file] == 0 && sh[file] == 0)                          /* No caller is at work: LOCK_EX can be had. */

/* What the properties remember. Stops are numbered by the order of their lines. */
byte called = 0, over = 0;               /* The newest stop that was called; the newest that has returned. */
byte asked = 0;                          /* The newest stop after which a caller asked for the process. */
bool intent = true;                      /* What the last call wants. */
int signalled = 0, given = 0;            /* Sets of servers, as bits. */
byte kills = 0, crashes = 0, aborts = 0, sicks = 0, forks = 0, drops = 0, running = 0, supervisors = 0;
bool quiet = false, ended = false;       /* No accident happens any more; the supervisors are to end. */
#define ALIVE(id) (running & BIT(id))

#define signalServer() dying = true; signalled = signalled | BIT(server)
#define dies() alive = false; ready = false; dying = false; setCarried(true)
/* The kernel closes whatever a killed caller had open. */
#define KILL(i) :: atomic { (!quiet && kills < K && ALIVE(i)) -> kills++; running = running & ~BIT(i); \
    if :: starter == i -> starter = 0 :: else fi; forgetHanding(i); \
    if :: ex[0] == i -> ex[0] = 0 :: else fi; sh[0] = sh[0] & ~BIT(i); \
    if :: ex[(TR + 1) / 2] == i -> ex[(TR + 1) / 2] = 0 :: else fi; sh[(TR + 1) / 2] = sh[(TR + 1) / 2] & ~BIT(i); \
    if :: ex[TR] == i -> ex[TR] = 0 :: else fi; sh[TR] = sh[TR] & ~BIT(i) }

proctype System() {
endSystem:
  do
  :: atomic { alive && !ready && !dying -> ready = true }
  :: atomic { alive && dying -> dies() }
  :: atomic { (!quiet && crashes < C && alive) -> crashes++; dies() }
#if F > 0
  :: atomic { (!quiet && forks < F && alive && !dying) -> forks++; server++ }      /* The child that stays has a number of its own. */
#endif
#if D > 0
  :: atomic { (!quiet && drops < D && alive && !ready && named == server && CARRIED) -> drops++; setCarried(false) }
#endif
  KILL(1) KILL(2) KILL(3) KILL(4) KILL(5) KILL(6)
  od
}

#define release() sh[f] = sh[f] & ~BIT(id)
/* Takes LOCK_SH on the journal, and makes sure that it is still the file that the name leads to (src/state/journal.ts). */
inline lockShared() {
  do
  :: f = file;
     atomic { ex[f] == 0 -> sh[f] = sh[f] | BIT(id) };
     atomic { if :: f == file -> break :: else -> release() fi }
  od
}
/* Ends servers until the process lock was free for an instant, and no server is left that has dropped it (src/stop/stop.ts). */
#if D > 0
#define ISDOWN (FREE && !alive)
#else
#define ISDOWN FREE
#endif
inline bringDown() {
  do
  :: ISDOWN -> break
  :: atomic { alive -> signalServer(); k = server };
     !(alive && server == k)
  od
}

/* A stop or a restart appends its line in the turn of its call, with one write and without any lock. */
#define writeStop() called++; n = called; intent = false; end++; lastStop = end; my = end
#define writeRestart() end++; lastRestart = end; place = end; my = end; seen = called; intent = true; MAX(asked, seen)
#if TR > 0
/* Between open(2) and the write, another file may be renamed over the one that was opened: then the line is lost. */
#define callWith(write) born = file; atomic { if :: born == file -> write() :: else -> my = 255 fi }
#else
#define callWith(write) atomic { write() }
#endif
/* Under LOCK_SH, the caller writes its line again when a trim has made a file without it. */
#if TR > 0 && !defined(MUT_NOREWRITE)
#define writeAgain(write) atomic { if :: born < file && my > cut[born + 1] -> write(); born = file :: else fi }
#else
#define writeAgain(write) skip
#endif

/* src/stop/stop.ts. */
proctype Stop(byte id) { byte n = 0, my = 0, f = 0, k = 0, born = 0;
  {
    callWith(writeStop);
#ifndef MUT_NOSHARED
    lockShared();
#else
    f = file;
#endif
    writeAgain(writeStop);
    if
#ifndef MUT_NOOVERTAKEN
    :: undone >= my                      /* A start has undone it already, and that start saw the process lock free after this call. */
#endif
    :: else -> bringDown()
    fi;
    atomic { release(); MAX(over, n); running = running & ~BIT(id); n = 0; my = 0; k = 0; f = 0; born = 0 }
  } unless { atomic { !ALIVE(id) -> n = 0; my = 0; k = 0; f = 0; born = 0 } }
}

#define FAILED 1
#define STOPPED 2
#define STARTED 3
#ifdef MUT_NOUNDOES
#define READ end                         /* The `start` undoes whatever stands before it. */
#elif defined(MUT_SUPUNDOES)
#define READ (isSupervisor -> limit : read)
#else
#define READ read
#endif
#ifdef MUT_REUSE
#define MAYREUSE true
#else
#define MAYREUSE (!STOPPED_SINCE && !PENDING)
#endif
#ifdef MUT_NOPENDING
#define MINE false
#else
#define MINE PENDING
#endif
#ifdef MUT_NOCHECK
#define UNWANTED false
#else
#define UNWANTED (STOPPED_SINCE || MINE)
#endif
#ifdef MUT_NOSAME
#define ISSAME true
#else
#define ISSAME (undone == u)
#endif
#ifdef MUT_NOHANDOVER
#define HANDEDOVER true
#else
#define HANDEDOVER ISTHROUGH
#endif
#ifdef MUT_NOABANDON
#define writeAbandon() skip
#else
#define writeAbandon() end++; lastAbandon = end
#endif
#ifdef MUT_ADOPT
#define writeSuccessor() skip
#else
#define writeSuccessor() named = server
#endif
#if B > 0
#define HASLOCK (my == 0)                /* `my` is 1 once flock has granted the lock that the server should carry. */
#elif defined(MUT_NOLOCKLOOK)
#define HASLOCK true
#else
#define HASLOCK CARRIED
#endif
#if F > 0
#define ISOURS (server == k)             /* The family still has the process that this start spawned. */
#else
#define ISOURS true
#endif
#define mayReturn() assert(!(signalled & BIT(k))); given = given | BIT(k); \
  if :: !isSupervisor -> assert(TR > 0 || !isStart || called == seen); assert(seen >= over) :: else fi
#define clear() k = 0; my = 0; born = 0; f = 0; read = 0; u = 0; sStop = 0; sRestart = 0; sAbandon = 0

/* src/start/start.ts: contend, finish, join. `place` is what this start remembers. The proctype has the labels `again`, before this
   inline, and `done`, after it. */
inline start(isStart, isSupervisor, watches) {
  if
  :: atomic { STOPPED_SINCE -> outcome = STOPPED; goto done }
  :: atomic { !STOPPED_SINCE && FREE -> starter = id }                      /* It has won the process lock. */
  :: atomic { watches && !STOPPED_SINCE && !FREE -> goto done }
#ifndef MUT_NOFINISH
#ifdef MUT_CHASE
  :: !watches && !STOPPED_SINCE && !FREE && PENDING && IDLE ->
#else
  :: !watches && !STOPPED_SINCE && alive && PENDING && IDLE ->              /* The caller that was to end this server is dead, or has not begun: finish. */
#endif
     lockShared();
     if :: PENDING -> bringDown() :: else fi;
     atomic { release(); clear(); goto again }
#endif
#if F > 0 && !defined(MUT_LEFTOVERS)
  /* Nothing is pending, and what carries the lock has outlived its process: it is adopted by a `spawn`, or given up by an `abandon`, after
     which the branch above ends it. Both lines are written under LOCK_EX. */
  :: !watches && !STOPPED_SINCE && LEFTOVERS && !PENDING ->
     f = file;
#ifdef MUT_SURVIVORSHARED
     atomic { ex[f] == 0 -> sh[f] = sh[f] | BIT(id) };
#else
     atomic { ex[f] == 0 && sh[f] == 0 -> ex[f] = id };
#endif
     if
     :: atomic { f == file && LEFTOVERS && !PENDING && ready -> read = server };
        atomic { named = read }
     :: atomic { f == file && LEFTOVERS && !PENDING -> read = server };
        atomic { writeAbandon(); assert(!(given & BIT(read))) }
     :: else
     fi;
     atomic { release(); if :: ex[f] == id -> ex[f] = 0 :: else fi; clear(); goto again }
#endif
  :: atomic { !watches && MAYREUSE && HANDEDOVER && alive && CARRIED && !LEFTOVERS && ready -> k = server; u = undone }; goto reuse
  fi;

lock:                                                                       /* src/start/launch.ts: LOCK_EX on the journal. */
  f = file;
  atomic {
    if
    :: ex[f] == 0 && sh[f] == 0 -> ex[f] = id
#ifdef MUT_NOEX
    :: else
#elif defined(MUT_KEEPLOCK)
    :: else -> (ex[f] == 0 && sh[f] == 0); ex[f] = id
#else
    :: else -> starter = 0; goto wait                                       /* A stop is at work, and needs the process lock to be free. */
#endif
    fi
  };
  atomic { if :: f != file -> ex[f] = 0; goto lock :: else fi };
  atomic {                                                                  /* It reads to the end, and looks. */
    if
#ifndef MUT_NOREAD
    :: STOPPED_SINCE -> ex[f] = 0; starter = 0; outcome = STOPPED; goto done
#endif
    :: else -> read = end; sStop = lastStop; sRestart = lastRestart; sAbandon = lastAbandon
    fi
  };
  if
  :: atomic { true -> undone = READ; end++;                                 /* It appends `start`. */
       assert(lastStop <= read || lastStop > undone);                       /* No stop is undone that was not read. */
       ex[f] = 0 }
#if TR > 0
  /* It trims: the new file ends with the `start`, and is complete before it is renamed over the old one. */
  :: atomic { file < TR -> file++; cut[file] = read;
       lastStop = sStop; lastRestart = sRestart; lastAbandon = sAbandon;
#ifdef MUT_NOGAP
       end = read + 1;
#else
       end = read + GAP + 1;
#endif
#ifdef MUT_SPLIT
       end-- };
     atomic { undone = READ; end++; ex[f] = 0 }
#else
       undone = READ; ex[f] = 0 }
#endif
#endif
  fi;
#if D > 0 && !defined(MUT_NONAMED)
  /* Whoever has the lock ends the process that the last `spawn` names, although it carries no lock. */
  atomic { if :: alive -> assert(named == server && !(given & BIT(server))); signalServer() :: else fi };
  !alive;
#endif
  atomic {                                                                  /* It spawns. */
    assert(!alive);
    if :: isStart -> assert(seen >= over) :: else -> assert(asked >= over) fi;
    server++; assert(server < 12);                                          /* No caller starts and ends for ever. */
    alive = true; k = server
  };
#if F > 0 || D > 0
  atomic { named = k };                                                     /* It appends `spawn`. */
#endif
await:
  if
#if B == 0
  /* It looks, appends `ready` and hands over, in one turn. */
  :: atomic { alive && ready && ISOURS && HASLOCK && !UNWANTED -> handOver(); mayReturn(); outcome = STARTED; goto done }
#else
  /* It holds LOCK_EX on the journal, closes its copy, and tries to get the lock. A rival that wins it is refused at the journal, and lets go. */
#ifdef MUT_BLIND
  :: atomic { alive && ready && ISOURS && HASLOCK && !UNWANTED -> close(); handing = id };
#else
  :: atomic { alive && ready && ISOURS && HASLOCK && !UNWANTED && IDLE -> ex[f] = id; close(); handing = id };
#endif
     if
     :: atomic { FREE -> starter = id; handing = 0; if :: ex[f] == id -> ex[f] = 0 :: else fi; my = 1; goto await }
#ifdef MUT_BLIND
     :: atomic { !FREE && !UNWANTED -> mayReturn(); handing = 0; outcome = STARTED; goto done }
#else
     :: atomic { alive && CARRIED && !UNWANTED -> mayReturn(); handing = 0; ex[f] = 0; outcome = STARTED; goto done }
#endif
     :: atomic { alive && CARRIED && UNWANTED -> assert(!(given & BIT(k))); signalServer() };
        atomic {
          !alive -> handing = 0; if :: ex[f] == id -> ex[f] = 0 :: else fi;
          if :: STOPPED_SINCE -> outcome = STOPPED; goto done :: else -> clear(); goto again fi
        }
     fi
#endif
  :: atomic { alive && UNWANTED -> assert(!(given & BIT(k))); signalServer() }
  :: atomic { !alive && UNWANTED }
  :: atomic { !alive && !UNWANTED -> assert(!(signalled & BIT(k))); starter = 0; outcome = FAILED; goto done }
#if F > 0
  :: atomic { alive && !ISOURS && !UNWANTED -> k = server; writeSuccessor(); goto await }   /* The server has daemonised: it is adopted. */
#endif
#if A > 0 || F > 0 || D > 0
  /* It gives its server up. The line comes before the first signal. */
  :: atomic { alive && (aborts < A && !quiet || !HASLOCK || !ISOURS) ->
       if :: HASLOCK && ISOURS -> aborts++ :: else fi; writeAbandon(); assert(!(given & BIT(k))) };
     atomic { if :: alive -> signalServer() :: else fi };
     if
     :: atomic { !alive -> starter = 0; outcome = FAILED; goto done }
     :: atomic { alive -> giveUp(); outcome = FAILED; goto done }            /* The server did not go in time. */
     fi
#endif
  fi;
  atomic {
    !alive -> starter = 0;
    if :: STOPPED_SINCE -> outcome = STOPPED; goto done :: else -> clear(); goto again fi   /* After a restart it contends again. */
  };
wait:
  (STOPPED_SINCE || IDLE);
  atomic { clear(); goto again };
reuse:                                                                      /* The last look of a loser: the same `start`, and nothing pending. */
  atomic {
    if
#ifdef MUT_REUSE
    :: true -> mayReturn(); outcome = STARTED; goto done
#endif
    :: STOPPED_SINCE -> outcome = STOPPED; goto done
    :: !STOPPED_SINCE && (PENDING || !ISSAME) -> clear(); goto again
    :: else -> mayReturn(); outcome = STARTED; goto done
    fi
  }
}

proctype Start(byte id) { byte place = 0, seen = 0, outcome = 0, k = 0, my = 0, born = 0, f = 0, read = 0, u = 0, sStop = 0, sRestart = 0, sAbandon = 0, limit = 0;
  {
    atomic { place = end; seen = called; intent = true; MAX(asked, seen) };
again:
    start(true, false, false);
done:
    atomic {
      assert(outcome != STOPPED || called > seen);                          /* No older stop ends a start. */
      running = running & ~BIT(id); clear(); place = 0; seen = 0; outcome = 0
    }
  } unless { atomic { !ALIVE(id) -> clear(); place = 0; seen = 0; outcome = 0 } }
}

/* src/manager/process-manager.ts#restart: the first half of a stop, and then a start that remembers its own line. */
proctype Restart(byte id) { byte place = 0, seen = 0, outcome = 0, k = 0, my = 0, born = 0, f = 0, read = 0, u = 0, sStop = 0, sRestart = 0, sAbandon = 0, limit = 0;
  {
    callWith(writeRestart);
    lockShared();
#ifndef MUT_RESTARTLOST
    writeAgain(writeRestart);
#else
    if :: my == 255 -> writeAgain(writeRestart) :: else fi;
#endif
    if :: undone >= place :: else -> bringDown() fi;
    atomic { release(); clear() };
again:
    start(true, false, false);
done:
    atomic {
      assert(outcome != STOPPED || called > seen);
      running = running & ~BIT(id); clear(); place = 0; seen = 0; outcome = 0
    }
  } unless { atomic { !ALIVE(id) -> clear(); place = 0; seen = 0; outcome = 0 } }
}

/* src/supervise/policy.ts decides, src/supervise/supervisor.ts does it. */
#ifdef MUT_SUPERVISOR
#define FORGIVEN end
#else
#define FORGIVEN limit
#endif
#define KEEP (WANTED || lastStop <= FORGIVEN)
#ifdef MUT_SICKRESTART
#define writeSick() end++; lastRestart = end
#elif defined(MUT_NOSICKLINE)
#define writeSick() skip
#else
#define writeSick() writeAbandon()
#endif

proctype Supervisor(byte id) { byte place = 0, seen = 0, outcome = 0, k = 0, my = 0, born = 0, f = 0, read = 0, u = 0, sStop = 0, sRestart = 0, sAbandon = 0, limit = 0; bool first = false;
  {
    /* It undoes the stops that it finds, and then its first attempt is a whole start(); or it respects them. */
    atomic { if :: limit = end; place = end; first = true; intent = true; MAX(asked, called); goto again :: true fi };
watch:
    if
    :: atomic { ended -> goto out }
    :: atomic { !ended && FREE && KEEP -> place = lastStop }                /* Every stop so far is undone. */
#if F > 0
    :: atomic { !ended && LEFTOVERS && KEEP -> place = lastStop; first = true }
#endif
#if H > 0
    /* The server is sick. Under LOCK_SH the supervisor looks once more, says so in the journal, and ends that server. */
    :: atomic { !ended && !quiet && sicks < H && alive && ready && ISTHROUGH -> sicks++; k = server };
#ifdef MUT_SICKNOSHARED
       f = file;
#else
       lockShared();
#endif
       atomic { if :: alive && server == k && KEEP && !PENDING :: else -> release(); clear(); goto watch fi };
       atomic { writeSick() };
       bringDown();
       atomic { release(); clear(); goto watch }
#endif
    fi;
again:
    start(false, true, !first);
done:
    atomic { clear(); place = 0; outcome = 0; first = false; goto watch };
out:
    atomic { running = running & ~BIT(id); limit = 0 }
  } unless { atomic { !ALIVE(id) -> clear(); place = 0; outcome = 0; limit = 0; first = false } }
}

#define CALL(Caller, count) i = 0; do :: i < count -> i++; id++; running = running | BIT(id); run Caller(id) :: else -> break od
#define FAILURES (crashes + aborts + forks + drops)

init {
  byte i = 0, id = 0;
  atomic {
    run System(); CALL(Start, S); CALL(Stop, T); CALL(Restart, R);
    supervisors = running; CALL(Supervisor, V); supervisors = running & ~supervisors; i = 0; id++
  };
  (running & ~supervisors) == 0;
  quiet = true;
  timeout;                                                                  /* Nothing is left to do. */
  assert(starter == 0);
  assert(kills > 0 || (running & supervisors) == 0 && FAILURES > 0 || WANTED == intent && alive == WANTED || S + R + V == 0);
  assert((running & supervisors) == 0 || !WANTED || alive && !LEFTOVERS);   /* A supervisor keeps what is wanted. */
  /* After all of it one more stop() and one more start() just work. */
  atomic { running = running | BIT(id); run Stop(id) };
  (running & ~supervisors) == 0;
  timeout;
  assert(!WANTED && !alive);
  atomic { running = running | BIT(id); run Start(id) };
  (running & ~supervisors) == 0;
  timeout;
  assert(WANTED && alive);
  ended = true;
  running == 0
}

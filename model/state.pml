/* What there is: the lock, the processes, the PID file, the mark, and what the properties need to remember.
   Processes are numbered from 1; sets of them are bit masks. A living process carries
   the lock, at descriptor 3, until it is dead: src/process/spawn.ts#spawnProcess gives it to the first, a fork to the others. */
#ifndef S
#define S 1      /* start() calls */
#endif
#ifndef T
#define T 1      /* stop() calls */
#endif
#ifndef R
#define R 0      /* restart() calls */
#endif
#ifndef V
#define V 1      /* supervisors */
#endif
#ifndef K
#define K 1      /* callers that are killed, at any step */
#endif
#ifndef C
#define C 1      /* processes that die by themselves */
#endif
#ifndef F
#define F 0      /* forks: of a server that daemonises, or whose child outlives it */
#endif
#ifndef A
#define A 0      /* starts that are aborted or out of time while they wait for readiness */
#endif
#ifndef H
#define H 0      /* times that a supervisor finds a running process sick */
#endif

#define BIT(p) (1 << (p))

/* NAME.lock: one open file. Who takes it (src/process/stop.ts#tryLock) shares it with what it spawns, and closes its copy
   (src/lock/held-lock.ts#handOver). */
byte starter = 0;
byte alive = 0;
#ifdef MUT_UNLOCK
#define FREE (starter == 0)
#else
#define FREE (starter == 0 && alive == 0)
#endif

byte ready = 0, dying = 0;       /* answers; was signalled */
byte children = 0, exitedWell = 0; /* was forked; ended with exit code 0 */

/* NAME.pid: whom it names, and which start has it locked (src/process/process-record.ts#writeRecord). */
byte record = 0, recordBy = 0;

/* NAME.down: 0 is none, else which one (inode and time); whether the word `restart` stands in it; how many hold LOCK_SH on
   it; and which was cleared last (src/process/mark-file.ts#readMark, #readPastMark). */
byte mark = 0; bool word = false; byte holders = 0, past = 0, marks = 0;
#define newMark() marks++; mark = marks

/* src/process/identity.ts#identify, in one look. */
#define PROVEN ((alive & BIT(record)) != 0)
#define LEFTOVERS (alive != 0 && record != 0 && !PROVEN && starter == 0)
#define OLDEST (alive & 2 -> 1 : (alive & 4 -> 2 : (alive & 8 -> 3 : (alive & 16 -> 4 : 5))))
#define PROCESS (PROVEN -> record : (alive != 0 && !LEFTOVERS -> OLDEST : 0))

/* Are port or isHealthy configured (src/process/readiness.ts#hasChecks)? Then a healthy leftover is adopted. */
bool hasChecks = false;

/* The callers, each one bit: who is alive, which of them are supervisors, who holds LOCK_SH on the mark. */
byte running = 0, supervisors = 0, onMark = 0;
#define CALLERS (running & ~supervisors)
#define isAlive (running & BIT(id))
#define holdMark() holders++; onMark = onMark | BIT(id)
#define releaseMark() holders--; onMark = onMark & ~BIT(id) /* down-mark.ts#HeldMark.release */

/* For the properties. Stops are numbered by their marks. */
byte begun = 0;     /* stops that were called */
byte stops = 0;     /* the newest stop whose mark is complete */
byte over = 0;      /* the newest stop that has returned */
byte asked = 0;     /* the newest stop that somebody asked for the process after */
byte condemned = 0; /* signalled by a stop or a restart */
byte given = 0;     /* returned by a start() */

byte kills = 0, crashes = 0, forks = 0, aborts = 0, sicks = 0;
bool quiet = false; /* no more accidents: what is to happen by itself has to happen now */
bool ended = false; /* supervision is to end */

#define MAX(value, other) if :: other > value -> value = other :: else fi

/* What a caller looks at; whom it waits for to be gone; who was dying at its call. By caller, so that the number of a process
   that is dead and concerns nobody can be given again, which keeps the model small. The code tells one that got an old
   number by its start time (src/process/process-table.ts#isAlive). */
byte looksAt[8], waitsFor[8], wasDying[8];
#define forgets(i, p) waitsFor[i] = waitsFor[i] & ~BIT(p); wasDying[i] = wasDying[i] & ~BIT(p)
#define isFreeNumber(p) (!(alive & BIT(p)) && record != p && looksAt[1] != p && looksAt[2] != p && looksAt[3] != p && \
  looksAt[4] != p && looksAt[5] != p && looksAt[6] != p && looksAt[7] != p)
inline makeProcess() {
  if
  :: isFreeNumber(1) -> born = 1
  :: !isFreeNumber(1) && isFreeNumber(2) -> born = 2
  :: !isFreeNumber(1) && !isFreeNumber(2) && isFreeNumber(3) -> born = 3
  :: !isFreeNumber(1) && !isFreeNumber(2) && !isFreeNumber(3) && isFreeNumber(4) -> born = 4
  :: !isFreeNumber(1) && !isFreeNumber(2) && !isFreeNumber(3) && !isFreeNumber(4) -> assert(isFreeNumber(5)); born = 5
  fi;
  alive = alive | BIT(born);
  condemned = condemned & ~BIT(born); exitedWell = exitedWell & ~BIT(born); children = children & ~BIT(born)
}

/* The operating system and the servers. */
#define dies(p) alive = alive & ~BIT(p); ready = ready & ~BIT(p); dying = dying & ~BIT(p); given = given & ~BIT(p); \
  forgets(1, p); forgets(2, p); forgets(3, p); forgets(4, p); forgets(5, p); forgets(6, p); forgets(7, p)
#define SERVER(p) \
  :: atomic { (alive & ~ready & ~dying & BIT(p)) -> ready = ready | BIT(p) } \
  :: atomic { (alive & dying & BIT(p)) -> dies(p) } \
  :: atomic { (!quiet && crashes < C && (alive & BIT(p))) -> crashes++; dies(p) } \
  :: atomic { (!quiet && forks < F && alive == BIT(p)) -> forks++; makeProcess(); children = children | BIT(born); born = 0 } \
  :: atomic { (!quiet && (alive & ~children & BIT(p)) && (alive & children)) -> exitedWell = exitedWell | BIT(p); dies(p) }

/* SIGKILL, at any step: the kernel closes what the caller had open. */
#define KILL(i) \
  :: atomic { (!quiet && kills < K && (running & BIT(i))) -> kills++; running = running & ~BIT(i); \
       if :: starter == i -> starter = 0 :: else fi; \
       if :: recordBy == i -> recordBy = 0 :: else fi; \
       if :: (onMark & BIT(i)) -> holders--; onMark = onMark & ~BIT(i) :: else fi }

proctype System() {
  byte born = 0;
end:
  do
  SERVER(1)
  SERVER(2)
  SERVER(3)
  SERVER(4)
  SERVER(5)
  KILL(1)
  KILL(2)
  KILL(3)
  KILL(4)
  KILL(5)
  KILL(6)
  od
}

/* The shared lifetime: users hold LOCK_SH on NAME.users, the watcher of each server waits for LOCK_EX. -DU=users -DR=rounds per user -DK=kills -DC=crashes
   -DL=1: the server lingers. How long is left out: a linger may be over at once, or last until all have come.
   The agreement file in the folder is there when the folder is. */
#ifndef U
#define U 3
#endif
#ifndef R
#define R 1
#endif
#ifndef K
#define K 1
#endif
#ifndef C
#define C 1
#endif
#ifndef L
#define L 0
#endif
#define MAX 9
#define NEVER 255
#define FREE (starter == 0 && carrier == 0)
byte sh = 0; byte ex = 0;      /* The users file: how many processes hold LOCK_SH, and which one holds LOCK_EX (0: none). */
byte lines = 0;                /* The lines of the users file. */
byte used = 0;                 /* How often a server was handed out. */
byte starter = 0, carrier = 0; /* The carriers of the server's lock. */
bool alive[MAX], ready[MAX], crashed[MAX]; byte in[MAX]; byte made = 0, up = 0, kills = 0, crashes = 0, watchers = 0; bool folder = false;
#define MAYKILL if :: (kills < K) -> kills++; goto killed :: true fi
inline fall(k) { atomic { if :: alive[k] -> alive[k] = false; up--; if :: carrier == k -> carrier = 0 :: else fi :: else fi } }
inline kill_(k) { atomic { assert(!alive[k] || in[k] == 0); fall(k) } }

/* src/start/watcher.sh#watch */
proctype Watcher(byte k) { byte seen = NEVER, at = 0;
endw:
#ifdef MUT_EARLY
  atomic { (sh == 0 && ex == 0) -> skip };                       /* The watcher does not keep the lock while it ends the server. */
  kill_(k)
#else
  atomic { (sh == 0 && ex == 0) -> ex = 100 + k };
#if L
  do
#ifdef MUT_ONCE
  :: seen == NEVER && alive[k] ->                                   /* Users that have joined and left since do not count. */
#else
  :: seen != lines && alive[k] ->
#endif
     at = used;
#ifdef MUT_LATELINES
     ex = 0; seen = lines;                                          /* The watcher reads the lines after it has released the lock. */
#else
     seen = lines; ex = 0;
#endif
#ifdef MUT_NOASK
     kill_(k); goto outw                                            /* The watcher ends the server without asking whether there are users. */
#else
     atomic { (sh == 0 && ex == 0) -> ex = 100 + k }
#endif
  :: else -> break
  od;
  assert(!alive[k] || (seen != NEVER && at == used));               /* The server has lingered since its last use. */
#endif
  kill_(k);
  ex = 0
#endif
  ; outw: watchers--
}
proctype Server(byte k) { if :: alive[k] -> ready[k] = true :: !alive[k] -> skip fi;
ends: if :: (crashes < C && alive[k]) -> atomic { crashes++; crashed[k] = true; fall(k) } :: !alive[k] -> skip fi }

/* src/testing/start-shared.ts#startShared and leave(): users.ts#joinUsers, start.ts#start,
   users.ts#leaveUsers, shared-use.ts#leave */
proctype User(byte id) { byte r = 0, k = 0; bool mine = false, inn = false;
  do
  :: r < R -> r++; k = 0;
#ifdef MUT_LATE
     if :: FREE -> skip :: !FREE -> k = carrier fi;               /* The user looks for the server before it is counted. */
#endif
join:
     if                                                             /* users.ts#joinUsers */
     :: atomic { (sh == 0 && ex == 0) -> ex = id }; MAYKILL;
        if                                                          /* start-shared.ts#joinInstance: the folder anew */
        :: FREE || !folder -> folder = false; MAYKILL; folder = true; MAYKILL
        :: !FREE && folder
        fi;
        ex = 0                                                      /* flock(2) does not go from LOCK_EX to LOCK_SH in one step. */
     :: (sh > 0 && ex == 0)
     fi;
#ifdef MUT_EARLYLINE
     lines++;                                                       /* The line is not added under LOCK_SH. */
#endif
     if :: atomic { ex == 0 -> sh++; mine = true } :: ex != 0 -> goto join fi; MAYKILL;
#if L
#ifndef MUT_EARLYLINE
     lines++; MAYKILL;
#endif
#endif
#ifdef MUT_AGREEMENT
     folder = false; folder = true;                                 /* not under LOCK_EX */
#endif
     if :: folder :: atomic { !folder -> sh--; mine = false }; goto join fi; MAYKILL;
again:
     if
     :: atomic { FREE -> starter = id }; MAYKILL;
        lines = 0;                                                  /* spawn.ts empties the file for the next watcher. */
        atomic { made < MAX - 1; made++; k = made; alive[k] = true; up++; assert(up == 1); carrier = k; watchers++; run Watcher(k); run Server(k) }; MAYKILL;
        if :: ready[k] :: !alive[k] fi; starter = 0; MAYKILL
     :: !FREE ->
#ifdef MUT_LATE
        skip
#else
        if :: atomic { carrier != 0 && ready[carrier] -> k = carrier } :: FREE -> goto again fi
#endif
     fi;
     assert(k != 0 && (alive[k] || crashed[k]));                    /* No user is handed a server that was ended. */
     atomic { if :: k != 0 && alive[k] -> in[k]++; inn = true; used = used + L; assert(folder) :: else fi };
     MAYKILL;                                                       /* The user uses the server. */
     atomic { assert(!inn || folder); if :: inn -> in[k]--; inn = false :: else fi };
     atomic { sh--; mine = false }
#if L
#ifdef MUT_TAKEAWAY
     ; if :: sh == 0 && ex == 0 -> folder = false :: else fi        /* The last user to leave removes the folder without LOCK_EX. */
#endif
#else
     ; if
     :: atomic { sh == 0 && ex == 0 -> ex = id };                   /* The last user leaves. */
        MAYKILL;
        if :: carrier != 0 -> k = carrier; kill_(k) :: carrier == 0 fi;
        folder = false; MAYKILL; ex = 0
     :: sh > 0 && ex == 0                                       /* There are other users; while one of them ends the server, this one waits. */
     fi
#endif
  :: r >= R -> break
  od; goto out;
killed: atomic { if :: inn -> in[k]-- :: else fi; if :: mine -> sh-- :: else fi; if :: starter == id -> starter = 0 :: else fi; if :: ex == id -> ex = 0 :: else fi };
out: skip
}
init { byte i = 0; atomic { do :: i < U -> i++; run User(i) :: i >= U -> break od };
  (_nr_pr == 1); assert(up == 0); assert(sh == 0 && ex == 0 && watchers == 0); assert(kills > 0 || L || !folder) }

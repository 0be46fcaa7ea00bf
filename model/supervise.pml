/* src/process/supervisor.ts, supervision-table.ts, lookout.ts. */
#ifdef MUT_FORGET
#define isWantedMark true
#define knownToSupervisor mark
#else
#define isWantedMark (mark == undone)
#define knownToSupervisor undone
#endif
#ifdef MUT_OVERWRITE
#define mayMark true
#else
#define mayMark (mark == 0)
#endif

proctype Supervisor(byte id) {
  byte born = 0, known = 0, knownAtCall = 0, pastAtCall = 0, seen = 0, outcome = 0, undone = 0;
  bool isRecorded = false;
  {
    atomic {
      if
      :: true -> if :: word :: else -> undone = mark fi; MAX(asked, stops) /* supervise() undoes the stop that it finds */
      :: true                                                /* respectStop: begins on standby */
      fi
    };
begin:                                                       /* supervisor.ts#start: respectMarks, known: undone */
    atomic { wants(knownToSupervisor); wasDying[id] = condemned & alive };
again:
    start(false);
started:
    atomic { forget() };
look:                                                        /* lookout.ts#look, supervision-table.ts#TABLE */
    if
    :: atomic { ended -> goto out }
    :: atomic { !ended && FREE && !word && (mark == 0 || isWantedMark) -> goto begin } /* 'free': restart */
#ifndef MUT_DEADRESTART
    :: atomic { !ended && FREE && word && holders == 0 -> goto begin } /* 'half restarted': finish restart */
    :: !ended && !FREE && word && holders == 0 ->            /* 'half stopped': restart.ts#finishStop */
       if :: atomic { mark != 0 -> holdMark() } :: mark == 0 -> goto look fi
#endif
    :: atomic { (!ended && !quiet && sicks < H && mark == 0 && PROCESS != 0 && (ready & BIT(PROCESS))) -> sicks++ };
       if                                                    /* 'sick': restart.ts#endForRestart, under a mark of its own */
       :: atomic { mayMark -> newMark(); word = true; holdMark() }
       :: !mayMark -> goto look
       fi
    fi;
    bringDown();
    atomic { releaseMark() };
    if                                                       /* restart.ts#clearRestartMark */
    :: atomic { FREE -> starter = id };
       atomic { if :: mark != 0 && holders == 0 && word -> mark = 0; word = false :: else fi; starter = 0 }
    :: true
    fi;
    goto begin;
out:
    atomic { running = running & ~BIT(id); forget(); undone = 0 }
  } unless { atomic { !isAlive -> forget(); undone = 0 } }
}

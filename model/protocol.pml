/* start, stop, restart and supervise, in any number of processes. The properties are assertions beside the steps; README.md
   lists them. "Nobody waits for ever" is that no run ends anywhere but in `init`'s last line. */
#include "state.pml"
#include "stop.pml"
#include "start.pml"
#include "supervise.pml"

#define CALL(Caller, count) \
  i = 0; \
  do :: i < count -> i++; id++; running = running | BIT(id); run Caller(id) :: else -> break od

init {
  byte i = 0, id = 0;
  atomic {
    if :: hasChecks = true :: (F > 0) -> hasChecks = false fi;
    run System();
    CALL(Start, S);
    CALL(Stop, T);
    CALL(Restart, R);
    supervisors = running;
    CALL(Supervisor, V);
    supervisors = running & ~supervisors; i = 0; id++
  };
  CALLERS == 0;
  quiet = true;
  /* Nothing is left to do: a process that is wanted, and looked after, is up. A restart() that died is still wanted. */
  timeout;
  assert((running & supervisors) == 0 || (mark != 0 && !word) || alive != 0);
  atomic { running = running | BIT(id); run Stop(id) };
  CALLERS == 0;
  timeout;
  assert(mark != 0 && !word && alive == 0);
  ended = true;
  running == 0;
  assert(mark != 0 && alive == 0)
}

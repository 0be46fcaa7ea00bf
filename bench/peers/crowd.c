/* crowd N starts N processes that only wait, and prints "ready". They are killed when it ends, however it ends. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 2) return 64;
  pid_t parent = getpid();
  for (long left = atol(argv[1]); left > 0; left--) {
    pid_t child = fork();
    if (child < 0) return 1;
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(0);
      pause();
      _exit(0);
    }
  }
  puts("ready");
  fflush(stdout);
  pause();
  return 0;
}

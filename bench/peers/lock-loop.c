/*
 * The lower bound of a lock: open, flock and close, nothing else.
 * lock-loop FILE BATCHES CALLS prints the nanoseconds of a call: the median of BATCHES batches of CALLS calls each.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

static int compare(const void *one, const void *other) {
  double difference = *(const double *)one - *(const double *)other;
  return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv) {
  if (argc != 4) return 64;
  int batches = atoi(argv[2]), calls = atoi(argv[3]);
  double *results = calloc(batches, sizeof *results);
  for (int batch = 0; batch < batches; batch++) {
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int call = 0; call < calls; call++) {
      int fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
      if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) return 1;
      close(fd);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    results[batch] = ((end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec)) / calls;
  }
  qsort(results, batches, sizeof *results, compare);
  printf("%.1f\n", results[batches / 2]);
  return 0;
}

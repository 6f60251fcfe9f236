// From kill -9 of a whole server to the end of its supervisor's main process.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stopwatch.h"

static const double kSettleMs = 20, kSettleLimitMs = 5000;
static const char* pidfile;

static pid_t master_now(void) {
  FILE* file = fopen(pidfile, "re");
  if (!file) return 0;
  int pid = 0;
  if (fscanf(file, "%d", &pid) != 1) pid = 0;
  fclose(file);
  return pid > 1 && kill(pid, 0) == 0 ? pid : 0;
}

// The main process waits for the lock, and the server has its workers.
static bool is_up(pid_t main_process) { return master_now() != 0 && tree_in_flock(main_process); }

static void one_end(struct candidate* candidate, bool warm_up) {
  unlink(pidfile);
  const pid_t main_process = start(candidate->argv, -1);
  const bool up = eventually(is_up, main_process);
  settle(switches_of_tree, main_process, kSettleMs, kSettleLimitMs);
  const pid_t master = master_now();
  const pid_t group = master ? getpgid(master) : -1;
  const bool apart = group > 1 && group != getpgrp() && group != main_process;

  const double killed = now_us();
  kill(apart ? -group : -main_process, SIGKILL);
  int status;
  const bool ended = waitpid(main_process, &status, 0) == main_process && WIFEXITED(status);
  const double us = now_us() - killed;
  if (warm_up) return;
  if (up && apart && ended)
    keep(candidate, us);
  else
    ++candidate->invalid;
}

// PIDFILE, which the server of each command writes
int measure_services(char** arguments, int rounds, struct field* field) {
  pidfile = arguments[0];
  for (int round = -1; round < rounds && time_left(); ++round)
    for (size_t i = 0; i < field->count; ++i)
      one_end(&field->candidates[i], round < 0);
  print_times(field);
  return 0;
}

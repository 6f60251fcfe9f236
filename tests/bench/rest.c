// Commands that just run, and commands that just wait.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "stopwatch.h"

int measure_runs(int rounds, struct field* field) {
  for (int round = -1; round < rounds && time_left(); ++round)  // the first one warms the caches
    for (size_t i = 0; i < field->count; ++i) {
      struct candidate* each = &field->candidates[i];
      const double before = now_us();
      const bool well = ended_well(start(each->argv, -1));
      const double after = now_us();
      if (round >= 0 && well) keep(each, after - before);
      if (round >= 0 && !well) ++each->invalid;
    }
  print_times(field);
  return 0;
}

static volatile sig_atomic_t interrupted;
static void interrupt(int number) { interrupted = number; }

struct waiting {
  pid_t pid;
  long before, after, rss_anon, pss_anon;
};

static void come_to_rest(struct waiting* waiting, const struct candidate* candidate) {
  waiting->pid = start(candidate->argv, -1);
  settle(switches, waiting->pid, 200, 10000);
  waiting->rss_anon = status_field(waiting->pid, "status", "RssAnon");
  waiting->pss_anon = status_field(waiting->pid, "smaps_rollup", "Pss_Anon");
}

// Prints LABEL, context switches, RssAnon and Pss_Anon (kB), 1 when it had ended, tab-separated.
// The command itself, without its children; all start first, and are watched over the same seconds.
int measure_rest(int seconds, struct field* field) {
  struct waiting* waiting = calloc(field->count, sizeof *waiting);
  if (!waiting) die("keep the processes");
  const struct sigaction action = {.sa_handler = interrupt};
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  for (size_t i = 0; i < field->count && !interrupted; ++i)
    come_to_rest(&waiting[i], &field->candidates[i]);
  for (size_t i = 0; i < field->count; ++i)
    waiting[i].before = switches(waiting[i].pid);
  if (!interrupted) pause_ms(seconds * 1000.0);
  // All are read before the first is ended: the kernel wakes those who queue behind a dead waiter.
  for (size_t i = 0; i < field->count; ++i)
    waiting[i].after = switches(waiting[i].pid);
  for (size_t i = 0; i < field->count; ++i) {
    const bool ended = waitpid(waiting[i].pid, NULL, WNOHANG) != 0;
    printf("%s\t%ld\t%ld\t%ld\t%d\n", field->candidates[i].label,
           waiting[i].after - waiting[i].before, waiting[i].rss_anon, waiting[i].pss_anon, ended);
    if (!ended) kill(-waiting[i].pid, SIGKILL);
  }
  return interrupted ? 130 : 0;
}

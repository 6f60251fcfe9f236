// The measuring half of the bench: what its parts share. run.sh compiles all of them into one
// program, but for the peers: exec_only.c and flock_wait.c.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// One command that is measured, and what was seen of it.
struct candidate {
  const char* label;
  char** argv;
  double* samples;  // microseconds
  size_t count;
  int invalid;  // rounds that did not go as they should: not among the samples
  int refused;  // binds that failed just after it had ended
};

struct field {
  struct candidate* candidates;
  size_t count;
};

// stopwatch.c
double now_us(void);
bool time_left(void);
void pause_ms(double ms);
void die(const char* what) __attribute__((noreturn));
void keep(struct candidate* candidate, double us);
void print_times(const struct field* field);

// processes.c: where "tree" is said, a process with all its threads and descendants
pid_t start(char** argv, int output);
bool ended_well(pid_t pid);
bool asleep(pid_t pid);
bool tree_in_flock(pid_t pid);
long switches_of_tree(pid_t pid);
long switches(pid_t pid);
long status_field(pid_t pid, const char* file, const char* name);
bool eventually(bool (*condition)(pid_t), pid_t pid);
void settle(long (*count)(pid_t), pid_t pid, double interval_ms, double limit_ms);

// holders.c
void lock_shared(const char* path, int fd);
size_t fork_sleepers(pid_t* pids, size_t count);
bool all_gone(const pid_t* pids, size_t count);
double last_farewell_us(void);
int crowd(int argc, char** argv);

// The commands of the program: 0, or they exit with a message.
int measure_runs(int rounds, struct field* field);
int measure_deaths(char** arguments, int rounds, struct field* field);
int measure_polls(char** arguments, int rounds, struct field* field);
int measure_ports(char** arguments, int rounds, struct field* field);
int listen_and_wait(int descriptors);
int measure_services(char** arguments, int rounds, struct field* field);
int measure_rest(int seconds, struct field* field);

// From the death of the last holder to the end of whoever waited for it.
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stopwatch.h"

enum { kLowFd = 3 };
static const double kSettleMs = 1, kSettleLimitMs = 2000;

// Starts the waiting command and lets it come to rest in flock(2).
static pid_t start_waiter(const struct candidate* candidate, bool* waiting) {
  const pid_t waiter = start(candidate->argv, -1);
  *waiting = eventually(tree_in_flock, waiter);
  settle(switches_of_tree, waiter, kSettleMs, kSettleLimitMs);
  return waiter;
}

static void record(struct candidate* candidate, bool warm_up, bool valid, double us) {
  if (warm_up) return;
  if (valid)
    keep(candidate, us);
  else
    ++candidate->invalid;
}

struct flock_of_holders {
  const char* lock;
  int signal;
  pid_t* pids;
  size_t count;
};

// SIGTERM: from the moment at which the last holder ends itself. SIGKILL: from the kill of all.
static void one_death(const struct flock_of_holders* holders, struct candidate* candidate,
                      bool warm_up) {
  lock_shared(holders->lock, kLowFd);
  const size_t made = fork_sleepers(holders->pids, holders->count);
  close(kLowFd);
  if (made == 0) die("start a holder");
  bool waiting;
  const pid_t waiter = start_waiter(candidate, &waiting);

  const double killed = now_us();
  kill(-holders->pids[0], holders->signal);
  const bool well = ended_well(waiter);
  const double ended = now_us();

  const bool dead = all_gone(holders->pids, made);
  const double died = holders->signal == SIGTERM ? last_farewell_us() : killed;
  record(candidate, warm_up, waiting && well && dead && made == holders->count, ended - died);
}

// LOCK HOLDERS exit|kill
int measure_deaths(char** arguments, int rounds, struct field* field) {
  struct flock_of_holders holders = {.lock = arguments[0], .count = (size_t)atol(arguments[1])};
  holders.signal = strcmp(arguments[2], "kill") == 0 ? SIGKILL : SIGTERM;
  holders.pids = calloc(holders.count, sizeof *holders.pids);
  if (!holders.pids) die("keep the holders");
  for (int round = -1; round < rounds && time_left(); ++round)
    for (size_t i = 0; i < field->count; ++i)
      one_death(&holders, &field->candidates[i], round < 0);
  print_times(field);
  return 0;
}

static void write_pidfile(const char* path, pid_t pid) {
  FILE* file = fopen(path, "w");
  if (!file || fprintf(file, "%d\n", pid) < 0 || fclose(file) != 0) die("write the pidfile");
}

// LOCK PIDFILE: the holder dies at another point of the poller's period in each round.
int measure_polls(char** arguments, int rounds, struct field* field) {
  static const double kPeriodMs = 2000;
  for (int round = 0; round < rounds && time_left(); ++round)
    for (size_t i = 0; i < field->count; ++i) {
      pid_t holder;
      lock_shared(arguments[0], kLowFd);
      if (fork_sleepers(&holder, 1) != 1) die("start a holder");
      close(kLowFd);
      write_pidfile(arguments[1], holder);
      const pid_t poller = start(field->candidates[i].argv, -1);
      pause_ms(kPeriodMs * (round + 0.5) / rounds);

      const double killed = now_us();
      kill(holder, SIGKILL);
      const bool dead = all_gone(&holder, 1);  // a zombie would still answer kill(pid, 0)
      const bool well = ended_well(poller);
      record(&field->candidates[i], false, dead && well, now_us() - killed);
    }
  print_times(field);
  return 0;
}

static struct sockaddr_in loopback(int port) {
  return (struct sockaddr_in){.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static bool bind_to(int fd, int port) {
  const struct sockaddr_in address = loopback(port);
  const int one = 1;
  return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
         bind(fd, (const struct sockaddr*)&address, sizeof address) == 0;
}

// A server: listens, opens more descriptors, writes its port to standard output, and stays.
int listen_and_wait(int descriptors) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address;
  socklen_t size = sizeof address;
  if (!bind_to(fd, 0) || listen(fd, 16) != 0 ||
      getsockname(fd, (struct sockaddr*)&address, &size) != 0)
    die("listen");
  for (int i = 0; i < descriptors; ++i)
    if (open("/dev/null", O_RDONLY) < 0) die("open descriptors");
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  for (;;)
    pause();
}

static int read_port(int fd) {
  char text[16] = "";
  return read(fd, text, sizeof text - 1) > 0 ? atoi(text) : 0;
}

static void one_port(char** server, struct candidate* candidate, bool warm_up) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) die("make a pipe");
  const pid_t holder = start(server, ends[1]);
  close(ends[1]);
  const int port = read_port(ends[0]);
  close(ends[0]);
  if (port == 0) die("start a server under drover-hold");
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool waiting;
  const pid_t waiter = start_waiter(candidate, &waiting);

  const double killed = now_us();
  kill(holder, SIGKILL);
  const bool well = ended_well(waiter);
  const double ended = now_us();
  const bool bound = bind_to(fd, port);

  close(fd);
  const bool valid = waiting && well && all_gone(&holder, 1);
  record(candidate, warm_up, valid, ended - killed);
  if (valid && !warm_up && !bound) ++candidate->refused;
}

// LOCK DROVER_HOLD DESCRIPTORS
int measure_ports(char** arguments, int rounds, struct field* field) {
  char* server[] = {arguments[1], arguments[0], "--", "/proc/self/exe",
                    "listen",     arguments[2], NULL};
  char self[4096] = "";
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) die("find this program");
  server[3] = self;
  for (int round = -1; round < rounds && time_left(); ++round)
    for (size_t i = 0; i < field->count; ++i)
      one_port(server, &field->candidates[i], round < 0);
  print_times(field);
  return 0;
}

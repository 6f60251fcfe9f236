// Processes that hold a lock, or just sleep, until they are killed.
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stopwatch.h"

// Opens the file and holds it shared; on descriptor `fd` unless that is negative.
void lock_shared(const char* path, int fd) {
  const int lock = open(path, O_RDONLY);
  if (lock < 0 || flock(lock, LOCK_SH) != 0) die("lock a file");
  if (fd < 0 || lock == fd) return;
  if (dup2(lock, fd) != fd || close(lock) != 0) die("place the lock");
}

// When the last sleeper that got SIGTERM called _exit(2); shared with the sleepers.
static _Atomic double* farewell;

static void say_farewell(int number) {
  (void)number;
  const double now = now_us();
  double before = *farewell;
  while (before < now && !atomic_compare_exchange_weak(farewell, &before, now))
    continue;
  _exit(0);
}

double last_farewell_us(void) { return *farewell; }

// Children in one process group, led by the first, which inherit every descriptor and leave at
// SIGTERM. Returns when all are asleep; fewer than `count` when the system has no room for more.
size_t fork_sleepers(pid_t* pids, size_t count) {
  if (!farewell)
    farewell =
        mmap(NULL, sizeof *farewell, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (farewell == MAP_FAILED) die("share memory");
  *farewell = 0;
  size_t made = 0;
  for (; made < count; ++made) {
    const pid_t pid = fork();
    if (pid < 0) break;
    if (pid == 0) {
      const struct sigaction action = {.sa_handler = say_farewell};
      sigaction(SIGTERM, &action, NULL);
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;)
        pause();
    }
    pids[made] = pid;
    if (setpgid(pid, pids[0]) != 0) die("make a process group");
  }
  for (size_t i = 0; i < made; ++i)
    if (!eventually(asleep, pids[i])) die("put a process to sleep");
  return made;
}

// Collects children that were sent SIGKILL or SIGTERM.
bool all_gone(const pid_t* pids, size_t count) {
  size_t gone = 0;
  for (size_t i = 0; i < count; ++i) {
    int status;
    if (waitpid(pids[i], &status, 0) == pids[i] && (status == 0 || WTERMSIG(status) == SIGKILL))
      ++gone;
  }
  return gone == count;
}

static void raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) die("read the limit of descriptors");
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

static void say_ready(const char* fifo, size_t made) {
  FILE* file = fopen(fifo, "w");
  if (!file || fprintf(file, "%zu\n", made) < 0 || fclose(file) != 0) die("say that all is ready");
}

// READY COUNT DESCRIPTORS LOCK...: this process and COUNT - 1 children hold the LOCKs, each with
// DESCRIPTORS open, until SIGTERM. Their number goes to the FIFO READY once all of them sleep.
int crowd(int argc, char** argv) {
  const size_t wanted = (size_t)atol(argv[1]);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  raise_descriptor_limit();
  for (int i = 3; i < argc; ++i)
    lock_shared(argv[i], -1);
  for (int fd = 3 + (argc - 3); fd < atoi(argv[2]); ++fd)
    if (open("/dev/null", O_RDONLY) < 0) die("open descriptors");

  pid_t* pids = calloc(wanted, sizeof *pids);
  if (!pids) die("keep the processes");
  const size_t made = fork_sleepers(pids, wanted - 1);
  say_ready(argv[0], made + 1);
  sigset_t term;
  int number;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigprocmask(SIG_BLOCK, &term, NULL);
  sigwait(&term, &number);
  if (made > 0) kill(-pids[0], SIGKILL);
  return all_gone(pids, made) ? 0 : 1;
}

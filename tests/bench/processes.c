// Commands under measurement: starting them, and what /proc tells of them meanwhile.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stopwatch.h"

static const double kLimitUs = 20e6;

// Starts a command in a process group of its own, with /dev/null as its streams; `output`, unless
// negative, is its standard output. It does not outlive this process.
pid_t start(char** argv, int output) {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) die("open /dev/null");
  const int streams[] = {null, output < 0 ? null : output, null};
  const pid_t pid = vfork();
  if (pid < 0) die("start a command");
  if (pid == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int fd = 0; fd < 3; ++fd)
      dup2(streams[fd], fd);
    execvp(argv[0], argv);
    _exit(127);
  }
  close(null);
  return pid;
}

// Waits for the end of a child.
bool ended_well(pid_t pid) {
  int status;
  return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static size_t read_text(const char* path, char* text, size_t size) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);
  if (fd >= 0) close(fd);
  text[length < 0 ? 0 : length] = '\0';
  return length < 0 ? 0 : (size_t)length;
}

// The number behind "NAME:" in /proc/PID/FILE; -1 when there is none.
long status_field(pid_t pid, const char* file, const char* name) {
  char path[96], text[8192], key[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
  snprintf(key, sizeof key, "\n%s:", name);
  read_text(path, text, sizeof text);
  const char* at = strstr(text, key);
  return at ? atol(at + strlen(key)) : -1;
}

static bool sleeps(const char* process) {
  char path[80], text[512];
  snprintf(path, sizeof path, "/proc/%s/stat", process);
  read_text(path, text, sizeof text);
  const char* end = strrchr(text, ')');
  return end && end[1] && end[2] == 'S';
}

bool asleep(pid_t pid) {
  char process[32];
  snprintf(process, sizeof process, "%d", pid);
  return sleeps(process);
}

static void each_thread(pid_t pid, void (*visit)(pid_t pid, pid_t thread, long* sum), long* sum) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR* threads = opendir(path);
  if (!threads) return;
  for (struct dirent* entry; (entry = readdir(threads));)
    if (entry->d_name[0] != '.') visit(pid, (pid_t)atoi(entry->d_name), sum);
  closedir(threads);
}

static void each_child(pid_t pid, pid_t thread, void (*visit)(pid_t pid, pid_t thread, long* sum),
                       long* sum) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, thread);
  read_text(path, text, sizeof text);
  for (char *at = text, *end; *at; at = end) {
    const pid_t child = (pid_t)strtol(at, &end, 10);
    if (end == at) break;
    each_thread(child, visit, sum);
  }
}

static void count_in_flock(pid_t pid, pid_t thread, long* sum) {
  char path[64], text[256];
  snprintf(path, sizeof path, "/proc/%d/task/%d/syscall", pid, thread);
  if (read_text(path, text, sizeof text) > 0 && atol(text) == SYS_flock) ++*sum;
  each_child(pid, thread, count_in_flock, sum);
}

static void count_own_switches(pid_t pid, pid_t thread, long* sum) {
  char file[64];
  snprintf(file, sizeof file, "task/%d/status", thread);
  *sum += status_field(pid, file, "voluntary_ctxt_switches") +
          status_field(pid, file, "nonvoluntary_ctxt_switches");
}

static void count_switches(pid_t pid, pid_t thread, long* sum) {
  count_own_switches(pid, thread, sum);
  each_child(pid, thread, count_switches, sum);
}

static void count_awake(pid_t pid, pid_t thread, long* sum) {
  char process[48];
  snprintf(process, sizeof process, "%d/task/%d", pid, thread);
  if (!sleeps(process)) ++*sum;
}

// All threads of it: one that waits for a CPU is not scheduled either, but has not come to rest.
static bool all_asleep(pid_t pid) {
  long awake = 0;
  each_thread(pid, count_awake, &awake);
  return awake == 0;
}

bool tree_in_flock(pid_t pid) {
  long sum = 0;
  each_thread(pid, count_in_flock, &sum);
  return sum > 0;
}

long switches_of_tree(pid_t pid) {
  long sum = 0;
  each_thread(pid, count_switches, &sum);
  return sum;
}

long switches(pid_t pid) {
  long sum = 0;
  each_thread(pid, count_own_switches, &sum);
  return sum;
}

bool eventually(bool (*condition)(pid_t), pid_t pid) {
  for (const double end = now_us() + kLimitUs; now_us() < end; pause_ms(0.2))
    if (condition(pid)) return true;
  return false;
}

// Until the process slept, and was not scheduled between two looks: it has come to rest.
void settle(long (*count)(pid_t), pid_t pid, double interval_ms, double limit_ms) {
  const double end = now_us() + limit_ms * 1000;
  long before = -1;
  while (now_us() < end) {
    const long now = count(pid);
    if (now == before && all_asleep(pid)) return;
    before = now;
    pause_ms(interval_ms);
  }
}

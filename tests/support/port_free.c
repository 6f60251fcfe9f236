/* Measures whether a dead server's port can be bound the moment that its waiter returns.

     port_free ADDRESS ROUNDS WORKERS EXTRA LISTENER WAITER... -- LAUNCHER...
     port_free --serve ADDRESS WORKERS EXTRA LISTENER READY

   Each round starts LAUNCHER followed by the second form, a server that listens with descriptor
   LISTENER (-1: any), opens EXTRA more sockets and forks WORKERS that share them. Then it starts
   WAITER, kills the server's whole session, and binds as soon as the waiter has ended. Prints how
   many binds failed. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kLimitSeconds = 60 };

static pid_t server = -1;

static void die(const char* what) {
  perror(what);
  if (server > 0) kill(-server, SIGKILL);
  exit(2);
}

static struct sockaddr_in address_of(const char* text, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, text, &address.sin_addr) != 1) die("address");
  return address;
}

static int bind_to(const char* text, int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const struct sockaddr_in address = address_of(text, port);
  if (fd < 0) die("socket");
  if (bind(fd, (const struct sockaddr*)&address, sizeof address) == 0) return fd;
  close(fd);
  return -1;
}

_Noreturn static void serve(const char* address, int workers, int extra, int listener, int ready) {
  int fd = bind_to(address, 0);
  struct sockaddr_in bound;
  socklen_t size = sizeof bound;
  if (fd < 0 || listen(fd, 16) != 0) die("listen");
  if (listener >= 0) {
    if (dup2(fd, listener) < 0) die("dup2");
    close(fd);
    fd = listener;
  }
  while (extra-- > 0)
    if (socket(AF_INET, SOCK_STREAM, 0) < 0) die("more sockets");
  while (workers-- > 0) {
    const pid_t worker = fork();
    if (worker < 0) die("fork");
    if (worker == 0) break;
  }
  if (workers < 0) {
    if (getsockname(fd, (struct sockaddr*)&bound, &size) != 0) die("getsockname");
    const int port = ntohs(bound.sin_port);
    if (write(ready, &port, sizeof port) != sizeof port) die("ready");
  }
  for (;;)
    pause();
}

static pid_t start_server(char** launcher, char** argv, int ready) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  char number[16];
  char* words[64];
  int count = 0;
  while (launcher[count] != NULL)
    words[count] = launcher[count], ++count;
  snprintf(number, sizeof number, "%d", ready);
  char* rest[] = {argv[0], "--serve", argv[1], argv[3], argv[4], argv[5], number, NULL};
  memcpy(words + count, rest, sizeof rest);
  setsid();
  execvp(words[0], words);
  die(words[0]);
  return -1;
}

static int blocked_in_flock(pid_t pid) {
  char path[64];
  char text[64];
  snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
  DIR* tasks = opendir(path);
  if (tasks == NULL) return 0;
  int found = 0;
  unsigned operation = 0;
  for (struct dirent* entry; !found && (entry = readdir(tasks)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/proc/%d/task/%.10s/syscall", (int)pid, entry->d_name);
    const int fd = open(path, O_RDONLY);
    if (fd < 0) continue;
    const ssize_t size = read(fd, text, sizeof text - 1);
    text[size < 0 ? 0 : size] = '\0';
    /* With LOCK_NB it would only be passing through. */
    found = sscanf(text, "73 %*s %x", &operation) == 1 && operation == LOCK_EX;
    close(fd);
  }
  closedir(tasks);
  return found;
}

static int busy_after(char** argv, char** waiter, char** launcher) {
  int ends[2], port, status;
  if (pipe(ends) != 0) die("pipe");
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  server = start_server(launcher, argv, ends[1]);
  close(ends[1]);
  if (read(ends[0], &port, sizeof port) != sizeof port) die("the server did not come up");
  close(ends[0]);

  const pid_t pid = fork();
  if (pid == 0) {
    dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
    execvp(waiter[0], waiter);
    die(waiter[0]);
  }
  const struct timespec moment = {0, 200000};
  const time_t limit = time(NULL) + kLimitSeconds;
  while (!blocked_in_flock(pid)) {
    if (waitpid(pid, &status, WNOHANG) != 0) die("the waiter ended early");
    if (time(NULL) > limit) {
      kill(pid, SIGKILL);
      die("the waiter does not block");
    }
    nanosleep(&moment, NULL);
  }
  kill(-server, SIGKILL);
  if (waitpid(pid, &status, 0) != pid || status != 0) die("the waiter failed");
  const int fd = bind_to(argv[1], port);
  const int err = errno;
  if (fd >= 0) close(fd);
  waitpid(server, NULL, 0);
  server = -1;
  if (fd < 0 && err != EADDRINUSE) die("bind");
  return fd < 0;
}

int main(int argc, char** argv) {
  if (argc == 7 && strcmp(argv[1], "--serve") == 0)
    serve(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), atoi(argv[6]));
  char** launcher = argv + 7;
  while (launcher < argv + argc && strcmp(*launcher, "--") != 0)
    ++launcher;
  if (launcher + 1 >= argv + argc) return 2;
  *launcher++ = NULL;
  int busy = 0;
  const int rounds = atoi(argv[2]);
  for (int round = 0; round < rounds; ++round)
    busy += busy_after(argv, argv + 6, launcher);
  printf("%d of %d busy\n", busy, rounds);
  return 0;
}

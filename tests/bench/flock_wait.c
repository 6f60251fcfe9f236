// The least that a program can do to wait for a lock: what drover-wait is compared with.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

int main(int argc, char** argv) {
  const int fd = argc > 1 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
  return fd < 0 || flock(fd, LOCK_EX) != 0;
}

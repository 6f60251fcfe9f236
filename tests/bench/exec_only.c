// The least that a program can do which becomes another: what drover-hold is compared with.
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc > 1) execvp(argv[1], argv + 1);
  return 127;
}

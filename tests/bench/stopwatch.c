// stopwatch: times commands side by side, A B A B ..., so that drift of the machine hits all alike.
//   stopwatch run   ROUNDS ::: LABEL COMMAND... ::: LABEL COMMAND...
//   stopwatch death ROUNDS LOCK HOLDERS exit|kill ::: ...   death of the holders to COMMAND's end
//   stopwatch poll  ROUNDS LOCK PIDFILE ::: ...       the same for commands that poll a pidfile
//   stopwatch port  ROUNDS LOCK DROVER_HOLD DESCRIPTORS ::: ...   the same, then bind() at once
//   stopwatch service ROUNDS PIDFILE ::: ...         kill -9 of PIDFILE's server to COMMAND's end
//   stopwatch rest  SECONDS ::: ...                   context switches and memory while waiting
//   stopwatch crowd READY COUNT DESCRIPTORS LOCK...   COUNT sleeping processes that hold the LOCKs
// Times: LABEL, samples, median, 99th percentile (us), invalid samples, refused binds,
// tab-separated.
#include "stopwatch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

void die(const char* what) {
  fprintf(stderr, "stopwatch: cannot %s: %s\n", what, strerror(errno));
  exit(71);
}

// Whether to begin another round: not when STOPWATCH_SECONDS have passed since the first call.
bool time_left(void) {
  static double end;
  const char* seconds = getenv("STOPWATCH_SECONDS");
  if (!seconds) return true;
  if (end == 0) end = now_us() + atof(seconds) * 1e6;
  return now_us() < end;
}

void pause_ms(double ms) {
  const struct timespec time = {(time_t)(ms / 1000),
                                (long)((ms - (long)(ms / 1000) * 1000.0) * 1e6)};
  nanosleep(&time, NULL);
}

void keep(struct candidate* candidate, double us) {
  candidate->samples = realloc(candidate->samples, (candidate->count + 1) * sizeof us);
  if (!candidate->samples) die("keep a sample");
  candidate->samples[candidate->count++] = us;
}

static int ascending(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

// The nearest rank; the median of an even number lies between two.
static double percentile(const struct candidate* candidate, int percent) {
  const size_t n = candidate->count;
  if (n == 0) return 0;
  if (percent == 50 && n % 2 == 0)
    return (candidate->samples[n / 2 - 1] + candidate->samples[n / 2]) / 2;
  return candidate->samples[(n * (size_t)percent + 99) / 100 - 1];
}

void print_times(const struct field* field) {
  for (size_t i = 0; i < field->count; ++i) {
    struct candidate* each = &field->candidates[i];
    if (each->count > 0) qsort(each->samples, each->count, sizeof *each->samples, ascending);
    printf("%s\t%zu\t%.1f\t%.1f\t%d\t%d\n", each->label, each->count, percentile(each, 50),
           percentile(each, 99), each->invalid, each->refused);
  }
}

// Cuts the words at each ":::" into candidates.
static struct field read_field(char** words) {
  struct field field = {NULL, 0};
  while (*words) {
    *words++ = NULL;  // ends the arguments, or the command before
    field.candidates = realloc(field.candidates, ++field.count * sizeof *field.candidates);
    if (!field.candidates || !words[0] || !words[1]) die("read the commands");
    field.candidates[field.count - 1] = (struct candidate){.label = words[0], .argv = words + 1};
    while (*words && strcmp(*words, ":::") != 0)
      ++words;
  }
  return field;
}

int main(int argc, char** argv) {
  const char* mode = argc > 2 ? argv[1] : "";
  if (strcmp(mode, "listen") == 0) return listen_and_wait(atoi(argv[2]));
  if (strcmp(mode, "crowd") == 0 && argc > 4) return crowd(argc - 2, argv + 2);

  char** words = argv;
  while (*words && strcmp(*words, ":::") != 0)
    ++words;
  const long arguments = words - argv - 3;
  struct field field = read_field(words);
  const int rounds = argc > 2 ? atoi(argv[2]) : 0;

  if (strcmp(mode, "run") == 0 && arguments == 0) return measure_runs(rounds, &field);
  if (strcmp(mode, "rest") == 0 && arguments == 0) return measure_rest(rounds, &field);
  if (strcmp(mode, "death") == 0 && arguments == 3) return measure_deaths(argv + 3, rounds, &field);
  if (strcmp(mode, "poll") == 0 && arguments == 2) return measure_polls(argv + 3, rounds, &field);
  if (strcmp(mode, "port") == 0 && arguments == 3) return measure_ports(argv + 3, rounds, &field);
  if (strcmp(mode, "service") == 0 && arguments == 1)
    return measure_services(argv + 3, rounds, &field);
  fprintf(stderr, "stopwatch: see the head of stopwatch.c for its commands\n");
  return 64;
}

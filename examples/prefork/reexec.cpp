#include "examples/prefork/reexec.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <optional>
#include <ranges>
#include <string_view>

#include "lib/os/error.h"
#include "lib/os/spawn.h"

namespace drover::prefork {
namespace {

constexpr const char* kListeners = "PREFORK_FD";
constexpr const char* kGeneration = "PREFORK_GENERATION";
constexpr const char* kOldMaster = "PREFORK_OLD_MASTER";

std::string take_variable(const char* name) {
  const char* value = std::getenv(name);
  std::string text = value == nullptr ? "" : value;
  ::unsetenv(name);
  return text;
}

int number_in(const std::string& text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && number > 0 ? number : 0;
}

bool is_program(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

/// Where the shell found the program: the path stays the same when a new release is put there.
std::string find_program(const std::string& name, const std::string& folder) {
  if (name.starts_with('/')) return name;
  if (name.find('/') != std::string::npos) return folder + '/' + name;
  const char* path = std::getenv("PATH");
  const std::string_view folders = path == nullptr ? "" : path;
  for (const auto& element : std::views::split(folders, ':')) {
    const std::string place(element.begin(), element.end());
    // An empty name stands for the current folder.
    const std::string candidate = fmt::format("{}/{}", place.empty() ? "." : place, name);
    if (is_program(candidate)) return find_program(candidate, folder);
  }
  char self[PATH_MAX];
  const ssize_t size = ::readlink("/proc/self/exe", self, sizeof self);
  if (size < 0) throw Error(errno, "find", name);
  return {self, static_cast<size_t>(size)};
}

/// $PWD where it is the truth: it may lead through a symbolic link, which getcwd(3) resolves.
std::string current_folder() {
  struct stat named {};
  struct stat here {};
  const char* name = std::getenv("PWD");
  if (name != nullptr && ::stat(name, &named) == 0 && ::stat(".", &here) == 0 &&
      os::id_of(named) == os::id_of(here))
    return name;
  return os::absolute(".");
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts)
    pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> environment_of_successor(const std::vector<Listener>& listeners,
                                                  int generation) {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable)
    variables.emplace_back(*variable);
  variables.push_back(fmt::format("{}={}", kListeners, describe_listeners(listeners)));
  variables.push_back(fmt::format("{}={}", kGeneration, generation));
  variables.push_back(fmt::format("{}={}", kOldMaster, ::getpid()));
  return variables;
}

/// The highest descriptor that the faults ask to close, or -1.
int last_to_close(const Faults& faults) {
  rlimit limit{};
  if (faults.has(Fault::close_all_descriptors) && ::getrlimit(RLIMIT_NOFILE, &limit) == 0)
    return static_cast<int>(std::min<rlim_t>(limit.rlim_max, 1 << 20));
  return faults.has(Fault::close_descriptors) ? 1024 : -1;
}

/// Everything that the child needs after fork(2), where memory may no longer be allocated.
struct Plan {
  const char* program;
  const char* folder;
  char** arguments;
  char** environment;
  const std::vector<Listener>& listeners;
  int last_to_close;
  int failure_pipe;
};

[[noreturn]] void become_successor(const Plan& plan) {
  const auto is_kept = [&plan](int fd) {
    for (const Listener& listener : plan.listeners)
      if (listener.fd.get() == fd) return true;
    return fd == plan.failure_pipe;
  };
  for (const Listener& listener : plan.listeners)
    ::fcntl(listener.fd.get(), F_SETFD, 0);
  for (int fd = 3; fd <= plan.last_to_close; ++fd)
    if (!is_kept(fd)) ::close(fd);
  // The folder by its name, not by its inode: a deployment has put a new release under the name.
  (void)!::chdir(plan.folder);
  // The signals stay blocked over exec(2), so that none can end the program before it takes them.
  ::execve(plan.program, plan.arguments, plan.environment);
  const int err = errno;
  (void)!::write(plan.failure_pipe, &err, sizeof err);
  ::_exit(127);
}

/// The errno of the child's exec; 0 when it succeeded, which has closed the pipe.
int wait_for_exec(int pipe) {
  int err = 0;
  ssize_t size;
  do {
    size = ::read(pipe, &err, sizeof err);
  } while (size < 0 && errno == EINTR);
  return size == sizeof err ? err : 0;
}

}  // namespace

Start remember_start(int argc, char** argv) {
  const std::string folder = current_folder();
  Start start{
      .program = find_program(argv[0], folder), .arguments = {argv, argv + argc}, .folder = folder};
  start.arguments[0] = start.program;
  return start;
}

bool Inheritance::old_master_lives() const noexcept {
  return old_master != 0 && ::getppid() == old_master;
}

Inheritance take_inheritance() {
  Inheritance inheritance;
  inheritance.generation = number_in(take_variable(kGeneration));
  inheritance.old_master = number_in(take_variable(kOldMaster));
  inheritance.listeners = adopt_listeners(take_variable(kListeners));
  return inheritance;
}

pid_t start_successor(const Start& start, const std::vector<Listener>& listeners, int generation,
                      const Faults& faults) {
  auto arguments = start.arguments;
  auto environment = environment_of_successor(listeners, generation);
  auto argument_pointers = pointers_to(arguments);
  auto environment_pointers = pointers_to(environment);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw Error(errno, "start", start.program);
  const os::Fd failure_reader(ends[0]);
  os::Fd failure_writer(ends[1]);
  const Plan plan{start.program.c_str(),
                  start.folder.c_str(),
                  argument_pointers.data(),
                  environment_pointers.data(),
                  listeners,
                  last_to_close(faults),
                  failure_writer.get()};
  const pid_t child = ::fork();
  if (child < 0) throw Error(errno, "start", start.program);
  if (child == 0) become_successor(plan);
  failure_writer.reset();
  if (const int err = wait_for_exec(failure_reader.get())) {
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    throw os::ExecError(err, start.program);
  }
  return child;
}

}  // namespace drover::prefork

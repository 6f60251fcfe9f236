#include "lib/herd/serving.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <thread>

#include "lib/os/awaited.h"
#include "lib/os/procfs.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using herd::look_whether_serving;
using herd::Serving;
using test::Child;

namespace {

int listener(int backlog = 8) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(fd, backlog) == 0);
  return fd;
}

int connect_to(int listening) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size);
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(::connect(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
  return fd;
}

int idle_pipe() {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  return ends[0];
}

/// A child with a thread that blocks in `wait`.
struct Worker : Child {
  explicit Worker(const std::function<void()>& wait) : Child([&] { std::thread(wait).detach(); }) {}

  /// Whether a thread of it comes to be blocked in that system call.
  [[nodiscard]] bool reaches(long call) const {
    const auto limit = test::in(std::chrono::seconds(20));
    while (std::chrono::steady_clock::now() < *limit) {
      for (const pid_t thread : os::threads_of(pid())) {
        const std::string path =
            "/proc/" + std::to_string(pid()) + "/task/" + std::to_string(thread) + "/syscall";
        const auto blocked = os::parse_blocked_call(os::read_proc(path));
        if (blocked && blocked->number == call) return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }
};

/// Waits on a descriptor in one of the kernel's ways, in vain.
struct Way {
  const char* name;
  long call;
  std::function<void(int fd, bool read)> wait;
};

const Way kWays[] = {
    {"poll", SYS_ppoll,
     [](int fd, bool read) {
       std::vector<pollfd> set(200, pollfd{-1, POLLIN, 0});  // more than is read at once
       set.back() = {fd, read ? short{POLLIN} : short{POLLPRI}, 0};
       ::ppoll(set.data(), set.size(), nullptr, nullptr);
     }},
    {"select", SYS_pselect6,
     [](int fd, bool read) {
       fd_set set;
       FD_ZERO(&set);
       FD_SET(fd, &set);
       ::pselect(fd + 1, read ? &set : nullptr, nullptr, read ? nullptr : &set, nullptr, nullptr);
     }},
    {"epoll", SYS_epoll_pwait, [](int fd, bool read) {
       const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
       epoll_event event{};
       ::epoll_ctl(epoll, EPOLL_CTL_ADD, idle_pipe(), &event);
       event.events = read ? EPOLLIN : EPOLLPRI;
       ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
       sigset_t none;
       sigemptyset(&none);
       ::epoll_pwait(epoll, &event, 1, -1, &none);
     }}};

}  // namespace

TEST_CASE("a worker that waits for connections serves") {
  const int fd = listener();
  for (const Way& way : kWays) {
    INFO(way.name);
    const Worker worker([&] { way.wait(fd, true); });
    REQUIRE(worker.reaches(way.call));
    CHECK(look_whether_serving(worker.pid()) == Serving::yes);
    CHECK(look_whether_serving(worker.pid(), ::getpid()) == Serving::yes);
  }
  const Worker acceptor([&] { ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC); });
  REQUIRE((acceptor.reaches(SYS_accept4)));
  CHECK(look_whether_serving(acceptor.pid()) == Serving::yes);
  ::close(fd);
}

TEST_CASE("a worker that waits for something else does not, whatever it has open") {
  const int fd = listener();
  for (const Way& way : kWays) {
    INFO(way.name);
    const Worker other([&] { way.wait(idle_pipe(), true); });
    REQUIRE(other.reaches(way.call));
    CHECK(look_whether_serving(other.pid()) == Serving::not_yet);
    const Worker writer([&] { way.wait(fd, false); });
    REQUIRE(writer.reaches(way.call));
    CHECK(look_whether_serving(writer.pid()) == Serving::not_yet);
  }
  const Worker sleeper([] { std::this_thread::sleep_for(std::chrono::hours(1)); });
  REQUIRE(sleeper.reaches(SYS_clock_nanosleep));
  CHECK(look_whether_serving(sleeper.pid()) == Serving::not_yet);
  ::close(fd);
}

TEST_CASE("a worker with a connection that it has accepted serves") {
  const int fd = listener();
  const int client = connect_to(fd);
  const Child worker([&] { (void)::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC); });
  CHECK(look_whether_serving(worker.pid()) == Serving::yes);
  CHECK(look_whether_serving(worker.pid(), ::getpid()) == Serving::yes);

  const Child database([&] { connect_to(fd); });  // from its own end it is no server
  CHECK(look_whether_serving(database.pid()) == Serving::not_yet);

  const int accepted = ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
  const Child heir;
  CHECK(look_whether_serving(heir.pid(), ::getpid()) == Serving::not_yet);
  for (const int open : {accepted, client, fd})
    ::close(open);
}

TEST_CASE("a listening socket that the master does not have is the application's own") {
  const int fd = listener();
  const Worker worker([] { ::accept4(listener(), nullptr, nullptr, SOCK_CLOEXEC); });
  REQUIRE(worker.reaches(SYS_accept4));
  CHECK(look_whether_serving(worker.pid()) == Serving::yes);
  CHECK(look_whether_serving(worker.pid(), ::getpid()) == Serving::not_yet);
  ::close(fd);
}

TEST_CASE("who is gone does not serve") {
  const int fd = listener();
  Worker worker([&] { ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC); });
  REQUIRE(worker.reaches(SYS_accept4));
  const pid_t pid = worker.pid();
  worker.kill();
  CHECK(look_whether_serving(pid) == Serving::not_yet);
  CHECK(look_whether_serving(0) == Serving::not_yet);

  const pid_t zombie = ::fork();
  if (zombie == 0) ::_exit(0);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(zombie), &info, WEXITED | WNOWAIT);
  CHECK(look_whether_serving(zombie) == Serving::not_yet);
  ::waitpid(zombie, nullptr, 0);
  ::close(fd);
}

TEST_CASE("nobody is judged who cannot be looked into") {
  if (::geteuid() != 0) return;
  const int fd = listener();
  const Worker worker([&] { ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC); });
  REQUIRE(worker.reaches(SYS_accept4));
  const pid_t stranger = ::fork();
  if (stranger == 0) {
    const bool changed =
        ::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0;
    ::_exit(changed && look_whether_serving(worker.pid()) == Serving::unknown ? 0 : 1);
  }
  int status = -1;
  ::waitpid(stranger, &status, 0);
  CHECK(status == 0);
  ::close(fd);
}

TEST_CASE("the line of a blocked call is read, and nothing else") {
  const auto call = os::parse_blocked_call("43 0xb 0x7fff 0x0 0x1 0x2 0x3 0x7ffe 0x7f00\n");
  REQUIRE(call);
  CHECK(call->number == 43);
  CHECK(call->arguments == std::array<uint64_t, 6>{0xb, 0x7fff, 0, 1, 2, 3});
  for (const char* line : {"", "running\n", "-1 0x7ffe 0x7f00\n", "-1 0x1 0x2 0x3 0x4 0x5 0x6\n",
                           "43", "43 0xb 0x1\n", "43 b c d e f g"})
    CHECK_FALSE(os::parse_blocked_call(line));
}

#include "lib/os/sockets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using os::ForeignSocket;
using os::SocketAddress;

namespace {

/// A listening socket, and a connection through it, kept open at both ends.
struct Pair {
  explicit Pair(sockaddr_storage address, socklen_t size) {
    const int kind = SOCK_STREAM | SOCK_CLOEXEC;
    listening = os::Fd(::socket(address.ss_family, kind, 0));
    if (::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return;
    ::listen(listening.get(), 8);
    ::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&address), &size);
    client = os::Fd(::socket(address.ss_family, kind, 0));
    REQUIRE(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    accepted = os::Fd(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  os::Fd listening, client, accepted;
};

template <class Address>
Pair make_pair(const Address& address) {
  sockaddr_storage storage{};
  std::memcpy(&storage, &address, sizeof address);
  return Pair(storage, sizeof address);
}

const ForeignSocket& with_fd(const std::vector<ForeignSocket>& sockets, const os::Fd& fd) {
  const auto found = std::find_if(sockets.begin(), sockets.end(), [&](const ForeignSocket& socket) {
    return socket.fd == fd.get();
  });
  REQUIRE(found != sockets.end());
  return *found;
}

void check_listening(const std::vector<ForeignSocket>& sockets, const Pair& pair) {
  const ForeignSocket& listening = with_fd(sockets, pair.listening);
  CHECK(listening.listening);
  CHECK_FALSE(listening.connected);
  CHECK_FALSE(with_fd(sockets, pair.accepted).listening);
}

void check_connected(const std::vector<ForeignSocket>& sockets, const Pair& pair) {
  const ForeignSocket& listening = with_fd(sockets, pair.listening);
  const ForeignSocket& accepted = with_fd(sockets, pair.accepted);
  const ForeignSocket& client = with_fd(sockets, pair.client);
  CHECK(accepted.connected);
  CHECK(client.connected);
  CHECK(listening.local.takes(accepted.local));
  CHECK_FALSE(listening.local.takes(client.local));
  CHECK(listening.ino != accepted.ino);
}

}  // namespace

TEST_CASE("sockets are seen through copies and in the kernel's tables alike") {
  const test::Folder folder;
  std::vector<Pair> pairs;
  sockaddr_in ipv4{};
  ipv4.sin_family = AF_INET;
  ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  pairs.push_back(make_pair(ipv4));
  ipv4.sin_addr.s_addr = htonl(INADDR_ANY);
  pairs.push_back(make_pair(ipv4));
  sockaddr_in6 ipv6{};
  ipv6.sin6_family = AF_INET6;
  ipv6.sin6_addr = in6addr_loopback;
  pairs.push_back(make_pair(ipv6));
  if (!pairs.back().accepted) pairs.pop_back();  // a machine without IPv6
  sockaddr_un named{};
  named.sun_family = AF_UNIX;
  std::strcpy(named.sun_path, (folder / "a socket").c_str());
  pairs.push_back(make_pair(named));

  const test::Child child;  // has them all
  const auto process = os::Process::open(child.pid());
  const auto copies = os::sockets_of(*process);
  const auto tables = os::sockets_by_tables(*process);
  REQUIRE((copies && tables));
  for (const Pair& pair : pairs) {
    check_listening(*copies, pair);
    check_listening(*tables, pair);
    check_connected(*copies, pair);
    CHECK(with_fd(*copies, pair.listening).local == with_fd(*tables, pair.listening).local);
  }
  // Of TCP the last rows may be out of reach, on a machine with ten thousand connections.
  check_connected(*tables, pairs.back());
  CHECK(with_fd(*copies, pairs.back().accepted).local ==
        with_fd(*tables, pairs.back().accepted).local);
  const auto inodes = os::socket_inodes_of(child.pid());
  REQUIRE(inodes);
  CHECK(inodes->size() == copies->size());
  for (const ForeignSocket& socket : *copies)
    CHECK(std::binary_search(inodes->begin(), inodes->end(), socket.ino));
}

TEST_CASE("no copy of a socket is kept") {
  const auto count = [] {
    const std::filesystem::directory_iterator open("/proc/self/fd");
    return std::distance(begin(open), end(open));
  };
  const auto process = os::Process::open(::getpid());
  const os::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto before = count();
  CHECK(os::sockets_of(*process)->size() == 1);
  CHECK(count() == before);
}

TEST_CASE("a process that is gone has no sockets") {
  test::Child child;
  const auto process = os::Process::open(child.pid());
  child.kill();
  CHECK(os::sockets_of(*process)->empty());
  CHECK(os::sockets_by_tables(*process)->empty());
}

TEST_CASE("a connection belongs to the socket that it came in at") {
  const std::string here("\x7f\0\0\1", 4);
  const std::string every(4, '\0');
  const SocketAddress connection{AF_INET, here, 80};
  CHECK(SocketAddress{AF_INET, here, 80}.takes(connection));
  CHECK(SocketAddress{AF_INET, every, 80}.takes(connection));
  CHECK_FALSE(SocketAddress{AF_INET, every, 81}.takes(connection));
  CHECK_FALSE(SocketAddress{AF_INET6, here, 80}.takes(connection));
  CHECK_FALSE(SocketAddress{AF_INET, std::string("\x7f\0\0\2", 4), 80}.takes(connection));
  CHECK_FALSE(SocketAddress{AF_UNIX, "", 0}.takes({AF_UNIX, "", 0}));  // a socketpair
  CHECK_FALSE(SocketAddress{}.takes(SocketAddress{}));
}

TEST_CASE("the tables of TCP are read") {
  const std::string rest = " 00000000:00000000 00:00000000 00000000     0        0 ";
  const auto ipv4 = os::parse_socket_table(
      AF_INET, "  sl  local_address\n   0: 0100007F:1F90 00000000:0000 0A" + rest +
                   "11 1 0\n   1: 0100007F:1F90 0100007F:D431 01" + rest +
                   "12 1 0\n   2: 0100007F:1F90 0100007F:D432 06" + rest + "0 3 0\n");
  REQUIRE(ipv4.size() == 2);  // without the one in TIME_WAIT
  CHECK((ipv4[0].listening && !ipv4[0].connected && ipv4[0].ino == 11));
  CHECK((ipv4[1].connected && !ipv4[1].listening && ipv4[1].ino == 12));
  CHECK(ipv4[0].local == SocketAddress{AF_INET, std::string("\x7f\0\0\1", 4), 8080});
  CHECK(ipv4[0].local.takes(ipv4[1].local));
  const auto ipv6 = os::parse_socket_table(
      AF_INET6, "names\n   0: 00000000000000000000000001000000:0050 0:0 0A" + rest + "13 1 0\n");
  REQUIRE(ipv6.size() == 1);
  CHECK(ipv6[0].local == SocketAddress{AF_INET6, std::string(15, '\0') + '\1', 80});
}

TEST_CASE("what is no row of a table is passed over") {
  for (const int family : {AF_INET, AF_INET6, AF_UNIX})
    for (const char* table :
         {"", "\n", "names\n", "names\n\n", "names\na b c\n", "names\n: : : : : : : : : :\n"})
      CHECK(os::parse_socket_table(family, table).empty());
  const char* const cut =
      "names\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12";
  CHECK(os::parse_socket_table(AF_INET, cut).empty());
  CHECK(os::parse_socket_table(AF_INET, std::string(cut) + " 1\n").at(0).ino == 12);
}

// Both sides of a notify socket, for tests.
#pragma once

#include <sys/socket.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "lib/os/fd.h"
#include "lib/os/unix_address.h"

namespace drover::test {

inline os::Fd datagram_socket() {
  return os::Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

/// A server's side. False when there was no room, or nobody to take it; errno says which.
inline bool send_to(const std::string& name, const std::string& text, int passed = -1) {
  const os::Fd socket = datagram_socket();
  const auto address = os::unix_address(name);
  iovec place{const_cast<char*>(text.data()), text.size()};
  msghdr message{};
  message.msg_name = const_cast<sockaddr*>(address->get());
  message.msg_namelen = address->size;
  message.msg_iov = &place;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  if (passed >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(int));
    *reinterpret_cast<int*>(CMSG_DATA(part)) = passed;
  }
  return ::sendmsg(socket.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

struct Warnings {
  std::vector<std::string> lines;
  std::function<void(const std::string&)> take() {
    return [this](const std::string& line) { lines.push_back(line); };
  }
};

}  // namespace drover::test

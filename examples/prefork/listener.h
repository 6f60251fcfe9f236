// Listening sockets: opened once, by the first master, then handed down from process to process. As
// long as one process has such a socket open, the kernel queues connections for it: a client that
// comes while masters change waits a moment and is never refused.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/os/fd.h"

namespace drover::prefork {

struct Listener {
  std::string address;  ///< as the command line has it
  os::Fd fd;            ///< non-blocking: several workers may run for one connection
};

/// A socket for each address: the inherited one where there is one, else a new one. Inherited
/// sockets that no address asks for are closed. Throws Error.
std::vector<Listener> open_listeners(const std::vector<std::string>& addresses,
                                     std::vector<Listener> inherited);

/// The address to which it is bound: tells the port where port 0 was asked for.
std::string bound_to(const Listener& listener);

/// "3=127.0.0.1:8080,4=unix:/run/app.sock": which descriptor is which address, for the environment.
std::string describe_listeners(const std::vector<Listener>& listeners);
/// The listeners of such a text. What is not the descriptor of a listening socket is left alone.
std::vector<Listener> adopt_listeners(std::string_view text);

}  // namespace drover::prefork

// Is the server ready? One question, asked in the way that the user chose with --probe:
//
//   tcp:PORT  tcp:HOST:PORT  unix:PATH            a connection is accepted by the kernel
//   http://HOST[:PORT][/PATH]                     GET is answered with a status from 200 to 399
//   http+unix:PATH[:/PATH]                        the same over a UNIX socket, as nginx writes it
//   exec:COMMAND                                  sh -c COMMAND exits with status 0
//
// HOST is an IPv4 address, an IPv6 address in brackets, or localhost (127.0.0.1, then ::1): nothing
// is looked up. A socket path that begins with '@' is an abstract name; unix(7).
//
// While two generations share a listening socket, all but exec ask whichever of them takes the
// connection, and a connection alone is taken by the kernel for a server that never calls accept.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/generic/stream_protocol.hpp>
#include <asio/io_context.hpp>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "lib/os/children.h"

namespace drover::herd {

struct Probe {
  enum class Kind { connect, http, command };
  Kind kind = Kind::connect;
  std::string text;                                                 ///< as the user gave it
  std::vector<asio::generic::stream_protocol::endpoint> endpoints;  ///< tried in this order
  std::string request;                                              ///< http: what is sent
  std::string command;
};

/// Throws Error (EINVAL): "cannot use the probe 'tcp:0': the port is none of 1 to 65535".
Probe parse_probe(std::string_view text);

/// For exec: who reaps its process, and what it finds in its environment ("NAME=VALUE").
struct ProbeSurroundings {
  os::Children& children;
  std::vector<std::string> environment;
};

/// Asks once. Empty when it passed; else why not, in a few words: "connection refused", "HTTP
/// status 503", "exited with status 3: last line that it wrote", "no answer in 2 s".
///
/// Ends by `deadline` (exec: up to a second later, if its process cannot be killed), has no timer
/// or descriptor afterwards, and leaves the pause before the next try to the caller. Sends nothing
/// but the request, follows no redirection, reads at most 8 KiB of the answer's header and nothing
/// of its body. A failure to ask is an answer as well; throws Error only when the system is out of
/// descriptors or processes.
asio::awaitable<std::string> try_probe(asio::io_context& io, Probe probe,
                                       std::chrono::steady_clock::time_point deadline,
                                       ProbeSurroundings surroundings);

}  // namespace drover::herd

// The application: what is answered to which path.
#pragma once

#include <string>

#include "examples/prefork/request.h"

namespace drover::prefork {

struct Answer {
  int status = 200;
  std::string body;
};

/// Who answers.
struct Identity {
  int worker = 0;
  int generation = 0;
  std::string reply;  ///< the small text; empty: who answers
};

/// "/big?kb=N" is a body of that size. "/slow?ms=250" blocks for that time, "/hang" for ever. All
/// other paths are the same small text.
Answer answer(const Request& request, const Identity& identity);

/// The answer as it is sent. `with_body` is false for HEAD; the length is told all the same.
std::string compose(const Answer& answer, bool with_body, bool keep_alive);

}  // namespace drover::prefork

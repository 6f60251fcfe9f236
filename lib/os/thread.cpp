#include "lib/os/thread.h"

#include <pthread.h>
#include <signal.h>

#include <memory>

#include "lib/os/error.h"

namespace drover::os {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(DROVER_SANITIZED)
constexpr size_t kStack = 1 << 20;
#else
constexpr size_t kStack = 32 << 10;
#endif

void* run(void* argument) {
  const std::unique_ptr<std::function<void()>> body(static_cast<std::function<void()>*>(argument));
  (*body)();
  return nullptr;
}

}  // namespace

void start_detached(std::function<void()> body) {
  pthread_attr_t attributes;
  sigset_t all;
  sigfillset(&all);
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  ::pthread_attr_setstacksize(&attributes, kStack);
  ::pthread_attr_setguardsize(&attributes, 0);
  ::pthread_attr_setsigmask_np(&attributes, &all);
  auto argument = std::make_unique<std::function<void()>>(std::move(body));
  pthread_t thread;
  const int err = ::pthread_create(&thread, &attributes, run, argument.get());
  ::pthread_attr_destroy(&attributes);
  if (err != 0) throw Error(err, "start a thread");
  [[maybe_unused]] const auto* owned_by_thread = argument.release();
}

}  // namespace drover::os

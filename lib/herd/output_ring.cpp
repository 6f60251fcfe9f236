#include "lib/herd/output_ring.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lib/os/error.h"

namespace drover::herd {

/// Changes with the layout: a herd of another version leaves it alone.
constexpr uint64_t kMagic = 0x31'74'75'6f'64'72'76'64;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;

struct OutputRing::Memory {
  uint64_t magic;
  std::array<StreamRing, kStreams> streams;
};

OutputRing::Memory* OutputRing::map(const os::Fd& fd) noexcept {
  void* const at = ::mmap(nullptr, sizeof(Memory), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  return at == MAP_FAILED ? nullptr : static_cast<Memory*>(at);
}

OutputRing OutputRing::create() {
  os::Fd fd(::memfd_create("drover-output", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  Memory* memory = nullptr;
  // A new file is full of zeros: that is the empty ring.
  if (fd && ::ftruncate(fd.get(), sizeof(Memory)) == 0 &&
      ::fcntl(fd.get(), F_ADD_SEALS, kSeals) == 0)
    memory = map(fd);
  if (memory == nullptr) throw Error(errno, "make room for the server's output");
  memory->magic = kMagic;
  return {std::move(fd), memory};
}

std::optional<OutputRing> OutputRing::open(const std::string& path) {
  struct stat st {};
  // Looked at before it is opened: to open a device may do things.
  if (::stat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != sizeof(Memory))
    return std::nullopt;
  os::Fd fd = os::try_open(path, O_RDWR);
  if (!fd || (::fcntl(fd.get(), F_GET_SEALS) & kSeals) != kSeals || ::fstat(fd.get(), &st) != 0 ||
      st.st_size != sizeof(Memory))
    return std::nullopt;
  Memory* const memory = map(fd);
  if (memory == nullptr) return std::nullopt;
  OutputRing ring(std::move(fd), memory);
  if (memory->magic != kMagic) return std::nullopt;
  return ring;
}

OutputRing::OutputRing(OutputRing&& other) noexcept
    : fd_(std::move(other.fd_)), memory_(std::exchange(other.memory_, nullptr)) {}

OutputRing& OutputRing::operator=(OutputRing&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(memory_, other.memory_);
  return *this;
}

OutputRing::~OutputRing() {
  if (memory_ != nullptr) ::munmap(memory_, sizeof(Memory));
}

StreamRing& OutputRing::stream(size_t at) const noexcept { return memory_->streams.at(at); }

Remainder OutputRing::since(size_t stream, uint64_t position) const {
  const StreamRing& ring = this->stream(stream);
  const auto oldest = [&ring] {
    const uint64_t taken = ring.taken.load();
    return taken > StreamRing::kKept ? taken - StreamRing::kKept : 0;
  };
  const uint64_t end = ring.taken.load();
  uint64_t from = std::max(position, oldest());
  Remainder left;
  for (uint64_t at = from; at < end; ++at)
    left.text += ring.bytes.at(at % StreamRing::kSize);
  // What was overwritten while we read it is older than what is kept now.
  const uint64_t lost = std::min<uint64_t>(std::max(oldest(), from) - from, left.text.size());
  left.text.erase(0, lost);
  from += lost;
  left.cut = from > position;
  return left;
}

}  // namespace drover::herd

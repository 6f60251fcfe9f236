#include "lib/environ/release.h"

#include <algorithm>
#include <cerrno>
#include <optional>

#include "lib/environ/logical_path.h"
#include "lib/environ/trust.h"
#include "lib/os/error.h"

namespace drover::environ {
namespace {

constexpr size_t kLongestFirstLine = 250;
constexpr size_t kLongestWrapper = 256 << 10;
constexpr int kMostReleases = 10;

Wrapper load_wrapper(const std::string& path, Edit& edit) {
  edit.because("trust");
  Trust trust(edit);
  const std::string text = trust.read(path, kLongestWrapper);
  const std::string_view line = std::string_view(text).substr(0, text.find('\n'));
  const char* const fault =
      !line.starts_with("#!") ? "it does not begin with \"#!\": the kernel would not start it"
      : line.ends_with('\r')  ? "the kernel takes the carriage return for a part of the name"
      : line.size() > kLongestFirstLine ? "the kernel cuts first lines at 255 bytes, without a word"
                                        : nullptr;
  if (fault != nullptr) throw Error::because(EBADMSG, "use wrapper", path + ":1", fault);
  trust.check_way(path);
  return parse_wrapper(text, path);
}

/// Whether the warning is among these.
bool was_said(const Step& step, const Steps& steps) {
  return step.kind == Step::Kind::warning &&
         std::any_of(steps.begin(), steps.end(), [&](const Step& one) {
           return one.subject == step.subject && one.text == step.text;
         });
}

/// The wrapper and its application, as their paths led to them when this was made.
class Release {
 public:
  explicit Release(const std::string& wrapper) { add(wrapper); }
  void add(const std::string& path) { files_.emplace_back(path, file_behind(path)); }
  [[nodiscard]] bool is_still_there() const {
    return std::all_of(files_.begin(), files_.end(),
                       [](const auto& file) { return file_behind(file.first) == file.second; });
  }

 private:
  std::vector<std::pair<std::string, std::optional<os::FileId>>> files_;
};

}  // namespace

Plan make_plan_of_file(const std::string& path, const std::vector<std::string>& arguments,
                       const Caller& caller, bool insecure_paths) {
  for (int tries = 0; tries < kMostReleases; ++tries) {
    Release release(path);
    try {
      Steps steps;
      Block none;
      Edit edit(none, steps);
      Wrapper wrapper = load_wrapper(path, edit);
      release.add(wrapper.app);
      wrapper.insecure_paths = wrapper.insecure_paths || insecure_paths;
      Plan plan = make_plan(wrapper, arguments, caller);
      std::erase_if(plan.steps, [&](const Step& step) { return was_said(step, steps); });
      plan.steps.insert(plan.steps.begin(), steps.begin(), steps.end());
      if (release.is_still_there()) return plan;
    } catch (const Error&) {
      if (release.is_still_there()) throw;
    }
  }
  throw Error::because(EAGAIN, "run", path, "its release was switched again and again meanwhile");
}

}  // namespace drover::environ

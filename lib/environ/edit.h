// Changes to an environment that are told: each becomes a Step.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "lib/environ/block.h"
#include "lib/environ/steps.h"

namespace drover::environ {

/// The components of a list like PATH: "a::b" has three.
std::vector<std::string> split_list(std::string_view list);
std::string join_list(const std::vector<std::string>& parts);
/// `path` without doubled and trailing slashes.
std::string normal_path(std::string_view path);

/// Whether `path` is below the folder `root` and the rest of it matches `pattern`, in which "*"
/// stands for one name: "versions/*/bin". Whole components are compared, never substrings.
bool is_below(std::string_view path, std::string_view root, const char* pattern);

/// Edits one environment for one reason at a time.
class Edit {
 public:
  Edit(Block& block, Steps& steps) : block_(block), steps_(steps) {}

  [[nodiscard]] const Block& block() const noexcept { return block_; }
  /// The rule behind what follows: "rbenv", "bundler".
  void because(std::string reason) { reason_ = std::move(reason); }

  void set(std::string_view name, std::string value);
  void unset(std::string_view name);
  /// The same by what somebody recorded or configured elsewhere: the protocol's variables, and
  /// those that are no such business, are left alone.
  void restore(const std::string& name, const std::string* value);
  void unset(std::initializer_list<const char*> names);
  /// Every variable whose name starts so, but for `kept`.
  void unset_with_prefix(std::string_view prefix, std::string_view kept = {});

  /// Takes out of the list `name` every component for which `unwanted` holds. A list that is left
  /// empty is unset, but for PATH.
  void drop_parts(std::string_view name, const std::function<bool(const std::string&)>& unwanted);
  /// The same for what drover-exec itself put there: /usr/bin and the like, which no other can take
  /// out of PATH, too.
  void drop_own_parts(std::string_view name, const std::vector<std::string>& unwanted);
  /// Components below any of the roots that match any of the patterns; see is_below().
  void drop_parts(std::string_view name, const std::vector<std::string>& roots,
                  std::initializer_list<const char*> patterns);
  /// Puts components in front of the list, in this order, each only once in all.
  void prepend(std::string_view name, const std::vector<std::string>& parts);

  void chose(std::string subject, std::string text, std::string reason);
  void warn(std::string subject, std::string text);

 private:
  void drop(std::string_view name, const std::function<bool(const std::string&)>& unwanted);

  Block& block_;
  Steps& steps_;
  std::string reason_;
};

}  // namespace drover::environ

// Whether a server that hot-reloads follows the next deployment: a link such as "current" that will
// lead to another release.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "lib/herd/check.h"
#include "lib/herd/cures.h"

namespace drover::herd {

/// A folder that is reached by a link.
struct Release {
  std::string link;     ///< "/srv/app/current"
  std::string target;   ///< "/srv/app/releases/7": no link in it
  std::string below;    ///< "/sub", or empty: where in it the command starts
  bool in_pwd = false;  ///< the shell knows the folder by the link, and so will the server

  /// Of the folder in which this process is. `pwd` is $PWD, which is believed only when it names
  /// that folder; without it, a "current" in one of the folders above tells. Other links than
  /// "current" count where they lead into a folder "releases".
  static std::optional<Release> find(const std::string& pwd);
};

/// A link of our own to the release, which can be made to lead elsewhere without anybody else
/// noticing: to a folder that has the same entries, each of them a link into the release.
class ScratchRelease {
 public:
  /// Makes both below `folder`. Throws Error.
  ScratchRelease(Release release, const std::string& folder);

  [[nodiscard]] const Release& release() const noexcept { return release_; }
  /// In which to start the command.
  [[nodiscard]] std::string start_folder() const { return link_ + release_.below; }
  /// What a deployment does. Throws Error.
  void deploy() const;
  /// Whether the path is in the release that `deploy` has made the current one.
  [[nodiscard]] bool is_deployed(const std::string& path) const;
  /// Whether the file, of the old release, was written in the new one.
  [[nodiscard]] bool has_its_own(const std::string& file) const;
  /// Whether the path goes through one of the links.
  [[nodiscard]] bool goes_by_link(const std::string& path) const;

 private:
  Release release_;
  std::string link_;
  std::string next_;
};

/// Looks at the master that came after the deployment: its folder, its Gemfile. Either may be
/// skipped. `scratch` is null without a release.
std::vector<Check> check_release(const Patient& patient, const ScratchRelease* scratch,
                                 pid_t new_master);

/// What version managers have left in the environment of the new master.
Check check_environment(const Patient& patient, pid_t new_master);

/// What a deployment cannot be tried for.
Check skipped_release(std::string why);

}  // namespace drover::herd

#include "lib/herd/release_check.h"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "lib/os/error.h"
#include "lib/os/fd.h"
#include "lib/os/procfs.h"

namespace drover::herd {
namespace {

namespace fs = std::filesystem;
using os::Environment;

constexpr size_t kMostOfConfiguration = 1 << 16;

std::string folder_of(pid_t pid) {
  std::error_code gone;
  return fs::read_symlink(fmt::format("/proc/{}/cwd", pid), gone).string();
}

bool is_within(const std::string& path, const std::string& folder) {
  return path == folder || path.starts_with(folder + "/");
}

std::string resolved(const std::string& path) {
  std::error_code failure;
  const fs::path found = fs::canonical(path, failure);
  return failure ? "" : found.string();
}

bool is_link(const fs::path& path) {
  std::error_code failure;
  return fs::is_symlink(path, failure);
}

/// The last link in a path that names a folder.
std::optional<Release> by_last_link(const std::string& path) {
  for (fs::path link = path; link.has_relative_path(); link = link.parent_path())
    if (is_link(link)) {
      const std::string target = resolved(link.string());
      if (link.filename() == "current" || fs::path(target).parent_path().filename() == "releases")
        return Release{link.string(), target, path.substr(link.string().size()), true};
    }
  return std::nullopt;
}

/// The folder's entries as links; of those that lead to `below`, folders of their own.
void make_likeness(const fs::path& original, const fs::path& copy, fs::path below) {
  fs::create_directory(copy);
  const fs::path first = below.empty() ? fs::path() : *below.begin();
  for (const auto& entry : fs::directory_iterator(original))
    if (entry.path().filename() != first)
      fs::create_symlink(entry.path(), copy / entry.path().filename());
  if (first.empty()) return;
  make_likeness(
      original / first, copy / first,
      below.lexically_relative(first) == "." ? fs::path() : below.lexically_relative(first));
}

/// Whether the command, or a configuration file that it names, has this path in it.
bool is_configured(const Patient& patient, const std::string& path) {
  std::vector<std::string> texts = patient.command;
  for (const std::string& word : patient.command) {
    const std::string name = word.starts_with("-") && word.find('=') != std::string::npos
                                 ? word.substr(word.find('=') + 1)
                                 : word;
    std::error_code failure;
    if (!fs::is_regular_file(name, failure)) continue;
    std::ifstream file(name, std::ios::binary);
    std::string text(kMostOfConfiguration, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(file.gcount()));
    texts.push_back(std::move(text));
  }
  for (const std::string& text : texts)
    if (text.find(path) != std::string::npos) return true;
  return false;
}

Check check_folder(const Patient& patient, const ScratchRelease& scratch, pid_t master,
                   const Environment& environment) {
  const Release& release = scratch.release();
  const std::string folder = folder_of(master);
  const auto pwd = environment.find("PWD");
  const bool by_pwd = pwd != environment.end() && scratch.goes_by_link(pwd->second) &&
                      resolved(pwd->second) == folder;
  Check check{.name = "release", .text = {}};
  if (scratch.is_deployed(folder) || by_pwd) {
    check.text = fmt::format("the new master follows a deployment by '{}'", release.link);
  } else if (!is_within(folder, release.target)) {
    check.text = fmt::format("the new master works in '{}', which is no release", folder);
  } else if (is_configured(patient, release.link)) {
    check.text = fmt::format("the new master works in '{}', by its configuration", release.link);
  } else {
    check.verdict = Check::Verdict::finding;
    check.text = fmt::format(
        "after a deployment the new master still works in the old release '{}'", release.target);
    check.cures = cures_of_folder(patient, release.link + release.below);
  }
  return check;
}

}  // namespace

std::optional<Release> Release::find(const std::string& pwd) {
  const std::string here = resolved(".");
  if (here.empty()) return std::nullopt;
  if (pwd.starts_with('/') && resolved(pwd) == here)
    if (auto release = by_last_link(pwd)) return release;
  for (fs::path above = fs::path(here).parent_path(); above.has_relative_path();
       above = above.parent_path()) {
    const fs::path link = above / "current";
    const std::string target = resolved(link.string());
    if (is_link(link) && is_within(here, target))
      return Release{link.string(), target, here.substr(target.size()), false};
  }
  return std::nullopt;
}

ScratchRelease::ScratchRelease(Release release, const std::string& folder)
    : release_(std::move(release)), link_(folder + "/current"), next_(folder + "/next") {
  try {
    fs::create_symlink(release_.target, link_);
    const fs::path below = release_.below.empty() ? "" : release_.below.substr(1);
    make_likeness(release_.target, next_, below);
  } catch (const fs::filesystem_error& error) {
    throw Error(error.code().value(), "imitate the release", release_.target);
  }
}

void ScratchRelease::deploy() const {
  const std::string fresh = link_ + ".new";
  if (::symlink(next_.c_str(), fresh.c_str()) != 0 || ::rename(fresh.c_str(), link_.c_str()) != 0)
    throw Error(errno, "change the link", link_);
}

bool ScratchRelease::is_deployed(const std::string& path) const { return is_within(path, next_); }

bool ScratchRelease::has_its_own(const std::string& file) const {
  const std::string path = os::canonical(file);
  if (!is_within(path, release_.target)) return false;
  std::error_code failure;
  const fs::path copy = next_ + path.substr(release_.target.size());
  return fs::is_regular_file(fs::symlink_status(copy, failure));
}

bool ScratchRelease::goes_by_link(const std::string& path) const {
  return is_within(path, link_) || is_within(path, release_.link);
}

std::vector<Check> check_release(const Patient& patient, const ScratchRelease* scratch,
                                 pid_t new_master) {
  if (scratch == nullptr)
    return {skipped_release("the command is not started in a folder that is reached by a link")};
  const Environment environment = os::environment_of(new_master);
  std::vector<Check> checks{check_folder(patient, *scratch, new_master, environment)};
  const auto gemfile = environment.find("BUNDLE_GEMFILE");
  if (gemfile == environment.end()) return checks;
  const std::string link = scratch->release().link + scratch->release().below;
  if (is_within(gemfile->second, scratch->release().target))
    checks.push_back({"gemfile", Check::Verdict::finding,
                      fmt::format("BUNDLE_GEMFILE of the new master names the old release: '{}'",
                                  gemfile->second),
                      cures_of_gemfile(patient, link)});
  else
    checks.push_back({"gemfile", Check::Verdict::ok,
                      "BUNDLE_GEMFILE of the new master does not name the old release"});
  return checks;
}

Check check_environment(const Patient& patient, pid_t new_master) {
  const Environment environment = os::environment_of(new_master);
  constexpr std::array kLeft = {
      "GEM_HOME",  "GEM_PATH",       "RBENV_VERSION",     "RBENV_DIR",     "rvm_path",
      "RUBY_ROOT", "VIRTUAL_ENV",    "PYENV_VERSION",     "PYENV_DIR",     "CONDA_PREFIX",
      "NVM_BIN",   "NODENV_VERSION", "CONDA_DEFAULT_ENV", "__MISE_SESSION"};
  std::vector<std::string> left;
  for (const char* name : kLeft)
    if (environment.contains(name)) left.emplace_back(name);
  const auto rubyopt = environment.find("RUBYOPT");
  if (rubyopt != environment.end() && rubyopt->second.find("bundler/setup") != std::string::npos)
    left.emplace_back("RUBYOPT");
  if (left.empty())
    return {"environment", Check::Verdict::ok,
            "no version manager has left anything in the new master's environment"};
  if (environment.contains("DROVER_WRAPPER"))
    return {"environment", Check::Verdict::ok,
            "drover-exec sets the new master's environment anew"};
  return {"environment", Check::Verdict::finding,
          fmt::format("the new master inherits {}, which a deployment cannot change",
                      fmt::join(left, ", ")),
          cures_of_environment(patient)};
}

Check skipped_release(std::string why) {
  return {"release", Check::Verdict::skipped, "whether it follows a deployment: " + std::move(why)};
}

}  // namespace drover::herd

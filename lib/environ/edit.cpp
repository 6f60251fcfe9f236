#include "lib/environ/edit.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>

#include "lib/environ/protocol.h"

namespace drover::environ {

std::vector<std::string> split_list(std::string_view list) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= list.size();) {
    const size_t end = std::min(list.find(':', at), list.size());
    parts.emplace_back(list.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

std::string join_list(const std::vector<std::string>& parts) {
  std::string list;
  for (size_t at = 0; at < parts.size(); ++at) {
    if (at > 0) list += ':';
    list += parts[at];
  }
  return list;
}

std::string normal_path(std::string_view path) {
  std::string normal;
  for (const char c : path)
    if (c != '/' || normal.empty() || normal.back() != '/') normal += c;
  while (normal.size() > 1 && normal.back() == '/')
    normal.pop_back();
  return normal;
}

bool is_below(std::string_view path, std::string_view root, const char* pattern) {
  const std::string full = normal_path(path);
  const std::string folder = normal_path(root);
  if (folder.empty() || full.size() <= folder.size() || !full.starts_with(folder)) return false;
  const size_t rest = folder == "/" ? 1 : folder.size() + 1;
  if (full[rest - 1] != '/' || (full + "/").find("/../") != std::string::npos) return false;
  return ::fnmatch(pattern, full.c_str() + rest, FNM_PATHNAME) == 0;
}

void Edit::set(std::string_view name, std::string value) {
  const std::string* old = block_.find(name);
  if (old != nullptr && *old == value) return;
  steps_.push_back({Step::Kind::set, std::string(name), value, reason_});
  block_.set(name, std::move(value));
}

void Edit::unset(std::string_view name) {
  if (block_.unset(name)) steps_.push_back({Step::Kind::unset, std::string(name), {}, reason_});
}

void Edit::restore(const std::string& name, const std::string* value) {
  static const std::vector<std::string_view> kOthers = {
      "HOME", "USER", "LOGNAME", "BUNDLER_ORIG_*", "DIRENV_*", "__MISE_*", "DROVER_*"};
  if (is_protocol(name) || matches_any(name, kOthers)) return;
  if (value == nullptr) {
    unset(std::string_view(name));
  } else {
    set(name, *value);
  }
}

void Edit::unset(std::initializer_list<const char*> names) {
  for (const char* name : names)
    unset(std::string_view(name));
}

void Edit::unset_with_prefix(std::string_view prefix, std::string_view kept) {
  std::vector<std::string> names;
  for (const auto& [name, value] : block_.variables())
    if (name.starts_with(prefix) && name != kept) names.push_back(name);
  for (const auto& name : names)
    unset(std::string_view(name));
}

namespace {

/// A folder that no manager's variable can take out of PATH, whatever it says.
bool is_the_systems(const std::string& part) {
  constexpr std::array kFolders = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                   "/usr/bin",        "/sbin",          "/bin"};
  return std::find(kFolders.begin(), kFolders.end(), part) != kFolders.end();
}

}  // namespace

void Edit::drop(std::string_view name, const std::function<bool(const std::string&)>& unwanted) {
  const std::string* list = block_.find(name);
  if (list == nullptr) return;
  std::vector<std::string> kept;
  bool dropped = false;
  for (std::string& part : split_list(*list)) {
    if (unwanted(part)) {
      dropped = true;
      steps_.push_back({Step::Kind::part_removed, std::string(name), std::move(part), reason_});
    } else {
      kept.push_back(std::move(part));
    }
  }
  if (!dropped) return;
  if (kept.empty() && name != "PATH") {
    block_.unset(name);
  } else {
    block_.set(name, join_list(kept));
  }
}

void Edit::drop_parts(std::string_view name,
                      const std::function<bool(const std::string&)>& unwanted) {
  drop(name, [&](const std::string& part) { return !is_the_systems(part) && unwanted(part); });
}

void Edit::drop_own_parts(std::string_view name, const std::vector<std::string>& unwanted) {
  drop(name, [&](const std::string& part) {
    return std::find(unwanted.begin(), unwanted.end(), part) != unwanted.end();
  });
}

void Edit::drop_parts(std::string_view name, const std::vector<std::string>& roots,
                      std::initializer_list<const char*> patterns) {
  drop_parts(name, [&](const std::string& part) {
    return std::any_of(roots.begin(), roots.end(), [&](const std::string& root) {
      return std::any_of(patterns.begin(), patterns.end(),
                         [&](const char* pattern) { return is_below(part, root, pattern); });
    });
  });
}

void Edit::prepend(std::string_view name, const std::vector<std::string>& parts) {
  const std::string* list = block_.find(name);
  std::vector<std::string> all;
  for (const auto& part : parts) {
    if (std::find(all.begin(), all.end(), part) != all.end()) continue;
    steps_.push_back({Step::Kind::part_added, std::string(name), part, reason_});
    all.push_back(part);
  }
  if (list != nullptr && !list->empty())
    for (std::string& part : split_list(*list))
      if (std::find(all.begin(), all.end(), part) == all.end()) all.push_back(std::move(part));
  block_.set(name, join_list(all));
}

void Edit::chose(std::string subject, std::string text, std::string reason) {
  steps_.push_back({Step::Kind::chosen, std::move(subject), std::move(text), std::move(reason)});
}

void Edit::warn(std::string subject, std::string text) {
  steps_.push_back({Step::Kind::warning, std::move(subject), std::move(text), reason_});
}

}  // namespace drover::environ

// The clean baseline: an environment without what version managers, Bundler and earlier generations
// left in it. Nothing is executed for it: with an inherited RUBYOPT that names a deleted release
// not even a ruby would start.
#pragma once

#include <string>
#include <vector>

#include "lib/environ/edit.h"
#include "lib/environ/runtimes/runtime.h"

namespace drover::environ {

/// PATH without empty components, which mean the current folder and are a way in for whoever can
/// write there, without relative ones and without repetitions; never empty.
void clean_path(Edit& edit);

/// Takes back what somebody recorded, the newest first: what Bundler saved, what direnv and mise
/// recorded, what drover-exec itself set (record.h).
void revert_recorded(Edit& edit, const Places& places);

/// revert_recorded(), and then what each manager adds to PATH and other lists, and its variables;
/// shell prompts and start-up files. Then clean_path(). What a user configured for himself stays,
/// as does where a manager is installed. Doing it twice changes nothing more.
void reset(Edit& edit, const Places& places);

/// Leaves only what a process needs to know of its user and machine, the protocol variables, and
/// the names in `pass` ("*" at the end of one stands for any rest). For after reset().
void restrict_to(Edit& edit, const std::vector<std::string>& pass);

}  // namespace drover::environ

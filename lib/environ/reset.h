// The clean baseline: an environment without what version managers, Bundler and earlier generations
// left in it. Nothing is executed for it: with an inherited RUBYOPT that names a deleted release
// not even a ruby would start.
#pragma once

#include <string>
#include <vector>

#include "lib/environ/edit.h"
#include "lib/environ/runtimes/runtime.h"

namespace drover::environ {

/// Whether the variable belongs to the protocol between a server, its successor and their
/// supervisor, or is a lock of drover's: never changed, never hidden from the command.
bool is_protocol(std::string_view name);

/// Takes back, in this order: what drover-exec itself set (record.h); what direnv and mise
/// recorded; what Bundler saved; what each manager adds to PATH and other lists, and its variables;
/// shell prompts and start-up files. At the end PATH has no empty and no relative component, none
/// twice, and is never empty. What a user configured for himself stays. Doing it twice changes
/// nothing more.
void reset(Edit& edit, const Places& places);

/// Leaves only what a process needs to know of its user and machine, the protocol variables, and
/// the names in `pass` ("*" at the end of one stands for any rest). For after reset().
void restrict_to(Edit& edit, const std::vector<std::string>& pass);

}  // namespace drover::environ

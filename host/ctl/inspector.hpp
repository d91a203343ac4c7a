// SPDX-License-Identifier: Apache-2.0
// Looks at a plugin that nobody trusts yet: a copy of it is loaded by a throw-away gantry-worker,
// with the worker's sandbox and without a channel to anything but this. Whatever it does there
// (crash, hang, write rubbish) ends with a report and a killed process.
#pragma once

#include <gantry/admin.pb.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "host/base/error.hpp"

namespace gantry::ctl {

struct InspectOptions {
  std::filesystem::path plugin;
  std::filesystem::path worker;  // gantry-worker
  std::string config_json = "{}";
  std::chrono::milliseconds timeout{10'000};
};

// An error only where nothing could be looked at: no such file, no worker. A plugin that does not
// load is a report. Takes at most the timeout and some.
base::Result<::gantry::admin::v1::PluginReport> InspectPlugin(const InspectOptions& options);

}  // namespace gantry::ctl

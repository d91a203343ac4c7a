// SPDX-License-Identifier: Apache-2.0
// The life of one data-path process: `gantry-worker --datapath`, spawned by the keeper, sandboxed
// and with the plugin loaded before this begins.
#pragma once

#include <gantry/gantry.h>

#include <chrono>
#include <string>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/wire/data_path_description.hpp"

namespace gantry::datapath {

// The fds it inherits; the process owns them.
constexpr int kControlFd = 3;  // to the keeper, keeper_protocol.hpp
constexpr int kLogFd = 4;      // log_pipe.hpp; stderr as well
constexpr int kFuseFd = 5;
constexpr int kMemoryFd = 6;       // slots, then nodes
constexpr int kDescriptionFd = 7;  // data_path_description.hpp
constexpr int kRootFd = 8;         // with --root: a prepared root, worker/own_root.hpp

// What a disk's process may lock, which is all of it.
constexpr size_t kDiskLockedBytesMax = 320 * 1024 * 1024;

constexpr int64_t kOpenRetryMsMin = 50;
constexpr int64_t kOpenRetryMsMax = 2000;
constexpr int64_t kDrainMsMax = 2000;  // requests under way at the end, when nobody sets a time
constexpr int64_t kRemoveHiddenMsMax = 1000;
constexpr int64_t kCloseMsMax = 2000;
// Of a plugin that keeps what is not committed (kCommitsAtCloseParameter).
constexpr int64_t kCloseCommittingMsMax = 10'000;

// For the lock of a server that may be on its way out, or that no keeper knows.
constexpr int64_t kUnknownServerMsMax = 3000;
constexpr std::chrono::seconds kSuccessorCreateMax{20};  // for the plugin's create
// After so long without the storage a successor leaves its place to a fresh process: a client library
// that is stuck for good looks like a server that is away.
constexpr std::chrono::seconds kSuccessorOpenMax{45};

// The process's place in the line of its volume's servers.
struct Serving {
  base::TimePoint open_deadline;  // of the first one
  // One before it has died. It opens the volume however long that takes, since nobody waits for
  // an error, and ends what its predecessor has begun.
  bool successor = false;
  // A successor that is there before it is needed: it has no fuse fd and no memory before the keeper
  // tells it to serve, and waits for that.
  bool standby = false;
  bool has_root = false;  // at kRootFd
};
// From the arguments behind --datapath: "--open-deadline-ns=N", then any of "--successor", "--standby"
// and "--root".
base::Result<Serving> ParseServing(const std::vector<std::string>& arguments);

// Opens the volume, tried again until the deadline, and serves it until it is unmounted or the
// keeper says stop. Returns the code that the process is to exit with, by _exit, because threads of
// the plugin may still run: 0, 1 when an error was logged and told to the keeper, or
// wire::kTryAgainExit.
base::Result<int> RunDataPath(const gantry_plugin& plugin,
                              const wire::DataPathDescription& description, const Serving& serving);

}  // namespace gantry::datapath

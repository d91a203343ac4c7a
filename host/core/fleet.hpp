// SPDX-License-Identifier: Apache-2.0
// What an operator sees of the backends and does to them: the one view that the admin socket, the
// metrics and gantryctl share. swap/ implements it, admin/ serves it; neither knows the other.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/core/backend.hpp"

namespace gantry::core {

using WallTime = std::chrono::system_clock::time_point;

// Which plugin in which version, as the plugin itself says; the digest is of the file in the store.
struct ReleaseStatus {
  std::string plugin;  // its file name without ".so"
  std::string plugin_name;
  std::string plugin_version;
  std::string sha256;
};

enum class GenerationPhase { kStarting, kCanary, kActive, kDraining, kStandby };

// What a process has used so far (proc(5)); zeros where it is gone.
struct ProcessUse {
  uint64_t resident_bytes = 0;
  std::chrono::nanoseconds cpu{0};
  uint64_t threads = 0;
  uint64_t open_fds = 0;
};

struct GenerationStatus {
  uint64_t number = 0;
  GenerationPhase phase = GenerationPhase::kStarting;
  ReleaseStatus release;
  pid_t pid = 0;  // 0: between two workers
  WallTime since;
  uint64_t calls_in_flight = 0;
  uint64_t log_lines_dropped = 0;
  ProcessUse use;
  std::vector<std::string> not_enforced;  // parts of the sandbox that this machine does not have
};

// A worker's end that nobody asked for.
struct DeathStatus {
  uint64_t generation = 0;
  WallTime when;
  std::string how;                      // "killed by signal 11 (SIGSEGV)"
  std::vector<std::string> last_calls;  // newest first; methods and keys, never secrets
  std::string stderr_tail;
  ProcessUse use;  // as seen last
};

enum class BackendHealth { kServing, kRestarting, kCrashLooping, kStopped };

// One step of a swap, as journaled.
struct SwapStep {
  std::string
      name;  // "preflight", "canary", "cut-over", "drain", "standby", "finalize", "rollback"
  WallTime when;
  std::string detail;
};

struct SwapStatus {
  std::string id;
  ReleaseStatus from;
  ReleaseStatus to;
  std::vector<SwapStep> steps;
  bool is_over = false;
  std::optional<base::Error> error;  // why it was rolled back
};

struct BackendStatus {
  std::string name;
  std::string driver;
  BackendHealth health = BackendHealth::kServing;
  std::string last_error;
  std::vector<GenerationStatus> generations;  // the active one first
  std::vector<DeathStatus> deaths;            // newest first, bounded
  uint64_t deaths_total = 0;
  std::map<std::string, uint64_t> deaths_by_signal;  // "SIGSEGV", "exit 1"
  uint64_t replays_total = 0;
  uint64_t suspects_total = 0;
  uint64_t log_lines_dropped_total = 0;              // by workers whose log pipe was full
  std::map<std::string, uint64_t> swap_steps_total;  // by SwapStep::name
  std::optional<SwapStatus> swap;                    // the latest
};

struct SwapRequest {
  std::string backend;
  // Neither: the plugin's file is read anew from the plugin directory.
  std::optional<std::filesystem::path> plugin_file;
  std::optional<std::string> config_json;
  std::optional<std::string> canary_volume;  // a handle, staged read-only by the new generation
  uint32_t shift_percent_start = 100;        // share of volumes at first; 100: all at once
  std::chrono::milliseconds shift{0};        // until all of them
  bool dry_run = false;                      // preflight only
};

// Any thread; all of it bounded in time.
class Fleet {
 public:
  virtual ~Fleet() = default;
  virtual std::vector<BackendStatus> Status() const = 0;
  // Ends at cut-over or once rolled back; the drain goes on beside. on_step runs on the calling
  // thread. ABORTED while another swap of this backend has not cut over, NOT_FOUND, and what the
  // step that failed says: FAILED_PRECONDITION for a release that must not serve here.
  virtual base::Result<SwapStatus> Swap(const SwapRequest& request,
                                        const std::function<void(const SwapStep&)>& on_step,
                                        Cancellation* cancellation) = 0;
  // Back to the standby; FAILED_PRECONDITION where there is none any more.
  virtual base::Result<SwapStatus> Rollback(
      const std::string& backend, const std::function<void(const SwapStep&)>& on_step) = 0;
  // Lets calls finish and ends the worker; new calls are UNAVAILABLE until Resume.
  virtual base::Status Drain(const std::string& backend, std::chrono::milliseconds deadline) = 0;
  virtual base::Status Resume(const std::string& backend) = 0;
};

}  // namespace gantry::core

// SPDX-License-Identifier: Apache-2.0
// All backends of one gantryd, as an operator sees them (core/fleet.hpp), and the plugin directory,
// which is watched for those backends that say so.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/core/config.hpp"
#include "host/core/fleet.hpp"
#include "host/swap/swapper.hpp"
#include "host/swap/watch.hpp"

namespace gantry::swap {

constexpr size_t kBackendsStartedAtOnce = 8;

// Thread-safe, but for Start and Stop.
class BackendFleet final : public core::Fleet {
 public:
  explicit BackendFleet(std::vector<SwapperParts> parts);
  ~BackendFleet() override;  // stops

  // All of them, some at once; the first error, with nothing left running. Unless `must_all`, a
  // plugin that does not come up for another reason than its configuration costs the other backends
  // nothing: it is tried again and again, and its calls are UNAVAILABLE meanwhile.
  base::Status Start(bool must_all);
  // Takes files that are renamed into the directory, for backends with `watch: true`.
  base::Status Watch(const std::filesystem::path& plugin_directory);
  void Stop();

  core::Backend& backend(const std::string& name) { return swappers_.at(name)->backend(); }
  // Which plugin serves the backend now: what a data path is to load.
  base::Result<Release> serving(const std::string& name) const;

  // --- core::Fleet
  std::vector<core::BackendStatus> Status() const override;
  base::Result<core::SwapStatus> Swap(const core::SwapRequest& request,
                                      const std::function<void(const core::SwapStep&)>& on_step,
                                      core::Cancellation* cancellation) override;
  base::Result<core::SwapStatus> Rollback(
      const std::string& backend,
      const std::function<void(const core::SwapStep&)>& on_step) override;
  base::Status Drain(const std::string& backend, std::chrono::milliseconds deadline) override;
  base::Status Resume(const std::string& backend) override;

 private:
  base::Result<Swapper*> Find(const std::string& backend) const;
  void Take(const std::string& plugin);

  std::map<std::string, std::unique_ptr<Swapper>> swappers_;
  std::unique_ptr<DirectoryWatch> watch_;
};

}  // namespace gantry::swap

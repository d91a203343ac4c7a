// SPDX-License-Identifier: Apache-2.0
#include "host/swap/fleet.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <mutex>

#include "host/base/sync.hpp"

namespace gantry::swap {

using base::Code;
using base::Fail;

BackendFleet::BackendFleet(std::vector<SwapperParts> parts) {
  for (auto& part : parts) {
    const std::string name = part.backend.name;
    swappers_[name] = std::make_unique<Swapper>(std::move(part));
  }
}

BackendFleet::~BackendFleet() { Stop(); }

base::Status BackendFleet::Start(bool must_all) {
  std::vector<Swapper*> waiting;
  for (const auto& [name, swapper] : swappers_) waiting.push_back(swapper.get());
  base::Mutex mutex;
  base::Status status;
  std::vector<base::Thread> threads;
  for (size_t i = 0; i < std::min(kBackendsStartedAtOnce, swappers_.size()); ++i)
    threads.emplace_back([&] {
      std::unique_lock lock(mutex);
      while (!waiting.empty()) {
        auto* swapper = waiting.back();
        waiting.pop_back();
        lock.unlock();
        auto started = swapper->Start(must_all);
        lock.lock();
        if (!started && status) status = std::move(started);
      }
    });
  for (auto& thread : threads) thread.join();
  if (!status) Stop();
  return status;
}

base::Status BackendFleet::Watch(const std::filesystem::path& plugin_directory) {
  const bool is_wanted = std::any_of(swappers_.begin(), swappers_.end(), [](const auto& entry) {
    return entry.second->config().watch;
  });
  if (!is_wanted) return {};
  GANTRY_TRY_ASSIGN(watch_,
                    DirectoryWatch::Start(plugin_directory, [this](const std::string& file) {
                      if (file.ends_with(".so")) Take(file.substr(0, file.size() - 3));
                    }));
  return {};
}

// One after the other: a bad plugin is refused by the first backend that tries it, at its own cost.
void BackendFleet::Take(const std::string& plugin) {
  for (const auto& [name, swapper] : swappers_) {
    const auto config = swapper->config();
    if (!config.watch || config.plugin != plugin) continue;
    spdlog::info("backend {}: {}.so is new in the plugin directory", name, plugin);
    core::SwapRequest request;
    request.backend = name;
    if (const auto swapped = swapper->Swap(request, {}, nullptr); !swapped)
      spdlog::error("backend {}: swap: {}", name, swapped.error().message);
  }
}

void BackendFleet::Stop() {
  // Its thread may be in the middle of a swap, which the swappers' end interrupts.
  std::vector<base::Thread> stopping;
  for (const auto& [name, swapper] : swappers_)
    stopping.emplace_back([raw = swapper.get()] { raw->Stop(); });
  watch_.reset();
  for (auto& thread : stopping) thread.join();
}

base::Result<Swapper*> BackendFleet::Find(const std::string& backend) const {
  const auto found = swappers_.find(backend);
  if (found == swappers_.end())
    return Fail(Code::kNotFound, "there is no backend \"" + backend + "\"");
  return found->second.get();
}

base::Result<Release> BackendFleet::serving(const std::string& name) const {
  GANTRY_TRY_ASSIGN(const Swapper* swapper, Find(name));
  return swapper->serving();
}

std::vector<core::BackendStatus> BackendFleet::Status() const {
  std::vector<core::BackendStatus> all;
  for (const auto& [name, swapper] : swappers_) all.push_back(swapper->Status());
  return all;
}

base::Result<core::SwapStatus> BackendFleet::Swap(const core::SwapRequest& request,
                                                  const OnStep& on_step,
                                                  core::Cancellation* cancellation) {
  GANTRY_TRY_ASSIGN(Swapper * swapper, Find(request.backend));
  return swapper->Swap(request, on_step, cancellation);
}

base::Result<core::SwapStatus> BackendFleet::Rollback(const std::string& backend,
                                                      const OnStep& on_step) {
  GANTRY_TRY_ASSIGN(Swapper * swapper, Find(backend));
  return swapper->Rollback(on_step);
}

base::Status BackendFleet::Drain(const std::string& backend, std::chrono::milliseconds deadline) {
  GANTRY_TRY_ASSIGN(Swapper * swapper, Find(backend));
  return swapper->Drain(deadline);
}

base::Status BackendFleet::Resume(const std::string& backend) {
  GANTRY_TRY_ASSIGN(Swapper * swapper, Find(backend));
  return swapper->Resume();
}

}  // namespace gantry::swap

// SPDX-License-Identifier: Apache-2.0
// A keeper of a test's own, and volumes of the localfs plugin through it.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "host/base/file.hpp"
#include "host/base/process.hpp"
#include "host/base/temp_dir.hpp"
#include "host/services/keeper_client.hpp"
#include "host/wire/keeper_protocol.hpp"
#include "tests/integration/fuse_mount.hpp"

namespace gantry::tests {

inline base::TimePoint In(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}
constexpr std::chrono::seconds kLong{20};

inline std::filesystem::path BuildDir() {
  const char* directory = std::getenv("GANTRY_BUILD_DIR");
  if (directory == nullptr) throw std::runtime_error("GANTRY_BUILD_DIR is not set");
  return directory;
}

// Looks again and again until `done`; for what announces itself by no event.
constexpr int kLookAgainMs = 5;
inline bool Eventually(const std::function<bool()>& done, std::chrono::milliseconds within) {
  const auto end = In(within);
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    poll(nullptr, 0, kLookAgainMs);
  }
  return true;
}

// Whether that thread waits for an answer of a FUSE server.
inline bool WaitsForFuse(pid_t process, pid_t thread) {
  const auto where = base::ReadFile(
      "/proc/" + std::to_string(process) + "/task/" + std::to_string(thread) + "/wchan", 4096);
  return where && where->find("request_wait_answer") != std::string::npos;
}

class VolumeFixture : public ::testing::Test {
 protected:
  VolumeFixture() : socket_(directory_.path() / "keeper.sock") {
    std::filesystem::create_directories(backing());
  }
  ~VolumeFixture() override {
    mounts_.clear();
    client_.reset();
    if (const pid_t keeper = KeeperPid(); keeper > 0) kill(keeper, SIGKILL);
  }

  std::filesystem::path backing() const { return directory_.path() / "backing"; }
  std::filesystem::path KeeperProgram() const { return BuildDir() / "bin" / "gantry-keeper"; }
  std::filesystem::path RunnerProgram() const { return BuildDir() / "tests" / "datapath_runner"; }

  pid_t KeeperPid() const {
    std::ifstream file(socket_.string() + ".lock");
    pid_t pid = 0;
    file >> pid;
    return file ? pid : 0;
  }

  services::KeeperClientOptions Options() {
    services::KeeperClientOptions options;
    options.socket = socket_;
    options.keeper = KeeperProgram();
    options.worker = RunnerProgram();
    options.on_change = [this](const services::DataPathState& state) {
      const std::lock_guard lock(mutex_);
      states_[state.volume_id] = state;
      changed_.notify_all();
    };
    return options;
  }
  services::KeeperClient& client() {
    if (!client_) client_ = std::make_unique<services::KeeperClient>(Options());
    return *client_;
  }

  // Of the keeper that runs: what a KeeperClient does not show.
  base::UniqueFd Connect() const {
    base::UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, socket_.c_str());
    if (connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      return {};
    return socket;
  }
  // Throws when none comes in time.
  static wire::KeeperMessage Receive(const base::UniqueFd& socket) {
    std::optional<wire::KeeperMessage> message;
    const auto came = [&] {
      auto received = wire::ReceiveKeeper(socket.get());
      if (received) message = std::move(*received);
      return message.has_value();
    };
    if (!Eventually(came, kLong)) throw std::runtime_error("the keeper says nothing");
    return std::move(*message);
  }

  services::DataPathSpec Spec(const std::string& volume_id, base::UniqueFd fuse_fd) const {
    services::DataPathSpec spec;
    spec.volume_id = volume_id;
    spec.backend = "local";
    spec.plugin = BuildDir() / "lib" / "gantry" / "plugins" / "localfs.so";
    spec.parameters["directory"] = backing().string();
    spec.fuse_fd = std::move(fuse_fd);
    return spec;
  }

  FuseMount& Mount(const std::string& volume_id) {
    auto& mount = mounts_[volume_id];
    mount = std::make_unique<FuseMount>(directory_.path() / volume_id);
    return *mount;
  }
  // Mounts and serves; returns where.
  std::filesystem::path Serve(const std::string& volume_id,
                              const std::map<std::string, std::string>& parameters = {},
                              bool readonly = false) {
    FuseMount& mount = Mount(volume_id);
    auto spec = Spec(volume_id, mount.TakeFd());
    for (const auto& [key, value] : parameters) spec.parameters[key] = value;
    spec.readonly = readonly;
    const auto started = client().Start(std::move(spec), In(kLong));
    if (!started) throw std::runtime_error(started.error().message);
    return mount.path();
  }

  services::DataPathState State(const std::string& volume_id) {
    const auto states = client().List(In(kLong));
    if (states)
      for (const auto& state : *states)
        if (state.volume_id == volume_id) return state;
    return {};
  }
  // Waits for an event about the volume that `wanted` likes.
  bool SawChange(const std::string& volume_id,
                 const std::function<bool(const services::DataPathState&)>& wanted,
                 std::chrono::milliseconds within) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, within, [&] {
      const auto state = states_.find(volume_id);
      return state != states_.end() && wanted(state->second);
    });
  }

  base::TempDir directory_;
  std::filesystem::path socket_;
  std::map<std::string, std::unique_ptr<FuseMount>> mounts_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, services::DataPathState> states_;
  std::unique_ptr<services::KeeperClient> client_;
};

}  // namespace gantry::tests

// SPDX-License-Identifier: Apache-2.0
// What tests with real mounts stand on: a mount namespace of the test program's own, a kubelet
// directory on a shared tmpfs in it, and a filesystem in userspace that can be told not to answer.
#pragma once

#include <sys/mount.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "host/base/process.hpp"
#include "host/base/temp_dir.hpp"
#include "host/services/data_paths.hpp"
#include "host/services/kubelet_directory.hpp"

namespace gantry::services {

// <temp>/kubelet on a tmpfs of its own, shared as kubelet's is; gone with the object.
class TestKubelet {
 public:
  TestKubelet();
  ~TestKubelet();
  std::string Path(const std::string& relative) const { return (path_ / relative).string(); }
  const std::filesystem::path& path() const { return path_; }
  const std::filesystem::path& outside() const { return temp_.path(); }
  KubeletDirectory& directory() { return *directory_; }

 private:
  base::TempDir temp_;
  std::filesystem::path path_;
  std::optional<KubeletDirectory> directory_;
};

// bin/gantry-helper of this build.
base::PinnedBinary HelperBinary();

// Blocks until a process that is not our child has ended, at most 30 s.
bool WaitForEnd(pid_t pid);

// Answers attributes and statistics of an empty root directory, or nothing at all.
class TestFuseServer {
 public:
  explicit TestFuseServer(base::UniqueFd fd);
  ~TestFuseServer();
  // kSwallow: takes requests and never answers; kIgnore: does not even take them.
  enum class Mode { kAnswer, kSwallow, kIgnore };
  void Set(Mode mode);  // is so when it returns
  int swallowed() const { return swallowed_; }

 private:
  void Run();
  base::UniqueFd fd_;
  base::UniqueFd stop_;
  base::UniqueFd wake_;
  std::atomic<Mode> mode_{Mode::kAnswer};
  std::atomic<Mode> seen_{Mode::kAnswer};
  std::atomic<int> swallowed_{0};
  std::thread thread_;
};

// Data paths that are threads of the test.
class TestDataPaths final : public DataPaths {
 public:
  base::Status Start(DataPathSpec spec, base::TimePoint deadline) override;
  base::Status Stop(const std::string& volume_id, base::TimePoint deadline) override;
  base::Result<std::vector<DataPathState>> List(base::TimePoint deadline) override;

  TestFuseServer* Server(const std::string& volume_id);
  // The process dies and its fd with it.
  void Lose(const std::string& volume_id);
  std::optional<base::Error> start_error;
  std::optional<base::Error> stop_error;  // of the next one alone
  std::function<void()> on_stop;
  DataPathSpec last_spec;
  int starts = 0;

 private:
  std::map<std::string, std::unique_ptr<TestFuseServer>> servers_;
};

}  // namespace gantry::services

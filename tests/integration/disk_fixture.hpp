// SPDX-License-Identifier: Apache-2.0
// Disks of the filedisk plugin through a keeper of the test's own, and programs to use them with.
#pragma once

#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "host/base/file.hpp"
#include "host/base/process.hpp"
#include "tests/integration/loop_device.hpp"
#include "tests/integration/volume_fixture.hpp"
#include "tests/zoo/filedisk_control.hpp"

namespace gantry::tests {

constexpr uint64_t kMib = 1024 * 1024;

struct Free {
  void operator()(char* p) const { free(p); }
};
// Aligned for direct I/O.
using Buffer = std::unique_ptr<char, Free>;
inline Buffer MakeBuffer(size_t bytes, char fill) {
  void* pages = nullptr;
  if (posix_memalign(&pages, 4096, bytes) != 0) throw std::bad_alloc();
  Buffer buffer(static_cast<char*>(pages));
  std::memset(buffer.get(), fill, bytes);
  return buffer;
}

// While it lives, reads, writes and refreshes do not end.
class Held {
 public:
  explicit Held(zoo::FileDiskControl& control) : control_(control) { control_.holds = 1; }
  Held(const Held&) = delete;
  ~Held() { control_.holds = 0; }

 private:
  zoo::FileDiskControl& control_;
};

class DiskFixture : public VolumeFixture {
 protected:
  // What a failed test has left waiting for its disk gets an error.
  ~DiskFixture() override {
    if (!HasFailure()) return;
    if (const pid_t path = State("disk").pid; path > 0) kill(path, SIGKILL);
  }

  std::filesystem::path file() const { return directory_.path() / "file"; }
  zoo::FileDiskControl& control() {
    if (control_ == nullptr) control_ = zoo::MapControl(file().string());
    if (control_ == nullptr) throw std::runtime_error("no control of the plugin");
    return *control_;
  }
  void MakeFile(uint64_t bytes) const {
    std::ofstream(file()).close();
    std::filesystem::resize_file(file(), bytes);
  }

  services::DataPathSpec DiskSpec(base::UniqueFd fuse_fd) const {
    auto spec = Spec("disk", std::move(fuse_fd));
    spec.plugin = BuildDir() / "lib" / "gantry" / "plugins" / "filedisk.so";
    spec.parameters = {{"file", file().string()}};
    spec.disk = true;
    return spec;
  }
  // Mounts and serves; the path of the file "disk".
  std::filesystem::path ServeDisk(uint64_t bytes, bool readonly = false,
                                  const std::map<std::string, std::string>& parameters = {}) {
    MakeFile(bytes);
    FuseMount& mount = Mount("disk");
    auto spec = DiskSpec(mount.TakeFd());
    spec.readonly = readonly;
    spec.size_bytes = bytes;
    for (const auto& [key, value] : parameters) spec.parameters[key] = value;
    const auto started = client().Start(std::move(spec), In(kLong));
    if (!started) throw std::runtime_error(started.error().message);
    return mount.path() / "disk";
  }

  // Its exit code; what it said is in output(). -1: killed, or not ended in time.
  int Run(const std::vector<std::string>& command, std::chrono::milliseconds within) {
    const std::filesystem::path said = directory_.path() / "said";
    const base::UniqueFd out(open(said.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    base::SpawnOptions options;
    options.arguments = {"env"};
    options.arguments.insert(options.arguments.end(), command.begin(), command.end());
    options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
    options.stdout_fd = options.stderr_fd = out.get();
    auto child = base::SpawnProgram("/usr/bin/env", options);
    if (!child) throw std::runtime_error(child.error().message);
    const auto ended = child->Wait(within);
    if (const auto text = base::ReadFile(said, kMib)) output_ = *text;
    if (!ended || !ended->has_value()) {
      (void)child->Kill(SIGKILL);
      child->Abandon();
      return -1;
    }
    return (*ended)->signal == 0 ? (*ended)->code : -1;
  }
  const std::string& output() const { return output_; }

 private:
  zoo::FileDiskControl* control_ = nullptr;
  std::string output_;
};

}  // namespace gantry::tests

// SPDX-License-Identifier: Apache-2.0
#include "host/block/testing.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace gantry::block {
namespace {

void Check(bool good, const std::string& what) {
  if (!good) throw std::runtime_error(what + ": " + std::strerror(errno));
}

}  // namespace

TestDisk::TestDisk(uint64_t bytes) {
  const base::UniqueFd fd(open(file().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  Check(fd && ftruncate(fd.get(), static_cast<off_t>(bytes)) == 0, "make " + file().string());
  LoopOptions options;
  options.name = "test:" + temp_.path().filename().string();
  auto loop = AttachLoop(fd.get(), options);
  if (!loop) throw std::runtime_error(loop.error().message);
  loop_ = *loop;
}

TestDisk::~TestDisk() { (void)DetachLoop(loop_, Soon()); }

base::UniqueFd TestDisk::Open() const {
  base::UniqueFd fd(open(path().c_str(), O_RDWR | O_CLOEXEC));
  Check(static_cast<bool>(fd), "open " + path());
  return fd;
}

void TestDisk::Write(uint64_t offset, const std::string& bytes) const {
  const auto fd = Open();
  Check(pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
                static_cast<ssize_t>(bytes.size()) &&
            fsync(fd.get()) == 0,
        "write to " + path());
}

void TestDisk::ResizeFile(uint64_t bytes) const {
  Check(truncate(file().c_str(), static_cast<off_t>(bytes)) == 0, "resize " + file().string());
}

TestMount::TestMount(const std::string& device, const std::string& fs_type) {
  Check(mount(device.c_str(), path().c_str(), fs_type.c_str(), 0, nullptr) == 0, "mount " + device);
  fd_.Reset(open(path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Check(static_cast<bool>(fd_), "open " + path().string());
}

TestMount::~TestMount() {
  fd_.Reset();
  umount2(path().c_str(), 0);
}

}  // namespace gantry::block

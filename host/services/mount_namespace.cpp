// SPDX-License-Identifier: Apache-2.0
#include "host/services/mount_namespace.hpp"

#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace gantry::services {
namespace {

void Check(bool good, const char* what) {
  if (!good) throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
}

// Before any thread is made: a mount namespace belongs to a thread and is inherited.
class MountNamespace final : public ::testing::Environment {
 public:
  void SetUp() override {
    Check(unshare(CLONE_NEWNS) == 0, "unshare a mount namespace (needs root)");
    Check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "make / private");
  }
};

[[maybe_unused]] const auto* const kEnvironment =
    ::testing::AddGlobalTestEnvironment(new MountNamespace);

}  // namespace

TestKubelet::TestKubelet() : path_(temp_.path() / "kubelet") {
  std::filesystem::create_directory(path_);
  Check(mount("kubelet", path_.c_str(), "tmpfs", 0, "mode=0755") == 0, "mount a tmpfs");
  Check(mount(nullptr, path_.c_str(), nullptr, MS_SHARED | MS_REC, nullptr) == 0, "share it");
  auto directory = KubeletDirectory::Open(path_);
  if (!directory) throw std::runtime_error(directory.error().message);
  directory_.emplace(std::move(*directory));
}

TestKubelet::~TestKubelet() {
  directory_.reset();
  umount2(path_.c_str(), MNT_DETACH);
}

base::PinnedBinary HelperBinary() {
  const char* build = std::getenv("GANTRY_BUILD_DIR");
  auto binary = base::PinnedBinary::Open(std::filesystem::path(build != nullptr ? build : ".") /
                                         "bin/gantry-helper");
  if (!binary) throw std::runtime_error(binary.error().message);
  return std::move(*binary);
}

bool WaitForEnd(pid_t pid) {
  const base::UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return errno == ESRCH;
  constexpr int kWaitMsMax = 30000;
  pollfd ended{process.get(), POLLIN, 0};
  return poll(&ended, 1, kWaitMsMax) == 1;
}

TestFuseServer::TestFuseServer(base::UniqueFd fd)
    : fd_(std::move(fd)),
      stop_(eventfd(0, EFD_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC)),
      thread_([this] { Run(); }) {}

void TestFuseServer::Set(Mode mode) {
  mode_ = mode;
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof one);
  for (Mode seen = seen_; seen != mode; seen = seen_) seen_.wait(seen);
}

TestFuseServer::~TestFuseServer() {
  const uint64_t one = 1;
  (void)!write(stop_.get(), &one, sizeof one);
  thread_.join();
}

void TestFuseServer::Run() {
  std::vector<char> buffer(2U << 20);
  for (;;) {
    const Mode mode = mode_;
    seen_ = mode;
    seen_.notify_all();
    std::array<pollfd, 3> wait{pollfd{stop_.get(), POLLIN, 0}, pollfd{wake_.get(), POLLIN, 0},
                               pollfd{mode == Mode::kIgnore ? -1 : fd_.get(), POLLIN, 0}};
    (void)poll(wait.data(), wait.size(), -1);
    if (wait[0].revents != 0) return;
    if (wait[1].revents != 0) {
      uint64_t count = 0;
      (void)!read(wake_.get(), &count, sizeof count);
      continue;
    }
    if (wait[2].revents == 0) continue;
    const ssize_t length = read(fd_.get(), buffer.data(), buffer.size());
    if (length < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOENT)) continue;
    if (length <= 0) {
      pollfd stop{stop_.get(), POLLIN, 0};
      (void)poll(&stop, 1, -1);
      return;
    }
    fuse_in_header in{};
    std::memcpy(&in, buffer.data(), sizeof in);
    if (mode == Mode::kSwallow) {
      ++swallowed_;
      continue;
    }
    fuse_attr_out attributes{};
    attributes.attr.ino = 1;
    attributes.attr.mode = S_IFDIR | 0755;
    attributes.attr.nlink = 2;
    fuse_statfs_out statistics{};
    statistics.st.blocks = 1000;
    statistics.st.bfree = 600;
    statistics.st.bavail = 500;
    statistics.st.files = 100;
    statistics.st.ffree = 90;
    statistics.st.bsize = 4096;
    statistics.st.frsize = 4096;
    fuse_out_header out{};
    out.unique = in.unique;
    iovec parts[] = {{&out, sizeof out}, {nullptr, 0}};
    if (in.opcode == FUSE_GETATTR) {
      parts[1] = {&attributes, sizeof attributes};
    } else if (in.opcode == FUSE_STATFS) {
      parts[1] = {&statistics, sizeof statistics};
    } else if (in.opcode == FUSE_FORGET || in.opcode == FUSE_BATCH_FORGET ||
               in.opcode == FUSE_INTERRUPT) {
      continue;
    } else {
      out.error = -ENOSYS;
    }
    out.len = static_cast<uint32_t>(sizeof out + parts[1].iov_len);
    (void)!writev(fd_.get(), parts, 2);
  }
}

base::Status TestDataPaths::Start(DataPathSpec spec, base::TimePoint) {
  ++starts;
  auto fd = std::move(spec.fuse_fd);
  const std::string volume_id = spec.volume_id;
  last_spec = std::move(spec);
  if (start_error) return tl::unexpected(*start_error);
  servers_[volume_id] = std::make_unique<TestFuseServer>(std::move(fd));
  return {};
}

base::Status TestDataPaths::Stop(const std::string& volume_id, base::TimePoint) {
  if (on_stop) on_stop();
  if (auto error = std::exchange(stop_error, std::nullopt)) return tl::unexpected(*error);
  servers_.erase(volume_id);
  return {};
}

base::Result<std::vector<DataPathState>> TestDataPaths::List(base::TimePoint) {
  return std::vector<DataPathState>{};
}

TestFuseServer* TestDataPaths::Server(const std::string& volume_id) {
  return servers_.at(volume_id).get();
}

void TestDataPaths::Lose(const std::string& volume_id) { servers_.erase(volume_id); }

}  // namespace gantry::services

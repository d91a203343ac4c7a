// SPDX-License-Identifier: Apache-2.0
// A userspace disk whose process gets no memory but by writing back to that very disk. Run in a guest
// only: where its process is no I/O flusher such a disk can stop a machine's writeback as a whole.

#include <sstream>

#include "host/base/process.hpp"
#include "tests/integration/block_node.hpp"

namespace gantry::tests {
namespace {

constexpr uint64_t kPressedBytes = 192 * kMiB;  // of the disk, in memory of its process
constexpr uint64_t kMemoryBytes = 256 * kMiB;   // for that process and for who writes to the disk
constexpr std::chrono::seconds kWriteMax{300};  // emulated
constexpr std::chrono::seconds kEndMax{20};

// A memory cgroup of its own, removed by its destructor. Version 1, since there reclaim waits for
// writeback, which is where a disk's process can wait for itself.
class SmallMemory {
 public:
  explicit SmallMemory(uint64_t bytes) : root_(directory_.path() / "cgroup") {
    fs::create_directory(root_);
    if (mount("cgroup", root_.c_str(), "cgroup", 0, "memory") != 0)
      throw std::runtime_error("mount a memory cgroup: " + std::to_string(errno));
    fs::create_directory(root_ / "disk");
    std::ofstream limit(root_ / "disk/memory.limit_in_bytes");
    if (!(limit << bytes << std::flush)) throw std::runtime_error("no limit for a memory cgroup");
  }
  SmallMemory(const SmallMemory&) = delete;
  ~SmallMemory() {
    (void)Eventually([this] { return rmdir((root_ / "disk").c_str()) == 0; }, kEndMax);
    umount2(root_.c_str(), MNT_DETACH);
  }
  void Take(pid_t pid) const {
    std::ofstream processes(root_ / "disk/cgroup.procs");
    ASSERT_TRUE(processes << pid << std::flush) << "process " << pid;
  }
  uint64_t Failures() const {
    uint64_t count = 0;
    std::ifstream(root_ / "disk/memory.failcnt") >> count;
    return count;
  }

 private:
  base::TempDir directory_;
  fs::path root_;
};

// A field of /proc/PID/stat (proc(5)), counted from the state, which is 0.
std::string Field(pid_t pid, int number) {
  const auto text = base::ReadFile("/proc/" + std::to_string(pid) + "/stat", 4096);
  std::istringstream fields(text ? text->substr(text->rfind(')') + 2) : std::string());
  std::string field;
  for (int i = 0; i <= number; ++i) fields >> field;
  return field;
}

bool IsIoFlusher(pid_t pid) {
  constexpr int kFlags = 6;
  constexpr uint64_t kNoIo = 0x00080000;  // PF_MEMALLOC_NOIO of linux/sched.h
  return (std::strtoull(Field(pid, kFlags).c_str(), nullptr, 10) & kNoIo) != 0;
}

class DiskPressure : public DiskNode {
 protected:
  DiskPressure() : memory_(kMemoryBytes) {
    context_["pages"] = context_["size"] = std::to_string(kPressedBytes);
  }
  void StageAndPublish() {
    ASSERT_GRPC_OK(Stage());
    ASSERT_GRPC_OK(Publish());
    data_path_ = Running("gantry-worker", "--datapath");
    ASSERT_NE(data_path_, 0);
    memory_.Take(data_path_);
  }
  // Dirties more than there is memory for, and reads it back.
  void StartFio() {
    base::SpawnOptions options;
    options.arguments = {"fio",
                         "--name=pressure",
                         "--filename=" + target_ + "/f",
                         "--direct=0",
                         "--rw=randwrite",
                         "--bs=16k",
                         "--size=160m",
                         "--end_fsync=1",
                         "--verify=crc32c",
                         "--verify_fatal=1",
                         "--thread",
                         "--clocksource=clock_gettime",
                         "--randrepeat=0"};
    options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
    auto child = base::SpawnProgram("/usr/bin/fio", options);
    ASSERT_TRUE(child) << child.error().message;
    fio_ = std::move(*child);
    memory_.Take(fio_.pid());
  }

  SmallMemory memory_;
  base::Child fio_;
  pid_t data_path_ = 0;
};

TEST_F(DiskPressure, WritesBackWithoutWaitingForItself) {
  StageAndPublish();
  ASSERT_TRUE(IsIoFlusher(data_path_));
  StartFio();
  const auto ended = fio_.Wait(kWriteMax);
  ASSERT_TRUE(ended && ended->has_value());
  EXPECT_EQ((*ended)->code, 0);
  EXPECT_GT(memory_.Failures(), 0U) << "memory was never short";
  ASSERT_GRPC_OK(Unpublish());
  ASSERT_GRPC_OK(Unstage());
  EXPECT_EQ(Loops(), 0U);
}

}  // namespace
}  // namespace gantry::tests

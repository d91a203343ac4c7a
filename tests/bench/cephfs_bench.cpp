// SPDX-License-Identifier: Apache-2.0
// A pod's CephFS volume in user space against ceph-fuse, on the same cluster and in turns: sequential
// and 4 KiB random reads and writes, and memory. Reads are made by a client that has just started, so
// that none has anything in its cache.
//
// Both are measured twice. ceph-fuse, as it comes, keeps writes in its memory and answers before they
// are anywhere else: what is not synced dies with it. Ours with cache=writeback answers as early, and
// keeps nothing itself: the kernel's page cache does. By default ours answers when the OSDs have a
// write, as ceph-fuse with client_oc=false. Writes are synced at the end, or each.
//
// What libcephfs itself needs is the memory of a process that has mounted and does nothing else.
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <random>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "host/base/process.hpp"
#include "host/base/temp_dir.hpp"
#include "tests/bench/rounds.hpp"
#include "tests/integration/ceph_node.hpp"
#include "tests/integration/nfs_node.hpp"

namespace gantry::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kRounds = 3;
constexpr size_t kBlockBytes = 1 << 20;
constexpr size_t kFileBytes = 300 * kBlockBytes;
constexpr size_t kSmallBytes = 4096;
constexpr int kSmallReads = 2000;
constexpr int kSmallWrites = 2000;
constexpr int kSyncedWrites = 300;
constexpr std::chrono::seconds kMountMax{20};
constexpr double kIdleMiBGoal = 25;
constexpr double kUsedMiBGoal = 329;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

double ResidentMiB(pid_t pid) {
  const std::string text = tests::StatusOf(pid, "VmRSS");
  return text.empty() ? 0 : std::stod(text) / 1024;
}

// What would be free without the process, and its share of what it has in common with others.
double ProportionalMiB(pid_t pid) {
  std::ifstream rollup("/proc/" + std::to_string(pid) + "/smaps_rollup");
  for (std::string line; std::getline(rollup, line);)
    if (line.starts_with("Pss:")) return std::stod(line.substr(4)) / 1024;
  return 0;
}

// One way to mount a volume.
class Side {
 public:
  virtual ~Side() = default;
  virtual void Mount() = 0;
  virtual void Unmount() = 0;
  virtual pid_t pid() const = 0;
  virtual fs::path top() const = 0;
};

class Ours final : public Side {
 public:
  Ours(tests::CephNode& node, const std::string& name, std::vector<std::string> flags)
      : node_(node), volume_(node.Make(name, uint64_t{1} << 30)) {
    volume_.mode = tests::Mode::SINGLE_NODE_WRITER;
    volume_.mount_flags = std::move(flags);
  }
  void Mount() override { node_.Start(volume_); }
  void Unmount() override {
    if (const auto status = node_.End(volume_); !status.ok()) Die(tests::Text(status));
  }
  pid_t pid() const override { return node_.DataPathOf(volume_); }
  fs::path top() const override { return volume_.target; }

 private:
  tests::CephNode& node_;
  tests::CephVolume volume_;
};

class CephFuse final : public Side {
 public:
  CephFuse(tests::CephNode& node, const std::string& name, std::vector<std::string> more)
      : more_(std::move(more)) {
    const auto volume = node.Make(name, uint64_t{1} << 30);
    for (const auto& [file, content] :
         {std::pair{"conf", std::string()},
          {"keyring", "[client." + name + "]\n\tkey = " + volume.key + "\n"}})
      if (!base::WriteFileDurably(directory_.path() / file, content, 0600)) Die("write a file");
    fs::create_directory(top());
    arguments_ = {"ceph-fuse",
                  "-f",
                  "--conf",
                  directory_.path() / "conf",
                  "-m",
                  "[v2:" + node.cluster().monitor() + "]",
                  "--id",
                  name,
                  "-k",
                  directory_.path() / "keyring",
                  "--client_fs",
                  node.cluster().filesystem(),
                  "-r",
                  volume.path,
                  "--admin_socket=",
                  "--log_file=",
                  "--client_mount_timeout=10"};
    arguments_.insert(arguments_.end(), more_.begin(), more_.end());
    arguments_.push_back(top());
  }
  ~CephFuse() override {
    if (child_ > 0) Unmount();
  }
  void Mount() override {
    child_ = fork();
    if (child_ == 0) {
      std::vector<char*> words;
      for (auto& argument : arguments_) words.push_back(argument.data());
      words.push_back(nullptr);
      const int null = open("/dev/null", O_RDWR);
      dup2(null, 1);
      dup2(null, 2);
      execvp(words[0], words.data());
      _exit(127);
    }
    const auto is_mounted = [&] {
      std::ifstream mounts("/proc/self/mountinfo");
      for (std::string line; std::getline(mounts, line);)
        if (line.find(" " + top().string() + " ") != std::string::npos) return true;
      return false;
    };
    if (!tests::Soon(is_mounted, kMountMax)) Die("ceph-fuse does not mount");
  }
  void Unmount() override {
    if (umount2(top().c_str(), 0) != 0) (void)umount2(top().c_str(), MNT_DETACH);
    (void)waitpid(child_, nullptr, 0);
    child_ = 0;
  }
  pid_t pid() const override { return child_; }
  fs::path top() const override { return directory_.path() / "mount"; }

 private:
  const base::TempDir directory_;
  const std::vector<std::string> more_;
  std::vector<std::string> arguments_;
  pid_t child_ = 0;
};

// --- what is measured -----------------------------------------------------------------------

const std::vector<std::string> kMeasures = {
    "sequential write, MiB/s", "sequential read, MiB/s", "4 KiB random write, one sync, /s",
    "4 KiB random write, each synced, /s", "4 KiB random read, /s"};
constexpr const char* kIdle = "resident when idle, MiB";
constexpr const char* kIdleShare = "proportional share of memory when idle, MiB";
constexpr const char* kUsed = "resident after 300 MiB of I/O, MiB";

using Results = std::map<std::string, std::vector<double>>;

base::UniqueFd Open(const Side& side, int flags) {
  base::UniqueFd fd(open((side.top() / "file").c_str(), flags | O_CLOEXEC, 0644));
  if (!fd) Die("open: " + std::string(std::strerror(errno)));
  return fd;
}

double PerSecond(double count, const std::function<void()>& work) {
  const auto begin = Clock::now();
  work();
  return count / std::chrono::duration<double>(Clock::now() - begin).count();
}

void Check(ssize_t moved, size_t bytes) {
  if (moved != static_cast<ssize_t>(bytes)) Die("I/O: " + std::string(std::strerror(errno)));
}

void Sync(const base::UniqueFd& fd) {
  if (fdatasync(fd.get()) != 0) Die("fdatasync: " + std::string(std::strerror(errno)));
}

off_t Anywhere(std::mt19937& random) {
  return static_cast<off_t>(random() % (kFileBytes / kSmallBytes) * kSmallBytes);
}

void Round(Side& side, Results* results) {
  std::mt19937 random(7);
  std::string block = tests::Random(kBlockBytes, 1);
  side.Mount();
  (void)fs::exists(side.top() / "nothing");
  (*results)[kIdle].push_back(ResidentMiB(side.pid()));
  (*results)[kIdleShare].push_back(ProportionalMiB(side.pid()));
  {
    const auto fd = Open(side, O_WRONLY | O_CREAT | O_TRUNC);
    (*results)[kMeasures[0]].push_back(PerSecond(double{kFileBytes} / kBlockBytes, [&] {
      for (size_t at = 0; at < kFileBytes; at += kBlockBytes)
        Check(pwrite(fd.get(), block.data(), kBlockBytes, static_cast<off_t>(at)), kBlockBytes);
      Sync(fd);
    }));
  }
  (*results)[kUsed].push_back(ResidentMiB(side.pid()));
  side.Unmount();
  side.Mount();
  {
    const auto fd = Open(side, O_RDONLY);
    (*results)[kMeasures[1]].push_back(PerSecond(double{kFileBytes} / kBlockBytes, [&] {
      for (size_t at = 0; at < kFileBytes; at += kBlockBytes)
        Check(pread(fd.get(), block.data(), kBlockBytes, static_cast<off_t>(at)), kBlockBytes);
    }));
  }
  side.Unmount();
  side.Mount();
  {
    const auto fd = Open(side, O_RDWR);
    (*results)[kMeasures[2]].push_back(PerSecond(kSmallWrites, [&] {
      for (int i = 0; i < kSmallWrites; ++i)
        Check(pwrite(fd.get(), block.data() + i, kSmallBytes, Anywhere(random)), kSmallBytes);
      Sync(fd);
    }));
    (*results)[kMeasures[3]].push_back(PerSecond(kSyncedWrites, [&] {
      for (int i = 0; i < kSyncedWrites; ++i) {
        Check(pwrite(fd.get(), block.data() + i, kSmallBytes, Anywhere(random)), kSmallBytes);
        Sync(fd);
      }
    }));
  }
  side.Unmount();
  side.Mount();
  {
    const auto fd = Open(side, O_RDONLY);
    (void)posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM);
    (*results)[kMeasures[4]].push_back(PerSecond(kSmallReads, [&] {
      for (int i = 0; i < kSmallReads; ++i)
        Check(pread(fd.get(), block.data(), kSmallBytes, Anywhere(random)), kSmallBytes);
    }));
  }
  fs::remove(side.top() / "file");
  side.Unmount();
}

// libcephfs alone: mounted, and nothing else done.
void MeasureBare(tests::CephNode& node, Results* results) {
  const auto volume = node.Make("bare", uint64_t{1} << 30);
  int key[2];
  int ready[2];
  if (pipe2(key, O_CLOEXEC) != 0 || pipe2(ready, O_CLOEXEC) != 0) Die("pipe");
  std::string program = fs::path(std::getenv("GANTRY_BUILD_DIR")) / "tests/bare_cephfs_mount";
  std::string monitor = "[v2:" + node.cluster().monitor() + "]";
  std::string filesystem = node.cluster().filesystem();
  std::string user = volume.name;
  std::string path = volume.path;
  const pid_t child = fork();
  if (child == 0) {
    dup2(key[0], 0);
    dup2(ready[1], 1);
    char* words[] = {program.data(),    monitor.data(), user.data(),
                     filesystem.data(), path.data(),    nullptr};
    execv(words[0], words);
    _exit(127);
  }
  close(key[0]);
  close(ready[1]);
  char byte = 0;
  const ssize_t sent = write(key[1], volume.key.data(), volume.key.size());
  if (sent != static_cast<ssize_t>(volume.key.size()) || write(key[1], "\n", 1) != 1 ||
      read(ready[0], &byte, 1) != 1)
    Die("libcephfs alone does not mount");
  (*results)[kIdle].push_back(ResidentMiB(child));
  (*results)[kIdleShare].push_back(ProportionalMiB(child));
  close(key[1]);
  close(ready[0]);
  (void)waitpid(child, nullptr, 0);
}

int Main() {
  tests::CephNode node;
  Ours ours(node, "ours", {});
  Ours held(node, "held", {"cache=writeback"});
  CephFuse fuse(node, "fuse", {});
  CephFuse stable(node, "stable", {"--client_oc=false"});
  Results mine;
  Results mine_held;
  Results theirs;
  Results theirs_stable;
  Results bare;
  for (int round = 0; round < kRounds; ++round) {
    Round(held, &mine_held);
    Round(fuse, &theirs);
    Round(ours, &mine);
    Round(stable, &theirs_stable);
    MeasureBare(node, &bare);
  }
  for (const auto& [what, values] : mine) {
    std::printf("%s\n  gantry                     %s\n", what.c_str(), Spread(values).c_str());
    std::printf("  gantry, cache=writeback    %s\n", Spread(mine_held[what]).c_str());
    std::printf("  ceph-fuse                  %s\n", Spread(theirs[what]).c_str());
    std::printf("  ceph-fuse, client_oc=false %s\n", Spread(theirs_stable[what]).c_str());
    if (bare.contains(what))
      std::printf("  libcephfs alone            %s\n", Spread(bare[what]).c_str());
  }
  const auto median = [](const std::vector<double>& values) { return Percentile(values, 0.5); };
  for (const auto& what : kMeasures) {
    Goal(("writeback / ceph-fuse: " + what).c_str(), median(mine_held[what]) / median(theirs[what]),
         ">=", 1, "");
    Goal(("default / ceph-fuse, client_oc=false: " + what).c_str(),
         median(mine[what]) / median(theirs_stable[what]), ">=", 1, "");
  }
  Goal(kIdle, median(mine[kIdle]), "<=", kIdleMiBGoal, "MiB");
  Goal(kUsed, std::max(median(mine[kUsed]), median(mine_held[kUsed])), "<=", kUsedMiBGoal, "MiB");
  return 0;
}

}  // namespace
}  // namespace gantry::bench

int main() { return gantry::bench::Main(); }
